"""Reading of one Redis server."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from exporter.settings import Settings
from exporter.source.connection import Link, Pool, linked
from exporter.source.discovery import Found, discover
from exporter.source.options import pool_of
from exporter.source.reading import MISSING, Reading, Server, joined
from exporter.source.replies import NO_FIELDS, checked, columns_of, is_wrong_type, refuse
from exporter.source.requests import SERVER, SERVER_REPLIES, Chunk, KeyNames, chunks_of
from exporter.source.rights import Rights
from exporter.source.server import seen_server


class StandaloneSource:
    """One Redis server.

    Args:
        settings: Where the server is, and what its keys are called.
        pool: Connections to the server; None for the address of the settings.
    """

    def __init__(self, settings: Settings, pool: Pool | None = None) -> None:
        self._pool = pool or pool_of(settings.redis)
        self._keys = KeyNames.of(settings.keys)
        self._rights = Rights()

    def reader(self) -> "StandaloneReader":
        """Return a new reader."""
        return StandaloneReader(self._pool, self._keys, self._rights)

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys; ``timeout`` in seconds for each call."""
        return discover(self._pool, self._keys, timeout, self._rights)

    def missing_rights(self) -> frozenset[str]:
        """Return the commands that Redis refuses to the exporter's user."""
        return self._rights.missing()

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()


class StandaloneReader:
    """Reads nodes' values from one server. For one thread at a time.

    Args:
        pool: Connections to the server.
        keys: Where nodes' keys are.
        rights: Where missing rights are noted; None if nobody asks for them.
    """

    def __init__(self, pool: Pool, keys: KeyNames, rights: Rights | None = None) -> None:
        self._pool = pool
        self._keys = keys
        self._rights = rights or Rights()
        self._names: Sequence[bytes] = ()
        self._chunks: tuple[Chunk, ...] = ()

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Read these nodes in full: fields, PTTL and heartbeat of each."""
        return joined(names, list(self.parts(names, deadline)))

    def parts(self, names: Sequence[bytes], deadline: float) -> Generator[Reading, None, None]:
        """Read these nodes chunk by chunk; a chunk with odd nodes comes once these were looked at more closely.

        After the closer look the server is asked again: if a FLUSHALL took the nodes'
        keys, the part that misses them tells of it.
        """
        if names is not self._names:
            self._names, self._chunks = names, chunks_of(names, self._keys)
        with linked(self._pool, deadline) as link:
            asked = time.monotonic()
            link.send(SERVER)
            if self._chunks:
                link.send(self._chunks[0].packed)
            server = self._server(link, deadline)
            waiting: _Answer | None = None
            for chunk, after in zip_longest(self._chunks, self._chunks[1:]):
                if after:
                    link.send(after.packed)  # Redis works on it while this one is taken in
                answer = _Answer.of(chunk.names, link.receive(chunk.replies))
                if answer.odd:
                    link.send(b"".join((*(self._keys.look_closely(chunk.names[i]) for i in answer.odd), SERVER)))
                if waiting:
                    waiting.amend(link)
                    server = self._server(link, deadline)
                    yield waiting.reading(asked, server)
                waiting = answer if answer.odd else None  # what it sent for is answered after the next chunk
                if not waiting:
                    yield answer.reading(asked, server)
            if waiting:
                waiting.amend(link)
                yield waiting.reading(asked, self._server(link, deadline))
            if not self._chunks:
                yield Reading(asked, time.monotonic(), time.time(), server)

    def _server(self, link: Link, deadline: float) -> Server:
        return seen_server(link.receive(SERVER_REPLIES), self._pool, deadline, self._rights)


@dataclass(slots=True)
class _Answer:
    """What Redis answered about the nodes of a chunk; ``odd`` are to be looked at more closely."""

    names: Sequence[bytes]
    rows: list[Any]
    ttl_ms: list[Any]
    beats: list[Any]
    odd: Sequence[int]
    without_hash: frozenset[int] = frozenset()

    @classmethod
    def of(cls, names: Sequence[bytes], replies: list[Any]) -> "_Answer":
        beats = replies.pop()
        if type(beats) is not list or len(beats) != len(names):
            refuse(beats)
        rows, ttl_ms = replies[: len(names)], replies[len(names) :]
        return cls(names, rows, ttl_ms, beats, _odd(rows, ttl_ms, beats))

    def amend(self, link: Link) -> None:
        """Put in place what the odd nodes hold, each read singly, and note which have no hash."""
        replies = link.receive(4 * len(self.odd))
        without_hash = set()
        for position, (exists, row, ttl, beat) in zip(self.odd, zip(*[iter(replies)] * 4, strict=True), strict=True):
            self.rows[position] = NO_FIELDS if is_wrong_type(row) else checked(row, list)
            self.beats[position] = None if beat is None or is_wrong_type(beat) else checked(beat, bytes)
            self.ttl_ms[position] = MISSING if self.beats[position] is None else checked(ttl, int)
            if not checked(exists, int):
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


def _odd(rows: Sequence[Any], ttl_ms: Sequence[Any], beats: Sequence[bytes | None]) -> list[int]:
    """Return the positions of nodes to look at more closely, having looked at all of them in bulk.

    Odd are those whose hash showed no known field (it may be missing, empty of
    them, or no hash at all) and those whose heartbeat has a TTL and no value
    (it may be no string).
    """
    kinds = set(map(type, rows)), set(map(type, ttl_ms))
    if kinds == ({list}, {int}) and NO_FIELDS not in rows and MISSING not in ttl_ms and all(beats):
        return []
    return [
        position
        for position, (row, ttl, beat) in enumerate(zip(rows, ttl_ms, beats, strict=True))
        if row == NO_FIELDS or type(row) is not list or type(ttl) is not int or (beat is None) != (ttl == MISSING)
    ]
