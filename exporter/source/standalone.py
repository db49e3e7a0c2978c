"""Reads one Redis server."""

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from exporter.errors import SourceTooLargeError
from exporter.settings import Settings
from exporter.source.careful import ROOM, read_carefully
from exporter.source.connection import Link, Pool, linked
from exporter.source.discovery import Found, discover
from exporter.source.existing import existing
from exporter.source.limits import Spent, nobody
from exporter.source.options import pool_of
from exporter.source.reading import MISSING, Reading, Server, joined
from exporter.source.replies import NO_FIELDS, columns_of, expected, is_wrong_type, refuse
from exporter.source.requests import Chunk, KeyNames, chunks_of
from exporter.source.rights import Rights
from exporter.source.router import OneServer
from exporter.source.server import seen_server


class StandaloneSource:
    """One Redis server.

    Args:
        settings: The address of the server, and the names of the keys.
        pool: Connections to the server; None to connect to the address in the settings.
        spent: Told of budgets that are spent.
    """

    def __init__(self, settings: Settings, pool: Pool | None = None, spent: Spent = nobody) -> None:
        self._spent, self._most_nodes = spent, settings.collector.max_nodes
        self._pool = pool or pool_of(settings.redis)
        self._keys = KeyNames.of(settings.keys)
        self._rights = Rights()

    def reader(self) -> "StandaloneReader":
        """Return a new reader."""
        return StandaloneReader(self._pool, self._keys, self._rights, self._spent)

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys; ``timeout`` is in seconds, for each call."""
        found = discover(self._pool, self._keys, timeout, self._rights, most_nodes=self._most_nodes, spent=self._spent)
        return existing(found, self.reader(), timeout)

    def router(self) -> OneServer:
        """Return a router to keys of any kind."""
        return OneServer(self._pool)

    def pools(self) -> tuple[Pool, ...]:
        """Return the connections to the server."""
        return (self._pool,)

    def missing_rights(self) -> frozenset[str]:
        """Return the commands that Redis refuses to the exporter's user."""
        return self._rights.missing()

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()


