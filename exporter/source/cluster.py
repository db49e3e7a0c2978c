"""Reads a Redis Cluster: each key from the primary of its slot, all primaries at the same time.

The two keys of a node can be on different primaries, so no command reads both at once. All hashes are read before the
first heartbeat. A node that beats between the two reads therefore counts as alive. If a primary cannot be read, only
the nodes of this primary are missing from the reading.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import structlog
from redis.connection import parse_url
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import Redis as RedisSettings
from exporter.source.connection import Pool, linked, options_of
from exporter.source.gather import Question, Until, gather
from exporter.source.protocol import (
    KeyNames,
    expected,
    pack,
)
from exporter.source.reading import Server

SILENT_TIMEOUT: Final = 0.5
"""Seconds that a read waits for the primaries that did not answer the read before.

Without this limit, a hung primary, or a host that drops packets, would delay the nodes of the other primaries at each
read. Discovery waits longer for each primary, so a primary on a slow network counts as answering again after the next
discovery.
"""
FIRST_SHARE: Final = 0.75
"""Share of the time left that a read waits for any other primary; the rest is for the primaries after it."""
NOWHERE: Final = ""
"""The address of a slot's primary if no primary is known."""

_NOT_ASKED: Final = SourceError("not asked")
_NO_KEYS: Final = KeyNames(b"", b"")
_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Which primary serves which slot.

    Attributes:
        slots: The address ``host:port`` of each slot's primary; ``NOWHERE`` if no primary is known.
        addresses: All primaries.
    """

    slots: tuple[str, ...]
    addresses: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", tuple(sorted(set(self.slots) - {NOWHERE})))

    def primary(self, key: bytes) -> str:
        """Return the address of the primary that serves a key."""
        return self.slots[key_slot(key)]


_UNKNOWN: Final = Topology((NOWHERE,) * REDIS_CLUSTER_HASH_SLOTS)


@dataclass(frozen=True, slots=True)
class Primaries(Server):
    """The primaries of a cluster that answered during one read.

    Attributes:
        members: The primaries that answered, by address.
        topology: Which primary serves which slot, including primaries that did not answer.
        keys: The names of the nodes' keys.
    """

    members: Mapping[str, Server] = field(default_factory=dict)
    topology: Topology = _UNKNOWN
    keys: KeyNames = _NO_KEYS

    @classmethod
    def of(cls, members: Mapping[str, Server], topology: Topology, keys: KeyNames) -> "Primaries":
        """Return the primaries as one server."""
        silent = len(topology.addresses) - len(members)
        return cls(
            run_id=",".join(members[address].run_id for address in sorted(members)),
            role=f"cluster of {len(topology.addresses)} primaries" + (f", {silent} of them silent" if silent else ""),
            info_allowed=all(member.info_allowed for member in members.values()),
            members=members,
            topology=topology,
            keys=keys,
        )

    @property
    def addresses(self) -> Collection[str]:
        """The addresses of all primaries."""
        return self.topology.addresses

    @property
    def placement(self) -> object:
        """The map of slots."""
        return self.topology.slots

    def holders(self, name: bytes) -> tuple[str, ...]:
        """Return the addresses of the primaries of a node's hash and heartbeat; some may not have answered."""
        return tuple(self.topology.primary(prefix + name) for prefix in self.keys)


