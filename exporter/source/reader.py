"""Reads nodes' values from one server as a stream of parts; and what the replies mean, for a cluster too.

Hashes are read before heartbeats, so that a node that beats between the two reads counts as alive. Which hashes exist
is asked in a second look, and only for those without known fields.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.discovery import Spent
from exporter.source.gather import NO_ERRORS, Gathered, Question, Request, exchange, gather, parts_of
from exporter.source.names import shown_id
from exporter.source.protocol import (
    CHUNK,
    KeyNames,
    expected,
    hmget,
    hmget_nothing,
    is_wrong_type,
    pack,
    plain_error,
    pttl,
)
from exporter.source.reading import MISSING, TOO_LARGE, Reading, Server, joined
from exporter.source.server import STATE, OneServer, Rights, seen_server

if TYPE_CHECKING:
    from exporter.source.gather import Servers

NO_FIELDS: Final = [None] * len(FIELDS)
"""The reply of HMGET for a hash that is missing or has no known field."""


class Reader(Protocol):
    """Reads nodes' values. Only one thread at a time may use it."""

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Yield the values of these nodes in parts, in the order of the names; there is at least one part.

        Each part comes as soon as it is read. While the caller works on a part, Redis works on the next one. The
        packed requests are kept while the caller passes the same sequence object.

        Args:
            names: The nodes.
            deadline: Monotonic seconds.

        Raises:
            SourceError: Redis could not be read in full before the deadline; of a cluster, no primary could be read.
        """

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Return the values of these nodes as one reading; raises the same errors as ``parts``."""


class LargeNodes:
    """The nodes with values that are too large to be read. Readers find them, discovery tries them again.

    Args:
        spent: Told of each node that is found.

    Attributes:
        names: Their ids. The object stays the same while the nodes do.
    """

    def __init__(self, spent: Spent) -> None:
        self.names: frozenset[bytes] = frozenset()
        self._spent = spent

    def add(self, name: bytes) -> None:
        """Record a node whose values are too large."""
        self.names |= {name}
        self._spent("replies", f"the values of node {shown_id(name)} are not read: they are larger than 4 MiB")


@dataclass(slots=True)
class Columns:
    """The replies about some nodes, which become their values.

    Attributes:
        names: The nodes.
        rows: The replies of HMGET.
        ttl_ms: The replies of PTTL.
        beats: The values of the heartbeats.
        large: Positions of nodes whose values were not asked for.
        unread: Positions of nodes that could not be read.
        without_hash: Positions of nodes without hash.
    """

    names: Sequence[bytes]
    rows: list[Any]
    ttl_ms: list[Any]
    beats: list[Any]
    large: Sequence[int]
    unread: set[int] = field(default_factory=set)
    without_hash: set[int] = field(default_factory=set)

    def clear_up(self) -> Iterator[tuple[int, Exception]]:
        """Turn replies into values; yield the position and the error of each node that was refused.

        A heartbeat of which only the TTL or only the value came has expired or was written between the two commands,
        or is no string: it counts as missing, as it was at one of these moments.

        Raises:
            SourceError: A TTL is no number.
        """
        for position in self.large:
            self.beats[position] = TOO_LARGE
        kinds = set(map(type, self.rows)), set(map(type, self.ttl_ms)), set(map(type, self.beats))
        if kinds == ({list}, {int}, {bytes}) and MISSING not in self.ttl_ms:
            return  # the usual case: all nodes are alive
        for position, replies in enumerate(zip(self.rows, self.ttl_ms, self.beats, strict=False)):
            row, ttl, beat = replies
            errors = (reply for reply in replies if isinstance(reply, Exception) and not is_wrong_type(reply))
            if error := next(errors, None):
                yield position, error
            else:
                expected(ttl, int)
            if ttl == MISSING or type(beat) is not bytes:
                self.ttl_ms[position], self.beats[position] = MISSING, None
            if type(row) is not list:
                self.rows[position] = NO_FIELDS

    @property
    def without_fields(self) -> list[int]:
        """The positions of nodes that may have no hash, or a hash without known fields, or another type of key."""
        return [] if NO_FIELDS not in self.rows else [i for i, row in enumerate(self.rows) if row == NO_FIELDS]

    def take_existing(self, positions: Sequence[int], replies: Sequence[tuple[Any, ...] | None]) -> None:
        """Take the replies of EXISTS for the hashes of some nodes."""
        for position, reply in zip(positions, replies, strict=True):
            if reply is None:
                self.unread.add(position)
            elif not expected(reply[0], int):
                self.without_hash.add(position)

    def reading(self, asked: float, server: Server) -> Reading:
        """Return the values."""
        widths = set(map(len, self.rows)) | {len(FIELDS)}
        if len(widths) > 1 or len(self.beats) != len(self.names):
            raise SourceError("Redis gave more or fewer values than it was asked for")
        for position in self.unread:
            self.rows[position], self.ttl_ms[position], self.beats[position] = NO_FIELDS, MISSING, None
        return Reading(
            asked=asked,
            at=time.monotonic(),
            wall=time.time(),
            server=server,
            names=self.names,
            fields=tuple(zip(*self.rows, strict=False)) or ((),) * len(FIELDS),
            ttl_ms=self.ttl_ms,
            beats=self.beats,
            without_hash=frozenset(self.without_hash - self.unread),
            unread=frozenset(self.unread),
        )


