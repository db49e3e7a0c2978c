"""Reads a Redis Cluster: each key from the primary of its slot, all primaries at the same time.

The two keys of a node can be on different primaries, so no command reads both at once. All hashes are read before the
first heartbeat. A node that beats between the two reads therefore counts as alive. If a primary cannot be read, only
the nodes of this primary are missing from the reading.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import structlog
from redis import RedisError
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from exporter.errors import SourceError, SourceTimeoutError, SourceTooLargeError
from exporter.settings import Redis as RedisSettings
from exporter.source.connection import Pool, linked, options_of
from exporter.source.gather import Gathered, LargeNodes, Question, Until, gather
from exporter.source.protocol import (
    NO_FIELDS,
    KeyNames,
    columns_of,
    expected,
    hmget,
    is_wrong_type,
    pack,
    plain_error,
    pttl,
)
from exporter.source.reading import MISSING, TOO_LARGE, Reading, Server
from exporter.source.server import STATE, Rights, seen_server

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

_SEED_TIMEOUT: Final = 1.0  # seconds; short, because another server can be asked
_ASK_AGAIN: Final = 1.0  # seconds
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
    """

    def __init__(self, redis: RedisSettings) -> None:
        self.topology = _UNKNOWN
        self._seeds: dict[str, Pool] = {}
        for url in redis.url:
            options = {name: value for name, value in options_of(redis, url.get_secret_value()).items() if name != "db"}
            host, port = options.setdefault("host", "localhost"), options.setdefault("port", 6379)
            self._seeds[f"{host}:{port}"] = Pool(options)
        self._options = next(iter(self._seeds.values())).options
        self._lock = Lock()  # for the attributes above and below
        self._pools: dict[str, Pool] = {}
        self._silent: set[str] = set()
        self._failing: set[str] = set()
        self._ask_again_at = 0.0

    def addresses(self, deadline: float) -> tuple[str, ...]:
        """Return the addresses of all primaries; ask for the topology first, because primaries may have been added.

        Raises:
            SourceError: Nobody gave the topology before the deadline in monotonic seconds.
        """
        self.know(deadline)
        self.refresh(deadline)
        return self.topology.addresses

    def know(self, deadline: float) -> Topology:
        """Return the topology; if it is unknown, ask the seeds.

        Raises:
            SourceError: No seed gave the topology before the deadline in monotonic seconds.
        """
        if not self.topology.addresses:
            self._ask_seeds(deadline)
        return self.topology

    def refresh(self, deadline: float, without: Collection[str] = ()) -> None:
        """Ask all primaries for the topology, and take the answer that most of them give.

        A primary that is cut off from the others answers with the topology of the past. If as many primaries give the
        known topology as give another one, the known topology stays. If no primary answers, the seeds are asked.

        Args:
            deadline: Monotonic seconds.
            without: Primaries that are not asked.
        """
        question = Question(self, (), pack, 0, _SLOTS)
        for address in without:
            question.batches.pop(address, None)
        answers = []
        for address, reply in gather(question, deadline).first.items():
            with suppress(SourceError):
                answers.append(self._with(reply, address))
        if answers:
            counts = Counter(answers)
            self._take(max(counts, key=lambda slots: (counts[slots], slots == self.topology.slots)))
        else:
            with suppress(SourceError):
                self._ask_seeds(deadline)

    def _ask_seeds(self, deadline: float) -> None:
        """Take the topology of the first seed that gives it."""
        errors: list[SourceError] = []
        for address, pool in self._seeds.items():
            try:
                self._ask(address, pool, min(deadline, time.monotonic() + _SEED_TIMEOUT))
            except SourceError as error:
                errors.append(error)
            else:
                return
        raise next((error for error in errors if not isinstance(error, SourceTimeoutError)), errors[0])

    def _ask(self, address: str, pool: Pool, deadline: float) -> None:
        with linked(pool, deadline) as link:
            (reply,) = link.ask(_SLOTS, 1)
        self._take(self._with(reply, address))

    def _with(self, reply: Any, address: str) -> tuple[str, ...]:
        """Return the known slots with what a server says of them; a slot without primary keeps its last one.

        Raises:
            SourceError: The server did not say it.
        """
        slots = list(self.topology.slots)
        owners = list(_owners(reply, address.rpartition(":")[0]))
        if not owners:
            raise SourceError(f"{address} knows no slot of the Redis Cluster (was it taken out of the cluster?)")
        for owned, primary in owners:
            slots[owned.start : owned.stop] = [primary] * len(owned)
        return tuple(slots)

    def _take(self, slots: tuple[str, ...]) -> None:
        with self._lock:
            if slots == self.topology.slots:
                return
            self.topology = Topology(slots)
            kept = set(self.topology.addresses)
            gone = [self._pools.pop(address) for address in self._pools.keys() - kept]
            self._silent &= kept
            self._failing &= kept
        for pool in gone:
            pool.close()

    def doubt(self, errors: Collection[str], deadline: float) -> None:
        """Ask for the topology since primaries cannot be read, at most once a second."""
        if time.monotonic() >= self._ask_again_at:
            self._ask_again_at = time.monotonic() + _ASK_AGAIN
            self.refresh(deadline, errors)

    def moved(self, address: str, deadline: float) -> None:
        """Ask the server to which keys have moved for the topology."""
        with suppress(SourceError):
            self._ask(address, self.pool(address, deadline), self.limit(address, deadline)())

    def holder(self, key: bytes) -> str:
        """Return the address of the primary of a key."""
        return self.topology.primary(key)

    def places(self, keys: Sequence[bytes]) -> dict[str, list[int]]:
        """Return the positions of the keys that each primary holds; ``NOWHERE`` has those without a primary."""
        slots = self.topology.slots
        places: dict[str, list[int]] = {address: [] for address in self.topology.addresses}
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
        if address in self._silent:
            soon = min(deadline, time.monotonic() + SILENT_TIMEOUT)
            return lambda: soon
        return lambda: time.monotonic() + FIRST_SHARE * (deadline - time.monotonic())

    def is_silent(self, address: str) -> bool:
        """Return whether a primary did not answer in time when it was last asked."""
        return address in self._silent

    def note(self, address: str, error: SourceError | None) -> None:
        """Hear whether a primary could be read or scanned; each change is logged once."""
        with self._lock:
            changed = (address in self._failing) != (error is not None)
            if error is None:
                self._failing.discard(address)
                self._silent.discard(address)
            else:
                self._failing.add(address)
                if isinstance(error, SourceTimeoutError):
                    self._silent.add(address)
        if changed and error:
            log.error("a primary of the Redis Cluster cannot be read", address=address, error=str(error))
        elif changed:
            log.info("a primary of the Redis Cluster is read again", address=address)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            pools = (*self._pools.values(), *self._seeds.values())
        for pool in pools:
            pool.close()