class Cluster:
    """The last known topology, and connections to all primaries. One lock guards the state.

    Args:
        redis: The settings with the addresses of the cluster's seeds.

    Attributes:
        topology: Which primary serves which slot, as far as known.
        silent: The primaries that did not answer in time when they were asked last.
    """

    def __init__(self, redis: RedisSettings) -> None:
        self.topology = _UNKNOWN
        self.silent: set[str] = set()
        self._failing: set[str] = set()
        self._lock = Lock()  # for the attributes above and below
        self._pools: dict[str, Pool] = {}
        for url in redis.url:
            options = {"host": "localhost", "port": 6379} | options_of(redis, parse_url(url.get_secret_value()))
            options.pop("db", None)
            self._pools["{host}:{port}".format_map(options)] = Pool(options)
        self._seeds = tuple(self._pools)
        self._options = self._pools[self._seeds[0]].options

    def addresses(self, deadline: float) -> tuple[str, ...]:
        """Return the addresses of all primaries; ask for the topology first, because primaries may have been added.

        Raises:
            SourceError: Nobody gave the topology before the deadline in monotonic seconds.
        """
        self.know(deadline)
        self.refresh(deadline)
        return self.topology.addresses

    def know(self, deadline: float) -> None:
        """Make sure that the topology is known.

        Raises:
            SourceError: No seed gave the topology before the deadline in monotonic seconds.
        """
        if not self.topology.addresses:
            self.refresh(deadline)

    def refresh(self, deadline: float, without: Collection[str] = ()) -> None:
        """Ask all primaries for the topology, or all seeds while no primary is known; take what most of them say.

        A primary that is cut off from the others answers with the topology of the past. If as many primaries give the
        known topology as give another one, the known topology stays. If no primary answers, none is known any more.

        Args:
            deadline: Monotonic seconds.
            without: Primaries that are not asked.

        Raises:
            SourceError: No seed gave the topology.
        """
        question = Question(self, (), pack, 1, _SLOTS)
        gathered = gather(question, deadline, failed=dict.fromkeys(without, _NOT_ASKED))
        answers, errors = Counter[tuple[str, ...]](), list(gathered.errors.values())
        for address, reply in gathered.first.items():
            try:
                answers[self._slots_with(reply, address)] += 1
            except SourceError as error:
                errors.append(error)
        if answers:
            self._take(max(answers, key=lambda slots: (answers[slots], slots == self.topology.slots)))
        elif self.topology.addresses:
            self.topology = _UNKNOWN
        else:
            raise next((error for error in errors if not isinstance(error, SourceTimeoutError)), errors[0])

    def _slots_with(self, reply: Any, asked: str) -> tuple[str, ...]:
        """Return the known slots with those of a reply to CLUSTER SLOTS; a slot without primary keeps its last one.

        Args:
            reply: The reply.
            asked: The address of the server that gave it. A missing host in the reply means the host of this server
                (https://redis.io/docs/latest/commands/cluster-slots/), and "?" one that is not known yet.

        Raises:
            SourceError: The reply has another form, or names no slot.
        """
        slots = list(self.topology.slots)
        for entry in expected(reply, list):
            match entry:
                case [int(first), int(last), [host, int(port), *_], *_]:
                    name = (host or b"").decode("utf-8", "replace") or asked.rpartition(":")[0]
                    if name != "?":
                        slots[first : last + 1] = [f"{name}:{port}"] * (last + 1 - first)
                case _:
                    raise SourceError("Redis gave an unexpected answer to CLUSTER SLOTS")
        if not reply:
            raise SourceError(f"{asked} knows no slot of the Redis Cluster (was it taken out of the cluster?)")
        return tuple(slots)

    def _take(self, slots: tuple[str, ...]) -> None:
        with self._lock:
            if slots == self.topology.slots:
                return
            self.topology = Topology(slots)
            kept = {*self.topology.addresses, *self._seeds}
            gone = [self._pools.pop(address) for address in self._pools.keys() - kept]
            self.silent &= kept
            self._failing &= kept
        for pool in gone:
            pool.close()

    def moved(self, address: str, deadline: float) -> None:
        """Ask the server to which keys have moved for the topology."""
        with suppress(SourceError), linked(self.pool(address, deadline), self.limit(address, deadline)()) as link:
            (reply,) = link.ask(_SLOTS, 1)
            self._take(self._slots_with(reply, address))

    def holder(self, key: bytes) -> str:
        """Return the address of the primary of a key."""
        return self.topology.primary(key)

    def places(self, keys: Sequence[bytes]) -> dict[str, list[int]]:
        """Return the positions of the keys that each primary holds; ``NOWHERE`` has those without a primary.

        Primaries without keys are there too; while no primary is known, the seeds.
        """
        slots = self.topology.slots
        places: dict[str, list[int]] = {address: [] for address in self.topology.addresses or self._seeds}
        for position, key in enumerate(keys):
            places.setdefault(slots[key_slot(key)], []).append(position)
        return places

    def pool(self, address: str, deadline: float) -> Pool:  # noqa: ARG002 - nobody has to be asked
        """Return the connections to a primary.

        Raises:
            SourceError: The address is ``NOWHERE``.
        """
        if address == NOWHERE:
            raise SourceError("a slot of the Redis Cluster has no primary")
        with self._lock:
            if address not in self._pools:
                host, _, port = address.rpartition(":")
                self._pools[address] = Pool(self._options | {"host": host, "port": int(port)})
            return self._pools[address]

    def limit(self, address: str, deadline: float) -> Until:
        """Return until when a read waits for a primary; one that did not answer last time gets little, from now on."""
        if address in self.silent:
            soon = min(deadline, time.monotonic() + SILENT_TIMEOUT)
            return lambda: soon
        return lambda: time.monotonic() + FIRST_SHARE * (deadline - time.monotonic())

    def note(self, address: str, error: SourceError | None) -> None:
        """Hear whether a primary could be read or scanned; each change is logged once."""
        with self._lock:
            changed = (address in self._failing) != (error is not None)
            if error is None:
                self._failing.discard(address)
                self.silent.discard(address)
            else:
                self._failing.add(address)
                if isinstance(error, SourceTimeoutError):
                    self.silent.add(address)
        if changed and error:
            log.error("a primary of the Redis Cluster cannot be read", address=address, error=str(error))
        elif changed:
            log.info("a primary of the Redis Cluster is read again", address=address)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            pools = tuple(self._pools.values())
        for pool in pools:
            pool.close()
