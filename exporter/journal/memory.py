"""The last events, in memory: the newest ones, found by subject, kind and time.

Events are kept in chunks of compressed lines of JSON. A chunk takes a fiftieth of the memory of its events as objects.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from isal import isal_zlib

from exporter.escaping import printable_json
from exporter.journal.event import Event, EventKind, event_of

MOST_EVENTS: Final = 10_000
"""Events that are kept."""
MOST_BYTES: Final = 8 * 2**20
"""Largest size of all compressed events, in bytes. If ids are very many or very long, fewer events are kept."""
_CHUNK: Final = 64
"""Events that are compressed together."""
_CHUNK_BYTES: Final = 1 << 16
"""Size of lines, in bytes, from which on they are compressed although they are fewer than ``_CHUNK``."""


@dataclass(frozen=True, slots=True)
class Query:
    """The conditions of a search for events; a condition that is None accepts all events.

    Attributes:
        subjects: Events about any of these ids.
        kinds: Events of any of these kinds.
        since: The earliest Unix time.
        until: The latest Unix time.
        before: Only events with a lower id: the cursor of the page before.
    """

    subjects: frozenset[str] | None = None
    kinds: frozenset[EventKind] | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None

    def accepts(self, event: Event) -> bool:
        """Return whether an event is wanted."""
        return (
            self.may_accept_some(event.id, event.time, event.time)
            and (self.kinds is None or event.kind in self.kinds)
            and (self.subjects is None or not self.subjects.isdisjoint(event.subjects))
        )

    def may_accept_some(self, first_id: int, earliest: float, latest: float) -> bool:
        """Return whether any of some events may be wanted, given their lowest id and the limits of their times."""
        return (
            (self.before is None or first_id < self.before)
            and (self.since is None or latest >= self.since)
            and (self.until is None or earliest <= self.until)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, newest first.

    Attributes:
        events: The events.
        next: The value of ``Query.before`` for the next page; None if there are no more events.
    """

    events: Sequence[Event]
    next: int | None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some successive events.

    Attributes:
        count: How many there are.
        first_id: The lowest id.
        earliest: The earliest Unix time.
        latest: The latest Unix time.
        lines: Their lines, the oldest event first, compressed.
    """

    count: int
    first_id: int
    earliest: float
    latest: float
    lines: bytes


class Memory:
    """The last events. Not thread-safe: the journal's lock guards it.

    Args:
        most_events: See ``MOST_EVENTS``.
        most_bytes: See ``MOST_BYTES``.

    Attributes:
        last_id: The id of the newest event; 0 without events.
    """

    def __init__(self, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self.last_id = 0
        self._most_events, self._most_bytes = most_events, most_bytes
        self._chunks: deque[_Chunk] = deque()
        self._open: list[tuple[Event, bytes]] = []
        self._count = self._open_bytes = self._bytes = 0

    def add(self, event: Event, line: bytes) -> None:
        """Keep an event and its line, and drop the oldest events. Its id must be higher than the last one."""
        self.last_id = event.id
        self._open.append((event, line))
        self._open_bytes += len(line)
        self._count += 1
        if len(self._open) >= _CHUNK or self._open_bytes >= _CHUNK_BYTES:
            chunk = _chunk(self._open)
            self._chunks.append(chunk)
            self._bytes += len(chunk.lines)
            self._open, self._open_bytes = [], 0
        while self._chunks and (self._count - self._chunks[0].count >= self._most_events or self._is_too_large()):
            gone = self._chunks.popleft()
            self._count -= gone.count
            self._bytes -= len(gone.lines)

    def _is_too_large(self) -> bool:
        return self._bytes > self._most_bytes and len(self._chunks) > 1

    def kept(self) -> "Kept":
        """Return what is kept now; it can be searched without the journal's lock."""
        return Kept(tuple(event for event, _ in self._open), tuple(self._chunks), self._most_events)


@dataclass(frozen=True, slots=True)
class Kept:
    """The events that are kept at one moment.

    Attributes:
        recent: The newest events, which are not compressed yet, the oldest one first.
        chunks: All other events, the oldest chunk first.
        most_events: How many events are found at most.
    """

    recent: Sequence[Event]
    chunks: Sequence[_Chunk]
    most_events: int

    def found(self, query: Query) -> Iterator[Event]:
        """Yield the events that a query accepts, newest first."""
        left = self.most_events
        yield from (event for event in reversed(self.recent[-left:]) if query.accepts(event))
        left -= len(self.recent)
        # A subject stands in the lines as JSON, so that most chunks need not be parsed.
        wanted = None if query.subjects is None else [printable_json(subject).encode() for subject in query.subjects]
        for chunk in reversed(self.chunks):
            if left <= 0:
                return
            if query.may_accept_some(chunk.first_id, chunk.earliest, chunk.latest):
                text = isal_zlib.decompress(chunk.lines)
                if wanted is None or any(subject in text for subject in wanted):
                    events = (event_of(json.loads(line)) for line in reversed(text.splitlines()[-left:]))
                    yield from filter(query.accepts, events)
            left -= chunk.count


def _chunk(entries: Sequence[tuple[Event, bytes]]) -> _Chunk:
    times = [event.time for event, _ in entries]
    lines = isal_zlib.compress(b"".join(line for _, line in entries))
    return _Chunk(len(entries), entries[0][0].id, min(times), max(times), lines)


def page_of(events: Iterable[Event], limit: int) -> Page:
    """Return the first events, at most ``limit``, of events that come newest first."""
    some: list[Event] = []
    for event in events:
        if len(some) == limit:
            return Page(some, some[-1].id if some else None)
        some.append(event)
    return Page(some, None)
