"""Reads one server: the one at the address of the settings, or the master that Sentinel names."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from threading import Lock
from typing import Any, Final, NamedTuple

import structlog
from redis import ConnectionPool, Redis
from redis.connection import parse_url
from redis.sentinel import MasterNotFoundError, Sentinel

from exporter.errors import SourceError, SourceTooLargeError
from exporter.settings import Redis as RedisSettings
from exporter.source.connection import Pool, linked, options_of, shared_options
from exporter.source.gather import LargeNodes, Request, Until, exchange
from exporter.source.protocol import (
    CHUNK,
    FAILURES,
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
from exporter.source.reading import MISSING, TOO_LARGE, Reading, Server, joined
from exporter.source.server import STATE, Rights, seen_server

FOLLOW: Final = 5.0
"""Seconds between two questions to Sentinel while the master answers: much shorter than a heartbeat's TTL."""
_SENTINEL_TIMEOUT: Final = 1.0
"""Seconds for each step of a question to one Sentinel, at most."""
_CREDENTIALS: Final = ("username", "password")

log = structlog.get_logger(__name__)


class OneServer:
    """A single server, which holds all keys; its address is ``""``.

    Args:
        redis: The settings.

    Attributes:
        state: Its state, as it was read last.
    """

    def __init__(self, redis: RedisSettings) -> None:
        self.state = Server("", "")
        self._pool = Pool(options_of(redis, redis.url[0].get_secret_value()))

    def addresses(self, deadline: float) -> tuple[str, ...]:  # noqa: ARG002 - nobody has to be asked
        """Return the address of the server."""
        return ("",)

    def know(self, deadline: float) -> None:
        """Make sure that the servers of keys are known: they are."""

    def holder(self, key: bytes) -> str:  # noqa: ARG002 - the server holds all keys
        """Return the address of the server."""
        return ""

    def places(self, keys: Sequence[bytes]) -> Mapping[str, Sequence[int]]:
        """Return the positions of all keys, by the address."""
        return {"": range(len(keys))}

    def pool(self, address: str, deadline: float) -> Pool:  # noqa: ARG002 - a single server
        """Return the connections to the server."""
        return self._pool

    def limit(self, address: str, deadline: float) -> Until:  # noqa: ARG002 - it may take all the time
        """Return the deadline."""
        return lambda: deadline

    def is_silent(self, address: str) -> bool:  # noqa: ARG002 - as above
        """Return False: the server has all the time that a read has."""
        return False

    def note(self, address: str, error: SourceError | None) -> None:
        """Hear how the server answered."""

    def moved(self, address: str, deadline: float) -> None:
        """Hear of a redirection: what answers is part of a cluster, whatever the settings say."""

    def seen(self, state: Server) -> Server:
        """Hear the state of the server, and return it.

        Raises:
            SourceError: The values of the server do not count.
        """
        self.state = state
        return state

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class Master(OneServer):
    """The master that the Sentinels at the addresses of the settings know under one name.

    Sentinel is asked every ``FOLLOW`` seconds and after each failed read: a master that was cut off from the nodes may
    still answer, but it gets no more heartbeats. While a master is known, a Sentinel that does not answer changes
    nothing. One lock guards the state.

    Credentials in the addresses are for the Sentinels; ``--redis.username`` and ``--redis.password-file`` are for the
    master. The TLS settings are for both.

    Args:
        redis: The settings.
    """

    def __init__(self, redis: RedisSettings) -> None:
        urls = [parse_url(url.get_secret_value()) for url in redis.url]
        timeout = min(_SENTINEL_TIMEOUT, redis.timeout / 2 / len(urls))
        shared = shared_options(redis) | {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self.state = Server("", "")
        self._sentinel = Sentinel([])
        self._sentinel.sentinels = [
            Redis(
                connection_pool=ConnectionPool(**{name: value for name, value in url.items() if name != "db"} | shared)
            )
            for url in urls
        ]
        options = options_of(redis, redis.url[0].get_secret_value())
        self._options = {name: value for name, value in options.items() if name not in _CREDENTIALS}
        if redis.username:
            self._options["username"] = redis.username
        self._name = redis.sentinel_master or ""
        self._lock = Lock()  # for the attributes below
        self._ask_at = 0.0
        self._address: tuple[str, int] | None = None

    def pool(self, address: str, deadline: float) -> Pool:  # noqa: ARG002 - the Sentinels have time-outs of their own
        """Return the connections to the master.

        Raises:
            SourceError: No Sentinel names a master, and none is known.
        """
        with self._lock:
            if time.monotonic() >= self._ask_at:
                self._follow()
                self._ask_at = time.monotonic() + FOLLOW
            return self._pool

    def _follow(self) -> None:
        try:
            address = self._sentinel.discover_master(self._name)
        except FAILURES as error:
            if self._address is None:
                raise self._not_found(error) from None
            log.debug("no Sentinel names the master", error=str(error))
            return
        if address != self._address:
            if self._address:
                self._pool.close()
            self._address, (host, port) = address, address
            self._pool = Pool(self._options | {"host": host, "port": port})

    def _not_found(self, error: Exception) -> SourceError:
        if not isinstance(error, MasterNotFoundError):
            return plain_error(error)
        return SourceError(
            f"Redis: {error} (do the Sentinels run there, and know it? see --redis.url and --redis.sentinel-master)"
        )

    def note(self, address: str, error: SourceError | None) -> None:  # noqa: ARG002 - a single master
        """After an error ask Sentinel at once, and first another one: it may be cut off from the others."""
        if error:
            with self._lock:
                self._ask_at = 0.0
                self._sentinel.sentinels.append(self._sentinel.sentinels.pop(0))

    def seen(self, state: Server) -> Server:
        """Hear the state of the server, and return it; raise a SourceError if the server is a replica."""
        if state.info_allowed and state.role != "master":
            raise SourceError("Redis is a replica, and no master since Sentinel named it: a failover")
        return super().seen(state)

    def close(self) -> None:
        """Close all connections."""
        for sentinel in self._sentinel.sentinels:
            sentinel.close()
        if self._address:
            self._pool.close()


class _Chunk(NamedTuple):
    """One request about up to ``CHUNK`` nodes, or about one node whose values are too large.

    The replies are one HMGET for each node, then one PTTL for each node, then one MGET. Hashes are read before
    heartbeats, so that a node that beats between the two reads counts as alive. Of a node with large values only
    EXISTS of its hash and PTTL are read.
    """

    request: Request
    names: Sequence[bytes]
    is_large: bool = False


class StandaloneReader:
    """Reads nodes' values from one server. Only one thread at a time may use it.

    Args:
        server: The server.
        keys: The names of the nodes' keys.
        rights: Records missing rights.
        large: The nodes with large values.
    """

    def __init__(self, server: OneServer, keys: KeyNames, rights: Rights, large: LargeNodes) -> None:
        self._server, self._keys, self._rights, self._large = server, keys, rights, large
        self._names: Sequence[bytes] = ()
        self._large_names: frozenset[bytes] = frozenset()
        self._chunks: list[_Chunk] = []

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Return the values of these nodes as one reading; raises the same errors as ``parts``."""
        return joined(names, list(self.parts(names, deadline)))

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Yield the values of these nodes in parts, in the order of the names; there is at least one part.

        Each part comes as soon as it is read. While the caller works on a part, Redis works on the next one. The
        packed requests are kept while the caller passes the same sequence object.

        Args:
            names: The nodes.
            deadline: Monotonic seconds.

        Raises:
            SourceError: Redis could not be read in full before the deadline.
        """
        if names is not self._names or self._large_names is not self._large.names:
            self._names, self._large_names = names, self._large.names
            self._chunks = list(self._chunks_of(names))
        try:
            yield from self._parts(deadline)
        except SourceError as error:
            self._server.note("", error)
            raise

    def _parts(self, deadline: float) -> Iterator[Reading]:
        asked, done, chunks = time.monotonic(), 0, self._chunks
        while True:
            requests = [Request(STATE, 1), *(chunk.request for chunk in chunks[done:])]
            pool = self._server.pool("", deadline)
            try:
                with closing(exchange(pool, lambda: deadline, requests)) as talk:
                    server = self._seen(next(talk)[0], pool, deadline)
                    if not chunks:
                        yield Reading(asked, time.monotonic(), time.time(), server)
                    for replies in talk:
                        values = self._values(chunks[done], replies, pool, deadline)
                        yield _reading(chunks[done].names, values, asked, values.server or server)
                        done += 1
            except SourceTooLargeError:
                self._divide(done)
            else:
                return

    def _seen(self, reply: Any, pool: Pool, deadline: float) -> Server:
        return self._server.seen(seen_server(reply, pool, deadline, self._rights, ""))

    def _chunks_of(self, names: Sequence[bytes]) -> Iterator[_Chunk]:
        """Yield the requests about some nodes; each node with large values has its own."""
        start = 0
        for end in [*(i for i, name in enumerate(names) if name in self._large_names), len(names)]:
            for first in range(start, end, CHUNK):
                yield self._usual_chunk(names[first : min(first + CHUNK, end)])
            if end < len(names):
                yield self._large_chunk(names[end])
            start = end + 1

    def _usual_chunk(self, names: Sequence[bytes]) -> _Chunk:
        hashes = [self._keys.metrics + name for name in names]
        beats = [self._keys.heartbeat + name for name in names]
        packed = b"".join((*map(hmget, hashes), *map(pttl, beats), pack(b"MGET", *beats)))
        return _Chunk(Request(packed, 2 * len(names) + 1), names)

    def _large_chunk(self, name: bytes) -> _Chunk:
        packed = pack(b"EXISTS", self._keys.metrics + name) + pttl(self._keys.heartbeat + name)
        return _Chunk(Request(packed, 2), (name,), is_large=True)

    def _divide(self, position: int) -> None:
        """Halve a request whose replies are too large; a single node is recorded, and asked for less."""
        names = self._chunks[position].names
        if len(names) > 1:
            middle = len(names) // 2
            smaller = [self._usual_chunk(names[:middle]), self._usual_chunk(names[middle:])]
        else:
            self._large.add(names[0])
            self._large_names = self._large.names
            smaller = [self._large_chunk(names[0])]
        self._chunks[position : position + 1] = smaller

    def _values(self, chunk: _Chunk, replies: list[Any], pool: Pool, deadline: float) -> "_Values":
        """Return what the replies to a request mean; nodes whose replies are unclear are read a second time."""
        if chunk.is_large:
            exists, ttl = (expected(reply, int) for reply in replies)
            beat = None if ttl == MISSING else TOO_LARGE
            return _Values([NO_FIELDS], [ttl], [beat], frozenset(() if exists else (0,)))
        beats, count = expected(replies.pop(), list), len(chunk.names)
        values = _Values(replies[:count], replies[count:], beats)
        unclear = _unclear(values)
        return self._resolved(values, unclear, chunk.names, pool, deadline) if unclear else values

    def _resolved(
        self, values: "_Values", unclear: Sequence[int], names: Sequence[bytes], pool: Pool, deadline: float
    ) -> "_Values":
        """Read unclear nodes again, each alone, and then the server: if a FLUSHALL has deleted keys, it shows that."""
        requests = []
        for position in unclear:
            metrics, heartbeat = self._keys.metrics + names[position], self._keys.heartbeat + names[position]
            requests += [pack(b"EXISTS", metrics), hmget(metrics), pttl(heartbeat), pack(b"GET", heartbeat)]
        with linked(pool, deadline) as link:
            *replies, state = link.ask(b"".join((*requests, STATE)), len(requests) + 1)
        without_hash = set()
        for position, (exists, row, ttl, beat) in zip(unclear, zip(*[iter(replies)] * 4, strict=True), strict=True):
            values.rows[position] = NO_FIELDS if is_wrong_type(row) else expected(row, list)
            values.beats[position] = None if beat is None or is_wrong_type(beat) else expected(beat, bytes)
            values.ttl_ms[position] = MISSING if values.beats[position] is None else expected(ttl, int)
            if not expected(exists, int):
                without_hash.add(position)
        return values._replace(without_hash=frozenset(without_hash), server=self._seen(state, pool, deadline))


class _Values(NamedTuple):
    """The values of some nodes; ``server`` is the state of the server after them, None if it was read before them."""

    rows: list[Any]
    ttl_ms: list[Any]
    beats: list[Any]
    without_hash: frozenset[int] = frozenset()
    server: Server | None = None


def _reading(names: Sequence[bytes], values: _Values, asked: float, server: Server) -> Reading:
    return Reading(
        asked=asked,
        at=time.monotonic(),
        wall=time.time(),
        server=server,
        names=names,
        fields=columns_of(values.rows),
        ttl_ms=values.ttl_ms,
        beats=values.beats,
        without_hash=values.without_hash,
    )


def _unclear(values: _Values) -> list[int]:
    """Return the positions of nodes whose replies have more than one meaning; correct half-missing heartbeats.

    A node without known fields may have no hash, a hash without these fields, or another type in the place of its
    hash. A heartbeat with a TTL or a value only has expired or was written between the two commands, or is no string:
    it was missing at one of these moments, so it counts as missing.
    """
    rows, ttl_ms, beats, *_ = values
    kinds = set(map(type, rows)), set(map(type, ttl_ms)), set(map(type, beats))
    if kinds == ({list}, {int}, {bytes}) and MISSING not in ttl_ms and NO_FIELDS not in rows:
        return []  # the usual chunk: all nodes are alive and have a hash
    unclear = []
    for position, (row, ttl, beat) in enumerate(zip(rows, ttl_ms, beats, strict=True)):
        if ttl == MISSING or beat is None:
            ttl_ms[position], beats[position] = MISSING, None
        if type(row) is not list or row == NO_FIELDS or type(ttl) is not int:
            unclear.append(position)
    return unclear