class StandaloneReader:
    """Reads nodes' values from one server. Only one thread at a time may use it.

    Args:
        pool: Connections to the server.
        keys: The names of the nodes' keys.
        rights: Records missing rights; None to record nothing.
        spent: Told when a chunk has values that are too large.
    """

    def __init__(self, pool: Pool, keys: KeyNames, rights: Rights | None = None, spent: Spent = nobody) -> None:
        self._spent = spent
        self._pool = pool
        self._keys = keys
        self._rights = rights or Rights()
        self._names: Sequence[bytes] = ()
        self._chunks: tuple[Chunk, ...] = ()
        self._room = ROOM
        self._large: set[int] = set()  # positions of chunks whose reply was too large at the last read

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Return fields, PTTL and heartbeat of each of these nodes as one reading."""
        return joined(names, list(self.parts(names, deadline)))

    def parts(self, names: Sequence[bytes], deadline: float) -> Generator[Reading, None, None]:
        """Yield the values of these nodes chunk by chunk.

        A chunk with unclear nodes is yielded after these were read a second time, each alone. The
        server's state is read after them: if a FLUSHALL deleted the nodes' keys, the same part that
        misses the keys reports the FLUSHALL.

        A chunk whose reply is too large is read again node by node, with the lengths of values first.
        """
        if names is not self._names:
            self._names, self._chunks, self._large = names, chunks_of(names, self._keys), set()
        if not self._chunks:
            yield from self._usual_parts((), deadline)
        position, self._room = 0, ROOM
        while position < len(self._chunks):
            large = min((number for number in self._large if number >= position), default=len(self._chunks))
            if large > position:
                try:
                    with closing(self._usual_parts(self._chunks[position:large], deadline)) as parts:
                        for part in parts:
                            position += 1
                            yield part
                except SourceTooLargeError:
                    large = position
            if large < len(self._chunks):
                yield self._careful_part(position, deadline)
                position += 1

    def _careful_part(self, position: int, deadline: float) -> Reading:
        names, asked = self._chunks[position].names, time.monotonic()
        careful = read_carefully(self._pool, deadline, self._keys, names, self._room)
        with linked(self._pool, deadline) as link:
            link.send(self._pool.server_request)
            server = self._server(link, deadline)
        self._large.discard(position)
        self._room = careful.room
        if careful.large or careful.too_large:
            self._large.add(position)
        if careful.too_large:
            self._spent("replies", f"{careful.too_large} very long values were left out")
        return _ChunkReply.of_whole_nodes(names, careful.replies).reading(asked, server)

    def _usual_parts(self, chunks: Sequence[Chunk], deadline: float) -> Generator[Reading, None, None]:
        with linked(self._pool, deadline) as link:
            asked = time.monotonic()
            link.send(self._pool.server_request)
            if chunks:
                link.send(chunks[0].packed)
            server = self._server(link, deadline)
            waiting: _ChunkReply | None = None
            for chunk, after in zip_longest(chunks, chunks[1:]):
                if after:
                    link.send(after.packed)  # Redis works on this request while the replies to ``chunk`` are parsed
                reply = _ChunkReply.of(chunk.names, link.receive(chunk.replies))
                if reply.unclear:
                    again = [self._keys.whole_node(chunk.names[i]) for i in reply.unclear]
                    link.send(b"".join((*again, self._pool.server_request)))
                if waiting:
                    waiting.resolve(link)
                    server = self._server(link, deadline)
                    yield waiting.reading(asked, server)
                waiting = reply if reply.unclear else None  # its second replies come after those of the next chunk
                if not waiting:
                    yield reply.reading(asked, server)
            if waiting:
                waiting.resolve(link)
                yield waiting.reading(asked, self._server(link, deadline))
            if not chunks:
                yield Reading(asked, time.monotonic(), time.time(), server)

    def _server(self, link: Link, deadline: float) -> Server:
        (reply,) = link.receive(1)
        return seen_server(reply, self._pool, deadline, self._rights)


@dataclass(slots=True)
class _ChunkReply:
    """The replies about the nodes of a chunk; ``unclear`` are the positions of nodes to read a second time."""

    names: Sequence[bytes]
    rows: list[Any]
    ttl_ms: list[Any]
    beats: list[Any]
    unclear: Sequence[int]
    without_hash: frozenset[int] = frozenset()

    @classmethod
    def of(cls, names: Sequence[bytes], replies: list[Any]) -> "_ChunkReply":
        beats = replies.pop()
        if type(beats) is not list or len(beats) != len(names):
            refuse(beats)
        rows, ttl_ms = replies[: len(names)], replies[len(names) :]
        return cls(names, rows, ttl_ms, beats, _unclear(rows, ttl_ms, beats))

    @classmethod
    def of_whole_nodes(cls, names: Sequence[bytes], nodes: Iterable[Sequence[Any]]) -> "_ChunkReply":
        """Return the reply of a chunk whose nodes were each read alone."""
        count = len(names)
        reply = cls(names, [NO_FIELDS] * count, [MISSING] * count, [None] * count, range(count))
        reply._take(nodes)
        return reply

    def resolve(self, link: Link) -> None:
        """Receive the second replies about the unclear nodes, and take the values from these."""
        self._take(zip(*[iter(link.receive(4 * len(self.unclear)))] * 4, strict=True))

    def _take(self, nodes: Iterable[Sequence[Any]]) -> None:
        without_hash = set()
        for position, (exists, row, ttl, beat) in zip(self.unclear, nodes, strict=True):
            self.rows[position] = NO_FIELDS if is_wrong_type(row) else expected(row, list)
            self.beats[position] = None if beat is None or is_wrong_type(beat) else expected(beat, bytes)
            self.ttl_ms[position] = MISSING if self.beats[position] is None else expected(ttl, int)
            if not expected(exists, int):
                without_hash.add(position)
        self.without_hash = frozenset(without_hash)

    def reading(self, asked: float, server: Server) -> Reading:
        return Reading(
            asked=asked,
            at=time.monotonic(),
            wall=time.time(),
            server=server,
            names=self.names,
            fields=columns_of(self.rows),
            ttl_ms=self.ttl_ms,
            beats=self.beats,
            without_hash=self.without_hash,
        )


_KINDS: Final = (bytes, type(None))
"""The type of a heartbeat's value where it is there, and where it is missing."""


def _unclear(rows: Sequence[Any], ttl_ms: Sequence[Any], beats: Sequence[bytes | None]) -> list[int]:
    """Return the positions of nodes whose replies have more than one meaning.

    A node without known fields may have no hash, a hash without these fields, or another type in the
    place of its hash. A heartbeat with a TTL and without a value may be no string, or may have been
    written between the two commands.
    """
    kinds = set(map(type, rows)), set(map(type, ttl_ms)), set(map(type, beats))
    if kinds == ({list}, {int}, {bytes}) and MISSING not in ttl_ms and NO_FIELDS not in rows:
        return []  # the usual chunk: all nodes are alive and have a hash
    return [
        position
        for position, (row, ttl, beat) in enumerate(zip(rows, ttl_ms, beats, strict=True))
        if row == NO_FIELDS or type(row) is not list or type(ttl) is not int or type(beat) is not _KINDS[ttl == MISSING]
    ]
