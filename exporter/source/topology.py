"""Which primary of a Redis Cluster serves which slot, and connections to all of them."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

import structlog
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import Settings
from exporter.source.connection import Link, Pool, linked
from exporter.source.options import options_of
from exporter.source.reading import Server
from exporter.source.requests import KeyNames, pack
from exporter.source.rights import Rights
from exporter.source.slots import owners_of

SILENT_TIMEOUT: Final = 0.5
"""Seconds that a read waits for a primary that did not answer the read before.

Without this limit, a hung primary, or a host that drops packets, would delay the nodes of the other
primaries at each read. Discovery waits longer for each primary, so a primary on a slow network counts
as answering again after the next discovery.
"""
FIRST_SHARE: Final = 0.75
"""Share of the time left that a read waits for any other primary; the rest is for the primaries after it."""
NOWHERE: Final = ""
"""The address of a slot's primary if no primary is known."""

log = structlog.get_logger(__name__)

_SEED_TIMEOUT: Final = 1.0  # seconds; short, because another seed can be asked
_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")


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
_NO_KEYS: Final = KeyNames(b"", b"")


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
        return (self.topology.primary(self.keys.metrics + name), self.topology.primary(self.keys.heartbeat + name))


class Cluster:
    """The last known topology, and connections to all primaries. One lock guards the state.

    Args:
        settings: The settings with the addresses of the cluster's seeds.

    Attributes:
        keys: The names of the nodes' keys.
        rights: The rights that the exporter's user lacks.
    """

    def __init__(self, settings: Settings) -> None:
        redis = settings.redis
        urls = [url.get_secret_value() for url in redis.url]
        self._options = {name: value for name, value in options_of(redis, urls[0]).items() if name != "db"}
        self._seeds = {}
        for url in urls:
            options = {name: value for name, value in options_of(redis, url).items() if name != "db"}
            host, port = options.setdefault("host", "localhost"), options.setdefault("port", 6379)
            self._seeds[f"{host}:{port}"] = Pool.of(options)
        self._timeout = min(redis.timeout, _SEED_TIMEOUT)
        self.keys = KeyNames.of(settings.keys)
        self.rights = Rights()
        self._lock = Lock()  # for the attributes below
        self._topology = _UNKNOWN
        self._pools: dict[str, Pool] = {}
        self._silent: set[str] = set()
        self._failing: set[tuple[str, str]] = set()

    def topology(self, deadline: float) -> Topology:
        """Return the topology; ask the seeds if the topology is unknown.

        Raises:
            SourceError: No seed gave the topology before the deadline in monotonic seconds.
        """
        return self._topology if self._topology.addresses else self.ask_seeds(deadline)

    def ask_seeds(self, deadline: float) -> Topology:
        """Return the topology from the first seed that answers.

        Raises:
            SourceError: No seed gave the topology before the deadline in monotonic seconds.
        """
        errors: list[SourceError] = []
        for address, pool in self._seeds.items():
            limit = min(deadline, time.monotonic() + self._timeout)
            try:
                with linked(pool, limit) as link:
                    topology = self.ask(link, address)
            except SourceError as error:
                errors.append(error)
                continue
            if topology.addresses:
                return topology
        raise next(
            (error for error in errors if not isinstance(error, SourceTimeoutError)),
            errors[0] if errors else SourceError("no slot of the Redis Cluster has a primary"),
        )

    def ask(self, link: Link, address: str) -> Topology:
        """Ask one server of the cluster for the topology, and return it; a slot without primary keeps its last primary.

        Args:
            link: A connection to the server.
            address: The server's address.

        Raises:
            SourceError: The server did not give the topology.
        """
        (reply,) = link.ask(_SLOTS, 1)
        owners = list(owners_of(reply, address.rpartition(":")[0]))
        if not owners:
            raise SourceError(f"{address} knows no slot of the Redis Cluster (was it taken out of the cluster?)")
        with self._lock:
            known = list(self._topology.slots)
            for owned, primary in owners:
                known[owned.start : owned.stop] = [primary] * len(owned)
            slots = tuple(known)
            if slots != self._topology.slots:
                self._topology = Topology(slots)
                gone = [self._pools.pop(old) for old in self._pools.keys() - set(self._topology.addresses)]
                self._silent.intersection_update(self._topology.addresses)
                self._failing = {key for key in self._failing if key[0] in self._topology.addresses}
            else:
                gone = []
            topology = self._topology
        for pool in gone:
            pool.disconnect()
        return topology

    def pool(self, address: str) -> Pool:
        """Return the connections to a primary."""
        with self._lock:
            if address not in self._pools:
                host, _, port = address.rpartition(":")
                self._pools[address] = Pool.of(self._options | {"host": host, "port": int(port)})
            return self._pools[address]

    def pools(self) -> tuple[Pool, ...]:
        """Return the connections to each primary."""
        with self._lock:
            return tuple(self._pools.values())

    def is_silent(self, address: str) -> bool:
        """Return whether a primary did not answer in time when it was last asked."""
        return address in self._silent

    def deadline_of(self, address: str, deadline: float) -> float:
        """Return the time until which a read waits for one primary, given the read's deadline (monotonic seconds)."""
        now = time.monotonic()
        if address in self._silent:
            return min(deadline, now + SILENT_TIMEOUT)
        return now + FIRST_SHARE * (deadline - now)

    def record(self, address: str, work: str, error: SourceError | None) -> None:
        """Record whether a primary could be read or scanned; each change is logged once.

        Args:
            address: The primary's address.
            work: What the primary was asked for: ``read``, ``look`` or ``scan``.
            error: Why the primary failed; None without an error.
        """
        key = (address, work)
        with self._lock:
            changed = (key in self._failing) != (error is not None)
            if error is None:
                self._failing.discard(key)
                self._silent.discard(address)
            else:
                self._failing.add(key)
                if isinstance(error, SourceTimeoutError):
                    self._silent.add(address)
        if changed and error:
            log.error("a primary of the Redis Cluster cannot be read", address=address, work=work, error=str(error))
        elif changed:
            log.info("a primary of the Redis Cluster is read again", address=address, work=work)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            pools = (*self._pools.values(), *self._seeds.values())
        for pool in pools:
            pool.disconnect()