def _owners(reply: Any, asked: str) -> Iterator[tuple[range, str]]:
    """Yield slots and the address of their primary, from the reply to CLUSTER SLOTS.

    Args:
        reply: The reply.
        asked: The host of the server that gave it. A missing host in the reply means this host
            (https://redis.io/docs/latest/commands/cluster-slots/).

    Raises:
        SourceError: The reply has another form.
    """
    for entry in expected(reply, list):
        match entry:
            case [int(first), int(last), [host, int(port), *_], *_]:
                name = host.decode("utf-8", "replace") if isinstance(host, bytes) else ""
                if name != "?":  # a primary whose host is not known yet
                    yield range(first, last + 1), f"{name or asked}:{port}"
            case _:
                raise SourceError("Redis gave an unexpected answer to CLUSTER SLOTS")


class ClusterReader:
    """Reads nodes' values from all primaries. Only one thread at a time may use it.

    Args:
        cluster: The topology and the connections.
        keys: The names of the nodes' keys.
        rights: Records missing rights.
        large: The nodes with large values.
    """

    def __init__(self, cluster: Cluster, keys: KeyNames, rights: Rights, large: LargeNodes) -> None:
        self._cluster, self._keys, self._rights, self._large = cluster, keys, rights, large
        self._asked_for: tuple[Any, ...] = ()
        self._hashes = self._beats = Question(cluster, (), pack, 0)

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Yield one part with all nodes: no node is complete before the heartbeats, which are read last."""
        yield self.read(names, deadline)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Read these nodes; read them once more if some could not be read and the topology has changed.

        Args:
            names: The nodes.
            deadline: Monotonic seconds.

        Returns:
            The nodes of all primaries that answered; the other nodes are ``unread``.

        Raises:
            SourceError: No primary could be read before the deadline.
        """
        topology = self._cluster.know(deadline)
        large = self._large.names
        attempt = self._attempt(names, deadline)
        if attempt.failed:
            self._cluster.doubt(attempt.errors, deadline)
        if self._large.names is not large or (attempt.failed and self._cluster.topology is not topology):
            second = self._attempt(names, deadline)
            attempt = second if second.members else attempt
        return attempt.reading(self._keys)

    def _attempt(self, names: Sequence[bytes], deadline: float) -> "_Attempt":
        self._prepare(names)
        attempt = _Attempt(names, self._cluster, self._rights)
        attempt.take_hashes(gather(self._hashes, deadline), deadline)
        attempt.take_beats(gather(self._beats, deadline, failed=attempt.errors))
        for position in attempt.too_large:
            self._large.add(names[position])
        if attempt.anything_missing:
            unclear = attempt.without_fields()
            keys = [self._keys.metrics + names[position] for position in unclear]
            question = Question(self._cluster, keys, lambda key: pack(b"EXISTS", key), 1, STATE)
            attempt.take_existing(unclear, gather(question, deadline, failed=attempt.errors), deadline)
        attempt.drop_unread(self._hashes, self._beats)
        return attempt

    def _prepare(self, names: Sequence[bytes]) -> None:
        """Make the requests anew if they are about other nodes than before, or if these are elsewhere."""
        about = names, self._cluster.topology, self._large.names
        if all(now is before for now, before in zip(about, self._asked_for, strict=False)) and self._asked_for:
            return
        self._asked_for = about
        metrics, heartbeat = self._keys
        large = {prefix + name for prefix in self._keys for name in self._large.names}
        self._hashes = Question(
            self._cluster,
            [metrics + name for name in names],
            lambda key: pack(b"EXISTS", key) if key in large else hmget(key),
            1,
            STATE,
        )
        self._beats = Question(
            self._cluster,
            [heartbeat + name for name in names],
            lambda key: (pttl(key) if key in large else pack(b"GET", key)) + pttl(key),
            2,
        )


