"""A Redis Cluster: which primary serves which slot, and connections to all primaries."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from redis.connection import parse_url
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import Redis as RedisSettings
from exporter.source.connection import KeyNames, Pool, expected, options_of, pack
from exporter.source.gather import Inquiry, Question, Topology
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

_UNKNOWN: Final = Topology((), (NOWHERE,) * REDIS_CLUSTER_HASH_SLOTS)
_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Primaries(Server):
    """The primaries of a cluster that answered during one read.

    Attributes:
        members: The primaries that answered, by address.
        topology: Which primary serves which slot, including primaries that did not answer.
        keys: The names of the nodes' keys.
    """

    members: Mapping[str, Server] = field()
    topology: Topology
    keys: KeyNames

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
        return tuple(self.topology.holder(prefix + name) for prefix in self.keys)


class Cluster:
    """The last known topology, and connections to all primaries.

    The state needs no lock: each change of it is one atomic operation.

    Args:
        redis: The settings with the addresses of the cluster's seeds.

    Attributes:
        failing: Why primaries could not be read when they were asked last, by their addresses.
    """

    redirects = masters_only = True

    def __init__(self, redis: RedisSettings) -> None:
        self.failing: dict[str, SourceError] = {}
        self._topology, self._is_doubtful = _UNKNOWN, False
        self._pools: dict[str, Pool] = {}
        for url in redis.url:
            options = {"host": "localhost", "port": 6379} | options_of(redis, parse_url(url.get_secret_value()))
            options.pop("db", None)
            self._pools["{host}:{port}".format_map(options)] = Pool(options)
        self._seeds = tuple(self._pools)
        self._options = self._pools[self._seeds[0]].options

    def doubt(self) -> None:
        """Ask for the topology before the next read: keys have moved, or primaries may have been added."""
        self._is_doubtful = True

    def know(self, deadline: float) -> Topology:
        """Return the topology. If it is doubtful, ask for it first, and take what most of the primaries say.

        A primary that is cut off from the others answers with the topology of the past. If as many primaries give the
        known topology as give another one, the known topology stays. Primaries that did not answer last are not asked
        while there are others. If no primary answers, the seeds are asked the next time.

        Args:
            deadline: Monotonic seconds.

        Raises:
            SourceError: Nobody gave the topology.
        """
        if self._topology.addresses and not self._is_doubtful:
            return self._topology
        self._is_doubtful = False
        known = self._topology.addresses or self._seeds
        asked = [address for address in known if address not in self.failing] or known
        (replies,) = Inquiry(self, deadline).stream([Question([(address, _SLOTS) for address in asked])])
        answers, errors = Counter[tuple[str, ...]](), list[SourceError]()
        for address, reply in zip(asked, replies, strict=True):
            try:
                answers[self._slots_with(reply, address)] += 1
            except SourceError as error:
                errors.append(error)
        if not answers:
            self._topology = _UNKNOWN
            raise errors[0]
        slots = max(answers, key=lambda slots: (answers[slots], slots == self._topology.slots))
        if slots != self._topology.slots:
            self._topology = Topology(tuple(sorted(set(slots) - {NOWHERE})), slots)
            for address in self._pools.keys() - {*self._topology.addresses, *self._seeds}:
                self._pools.pop(address, Pool({})).close()  # another thread may have popped it
                self.failing.pop(address, None)
        return self._topology

    def _slots_with(self, reply: Any, asked: str) -> tuple[str, ...]:
        """Return the known slots with those of a reply to CLUSTER SLOTS; a slot without primary keeps its last one.

        Args:
            reply: The reply.
            asked: The address of the server that gave it. A missing host in the reply means the host of this server
                (https://redis.io/docs/latest/commands/cluster-slots/).

        Raises:
            SourceError: The reply has another form, or names no slot.
        """
        slots = list(self._topology.slots)
        if not expected(reply, list):
            raise SourceError(f"{asked} knows no slot of the Redis Cluster (was it taken out of the cluster?)")
        for entry in reply:
            match entry:
                case [int(first), int(last), [host, int(port), *_], *_]:
                    name = (host or b"").decode("utf-8", "replace") or asked.rpartition(":")[0]
                    slots[first : last + 1] = [f"{name}:{port}"] * (last + 1 - first)
                case _:
                    raise SourceError("Redis gave an unexpected answer to CLUSTER SLOTS")
        return tuple(slots)

    def pool(self, address: str) -> Pool:
        """Return the connections to a primary.

        Raises:
            SourceError: The address is ``NOWHERE``.
        """
        if address == NOWHERE:
            raise SourceError("a slot of the Redis Cluster has no primary")
        if pool := self._pools.get(address):
            return pool
        host, _, port = address.rpartition(":")
        return self._pools.setdefault(address, Pool(self._options | {"host": host, "port": int(port)}))

    def limit(self, address: str, deadline: float) -> float:
        """Return until when to wait for a primary; one that did not answer last time gets little, from now on."""
        now = time.monotonic()
        if isinstance(self.failing.get(address), SourceTimeoutError):
            return min(deadline, now + SILENT_TIMEOUT)
        return now + FIRST_SHARE * (deadline - now)

    def note(self, address: str, error: SourceError | None) -> None:
        """Hear whether a primary could be read or scanned; each change is logged once."""
        before = self.failing.pop(address, None)
        if error:
            self.failing[address], self._is_doubtful = error, True
        if error and not before:
            log.error("a primary of the Redis Cluster cannot be read", address=address, error=str(error))
        elif before and not error:
            log.info("a primary of the Redis Cluster is read again", address=address)

    def whole(self, members: Mapping[str, Server], topology: Topology, keys: KeyNames) -> Server:
        """Return the primaries that answered as one server."""
        silent = len(topology.addresses) - len(members)
        return Primaries(
            run_id=",".join(members[address].run_id for address in sorted(members)),
            role=f"cluster of {len(topology.addresses)} primaries" + (f", {silent} of them silent" if silent else ""),
            info_allowed=all(member.info_allowed for member in members.values()),
            members=members,
            topology=topology,
            keys=keys,
        )

    def close(self) -> None:
        """Close all connections."""
        for pool in tuple(self._pools.values()):
            pool.close()
