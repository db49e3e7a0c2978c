"""Which primary of a Redis Cluster serves which slot, and connections to all of them."""

from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any, Final

from redis import ConnectionPool, RedisError, ResponseError
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from exporter.errors import SourceError
from exporter.settings import Settings
from exporter.source.connection import options_of, plain_error
from exporter.source.reading import Server
from exporter.source.requests import KeyNames

_SEED_TIMEOUT: Final = 1.0  # seconds: there are others to ask
_REDIRECTIONS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Which primary serves which slot.

    Attributes:
        addresses: Host and port of each primary.
        slots: The index of each slot's primary.
    """

    addresses: tuple[tuple[str, int], ...]
    slots: tuple[int, ...]

    def index(self, key: bytes) -> int:
        """Return the index of the primary that serves a key."""
        return self.slots[key_slot(key)]

    def same(self, other: "Topology") -> bool:
        """Return whether every slot has the same primary in both."""
        return self.addresses == other.addresses and self.slots == other.slots


_NOWHERE: Final = Topology((), ())
_NO_KEYS: Final = KeyNames(b"", b"")


@dataclass(frozen=True, slots=True)
class Primaries(Server):
    """All primaries of a cluster; its ``run_id`` changes when any slot's primary does.

    Attributes:
        members: The primaries, in the topology's order.
        topology: Which of them serves which slot.
        keys: Where nodes' keys are.
    """

    members: tuple[Server, ...] = ()
    topology: Topology = _NOWHERE
    keys: KeyNames = _NO_KEYS

    @classmethod
    def of(cls, members: tuple[Server, ...], topology: Topology, keys: KeyNames) -> "Primaries":
        """Return the primaries as one server."""
        serving = ",".join(members[index].run_id for index in topology.slots)
        return cls(
            run_id=sha256(serving.encode()).hexdigest(),
            role=f"cluster of {len(members)} primaries",
            uptime=min((member.uptime for member in members if member.restored), default=float("inf")),
            restored=any(member.restored for member in members),
            members=members,
            topology=topology,
            keys=keys,
        )

    def holders(self, name: bytes) -> tuple[Server, ...]:
        """Return the primaries that hold a node's hash and heartbeat."""
        keys = (self.keys.metrics + name, self.keys.heartbeat + name)
        return tuple(self.members[self.topology.index(key)] for key in keys)


class Cluster:
    """The topology as it was last seen, and connections to all primaries. Its state has one lock.

    Args:
        settings: Where the cluster's seeds are.
    """

    def __init__(self, settings: Settings) -> None:
        redis = settings.redis
        urls = [url.get_secret_value() for url in redis.url]
        self._options = options_of(redis, urls[0])
        self._seeds = [(seed["host"], seed.get("port", 6379)) for seed in (options_of(redis, url) for url in urls)]
        self._timeout = min(redis.timeout, _SEED_TIMEOUT)
        self._lock = Lock()
        self._client: RedisCluster | None = None
        self._topology: Topology | None = None
        self._pools: dict[tuple[str, int], ConnectionPool] = {}

    def topology(self) -> Topology:
        """Return the topology; the seeds are asked for it if it is not known.

        Raises:
            SourceError: No seed answers, or a slot is not served.
        """
        with self._lock:
            return self._topology or self._look()

    def refresh(self, seen: Topology) -> bool:
        """Ask for the topology anew, unless another thread has, and return whether it is not the one seen.

        Raises:
            SourceError: No seed answers, or a slot is not served.
        """
        with self._lock:
            now = self._look() if self._topology in (seen, None) else self._topology
            return now is not None and not now.same(seen)

    def pool(self, address: tuple[str, int]) -> ConnectionPool:
        """Return the connections to a primary."""
        with self._lock:
            if address not in self._pools:
                host, port = address
                options = {name: value for name, value in self._options.items() if name != "db"}
                self._pools[address] = ConnectionPool(**options | {"host": host, "port": port})
            return self._pools[address]

    def ask(self, *words: bytes | str) -> Any:
        """Send one command through ``RedisCluster``, which follows MOVED and ASK, and return its reply.

        An error reply is returned, as it is in a batch.

        Raises:
            SourceError: No reply could be had.
        """
        self.topology()
        client = self._client
        try:
            return client.execute_command(*words) if client else None
        except ResponseError as error:
            return error
        except (RedisError, RedisClusterException, OSError) as error:
            raise plain_error(error) from error

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._forget()
            for pool in self._pools.values():
                pool.disconnect()

    def _look(self) -> Topology:
        try:
            if self._client is None:
                self._client = self._connect()
            else:
                self._client.nodes_manager.initialize()
            slots = dict(self._client.nodes_manager.slots_cache)
        except (RedisError, RedisClusterException, OSError) as error:
            self._forget()  # its addresses may all be of the past: the next one starts from the seeds
            raise plain_error(error) from error
        if len(slots) < REDIS_CLUSTER_HASH_SLOTS:
            missing = REDIS_CLUSTER_HASH_SLOTS - len(slots)
            raise SourceError(f"Redis Cluster does not serve all slots: {missing} have no primary")
        serving = [(slots[slot][0].host, slots[slot][0].port) for slot in range(REDIS_CLUSTER_HASH_SLOTS)]
        addresses = tuple(sorted(set(serving)))
        index = {address: position for position, address in enumerate(addresses)}
        now = Topology(addresses, tuple(index[address] for address in serving))
        if self._topology is None or not now.same(self._topology):
            self._topology = now
        for address in self._pools.keys() - set(addresses):
            self._pools.pop(address).disconnect()
        return self._topology

    def _connect(self) -> RedisCluster:
        ours = ("host", "port", "db", "path", "connection_class", "parser_class", "retry")
        options = {name: value for name, value in self._options.items() if name not in ours}
        options |= {
            "ssl": "connection_class" in self._options,
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
        }
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._seeds],
            require_full_coverage=False,
            retry=Retry(NoBackoff(), _REDIRECTIONS),
            **options,
        )

    def _forget(self) -> None:
        client, self._client, self._topology = self._client, None, None
        if client:
            client.close()