class _Attempt:
    """What one attempt to read some nodes has found; its methods are called in the order in which they stand here.

    Attributes:
        members: The state of each primary that answered.
        errors: Why a primary could not be read.
        too_large: The positions of nodes whose values turned out to be too large.
        unread: The positions of nodes that could not be read.
    """

    def __init__(self, names: Sequence[bytes], cluster: Cluster, rights: Rights) -> None:
        self._names, self._cluster, self._rights, self._topology = names, cluster, rights, cluster.topology
        self._asked = time.monotonic()
        self._rows: list[Any] = [NO_FIELDS] * len(names)
        self._ttl_ms = [MISSING] * len(names)
        self._beats: list[bytes | None] = [None] * len(names)
        self._without_hash: set[int] = set()
        self._refusal: SourceError | None = None
        self.members: dict[str, Server] = {}
        self.errors: dict[str, SourceError] = {}
        self.too_large: set[int] = set()
        self.unread: set[int] = set()

    @property
    def failed(self) -> bool:
        """Whether at least one node or primary could not be read."""
        return bool(self.unread or self.errors)

    def take_hashes(self, gathered: Gathered, deadline: float) -> None:
        """Take the hashes: the reply of HMGET for each node, or of EXISTS for a node with large values."""
        self._take_states(gathered, deadline)
        for position, replies in enumerate(gathered.replies):
            row = replies[0] if replies else None
            if type(row) is list:
                self._rows[position] = row
            elif type(row) is int:
                if not row:
                    self._without_hash.add(position)
            elif not is_wrong_type(row):
                self._fail(position, row)

    def take_beats(self, gathered: Gathered) -> None:
        """Take the heartbeats: GET and PTTL for each node, or PTTL twice for a node with large values.

        A heartbeat of which only one is there has expired or was written between the two, or is no string.
        """
        self.errors.update(gathered.errors)
        for position, replies in enumerate(gathered.replies):
            beat, ttl = replies or (None, None)
            if type(beat) is bytes and type(ttl) is int:
                if ttl != MISSING:
                    self._beats[position], self._ttl_ms[position] = beat, ttl
            elif type(beat) is int and type(ttl) is int:
                if ttl != MISSING:
                    self._beats[position], self._ttl_ms[position] = TOO_LARGE, ttl
            elif type(ttl) is not int or not (beat is None or is_wrong_type(beat)):
                self._fail(position, beat if isinstance(beat, Exception) else ttl)

    def _fail(self, position: int, reply: Any) -> None:
        """Record a node that could not be read, and why if this is not the fault of its primary."""
        self.unread.add(position)
        if isinstance(reply, SourceTooLargeError):
            self.too_large.add(position)
        elif isinstance(reply, RedisError):
            self._refusal = plain_error(reply)

    @property
    def anything_missing(self) -> bool:
        """Whether keys are missing: a FLUSHALL during the read may have deleted them."""
        return None in self._beats or NO_FIELDS in self._rows

    def without_fields(self) -> list[int]:
        """Return the positions of nodes for which no known field was read."""
        return [position for position, row in enumerate(self._rows) if row == NO_FIELDS]

    def take_existing(self, positions: Sequence[int], gathered: Gathered, deadline: float) -> None:
        """Take the replies of EXISTS for the hashes of some nodes, and the state of the primaries after them."""
        self._take_states(gathered, deadline)
        for position, replies in zip(positions, gathered.replies, strict=True):
            if not replies or type(replies[0]) is not int:
                self._fail(position, replies and replies[0])
            elif not replies[0]:
                self._without_hash.add(position)

    def _take_states(self, gathered: Gathered, deadline: float) -> None:
        self.errors.update(gathered.errors)
        for address, reply in gathered.first.items():
            try:
                pool = self._cluster.pool(address, deadline)
                state = seen_server(reply, pool, self._cluster.limit(address, deadline)(), self._rights, address)
                if state.info_allowed and state.role != "master":
                    raise SourceError(f"{address} has become a replica")
            except SourceError as error:
                self.errors[address] = error
                self._cluster.note(address, error)
            else:
                self.members[address] = state

    def drop_unread(self, *questions: Question) -> None:
        """Drop all values of nodes that could not be read, and of the primaries that failed."""
        for address in self.errors:
            self.members.pop(address, None)
            for question in questions:
                for batch in question.batches.get(address, ()):
                    self.unread.update(batch.positions)
        for position in self.unread:
            self._rows[position], self._ttl_ms[position], self._beats[position] = NO_FIELDS, MISSING, None
        self._without_hash -= self.unread

    def reading(self, keys: KeyNames) -> Reading:
        """Return all values that were read.

        Raises:
            SourceError: No primary could be read, or all of them refuse to show the nodes.
        """
        if not self.members:
            raise next(iter(self.errors.values()), SourceError("no primary of the Redis Cluster is known"))
        if self._refusal and len(self.unread) == len(self._names):
            raise self._refusal
        return Reading(
            asked=self._asked,
            at=time.monotonic(),
            wall=time.time(),
            server=Primaries.of(self.members, self._topology, keys),
            names=self._names,
            fields=columns_of(self._rows),
            ttl_ms=self._ttl_ms,
            beats=self._beats,
            without_hash=frozenset(self._without_hash),
            unread=frozenset(self.unread),
        )