class _Chunk(NamedTuple):
    """One request about some nodes; ``large`` are the positions of those whose values are not asked for.

    The replies are one HMGET for each node, then one PTTL for each node, then one MGET.
    """

    request: Request
    names: Sequence[bytes]
    large: Sequence[int]


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
        """Yield the values of these nodes in parts, as ``Reader`` says."""
        if names is not self._names or self._large_names is not self._large.names:
            self._names, self._large_names = names, self._large.names
            self._chunks = [self._chunk(names[start : start + CHUNK]) for start in range(0, len(names), CHUNK)]
        asked, done = time.monotonic(), 0
        try:
            while done < max(1, len(self._chunks)):
                try:
                    for part in self._parts(done, asked, deadline):
                        yield part
                        done += 1
                except SourceTooLargeError:
                    self._divide(done)
        except SourceError as error:
            self._server.note("", error)
            raise

    def _parts(self, first: int, asked: float, deadline: float) -> Iterator[Reading]:
        """Yield the parts from a chunk on; without chunks, one part that has the state of the server only."""
        chunks = self._chunks[first:]
        requests = [Request(STATE, 1), *(chunk.request for chunk in chunks)]
        with closing(exchange(self._server.pool("", deadline), lambda: deadline, requests)) as talk:
            next(talk)
            server = self._seen(next(talk)[0], deadline)
            if not chunks:
                yield Columns((), [], [], [], ()).reading(asked, server)
            for replies, chunk in zip(talk, chunks, strict=False):  # the end of ``talk`` gives the connection back
                part = self._part(chunk, replies, asked, server, deadline)
                server = part.server
                yield part

    def _part(self, chunk: _Chunk, replies: list[Any], asked: float, server: Server, deadline: float) -> Reading:
        """Return the values of a chunk; the server is asked again if hashes are missing: a FLUSHALL deletes them."""
        beats, count = expected(replies.pop(), list), len(chunk.names)
        columns = Columns(chunk.names, replies[:count], replies[count:], beats, chunk.large)
        for _, error in columns.clear_up():
            raise plain_error(error)
        if missing := columns.without_fields:
            again = second_look(self._server, [self._keys.metrics + chunk.names[i] for i in missing], deadline)
            for problem in again.errors.values():
                raise problem
            server = self._seen(again.first[""], deadline)
            columns.take_existing(missing, again.replies)
        return columns.reading(asked, server)

    def _seen(self, reply: Any, deadline: float) -> Server:
        pool = self._server.pool("", deadline)
        return self._server.seen(seen_server(reply, pool, deadline, self._rights, ""))

    def _chunk(self, names: Sequence[bytes]) -> _Chunk:
        large = [position for position, name in enumerate(names) if name in self._large_names]
        hashes = [hmget(self._keys.metrics + name) for name in names]
        beats = [self._keys.heartbeat + name for name in names]
        values = beats.copy()
        for position in large:
            hashes[position] = hmget_nothing(self._keys.metrics + names[position])
            values[position] += b":too-large"  # a key that does not exist
        packed = b"".join((*hashes, *map(pttl, beats), pack(b"MGET", *values)))
        return _Chunk(Request(packed, 2 * len(names) + 1), names, large)

    def _divide(self, position: int) -> None:
        """Divide a request whose replies are too large; of a single node, no values are asked for any more."""
        names = self._chunks[position].names
        if len(names) == 1:
            self._large.add(names[0])
            self._large_names = self._large.names
        self._chunks[position : position + 1] = map(self._chunk, parts_of(names))


def second_look(
    servers: "Servers",
    keys: Sequence[bytes],
    deadline: float,
    failed: Mapping[str, SourceError] = NO_ERRORS,
) -> Gathered:
    """Ask whether keys exist, and for the state of the servers after the first look at the keys."""
    return gather(Question(servers, keys, lambda key: pack(b"EXISTS", key), 1, STATE), deadline, failed=failed)
