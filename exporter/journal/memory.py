"""The last events, in memory: the newest ones, found by subject, kind and time."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.journal.event import Event, Kind

MOST_EVENTS: Final = 10_000
"""Events that are kept."""
MOST_TEXT: Final = 32 * 2**20
"""Characters of ids in the events that are kept, about: events with very many or very long ids leave sooner."""
_EACH: Final = 100
"""Characters that stand for the evidence on one subject."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which events are wanted; None accepts all.

    Attributes:
        subjects: Events about any of these ids.
        kinds: Events of any of these kinds.
        since: The earliest Unix time.
        until: The latest Unix time.
        before: Only events with a lower id: the cursor of the page before.
    """

    subjects: frozenset[str] | None = None
    kinds: frozenset[Kind] | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None

    def accepts(self, event: Event) -> bool:
        """Return whether an event is wanted."""
        return (
            (self.before is None or event.id < self.before)
            and (self.kinds is None or event.kind in self.kinds)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
            and (self.subjects is None or not self.subjects.isdisjoint(event.subjects))
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, newest first.

    Attributes:
        events: The events.
        next: What ``Query.before`` must be for the next page; None if there are no more events.
    """

    events: Sequence[Event]
    next: int | None


class Memory:
    """The last events. Not thread-safe: the journal's lock guards it.

    Args:
        most_events: See ``MOST_EVENTS``.
        most_text: See ``MOST_TEXT``.
    """

    def __init__(self, most_events: int = MOST_EVENTS, most_text: int = MOST_TEXT) -> None:
        self._events: deque[Event] = deque()
        self._most_events, self._most_text = most_events, most_text
        self._text = 0

    def add(self, events: Iterable[Event]) -> None:
        """Keep events, each with a higher id than the one before; the oldest ones leave."""
        for event in events:
            self._events.append(event)
            self._text += _weight(event)
            while len(self._events) > self._most_events or (self._text > self._most_text and len(self._events) > 1):
                self._text -= _weight(self._events.popleft())

    def newest_first(self) -> Sequence[Event]:
        """Return all events, the newest one first."""
        return tuple(reversed(self._events))

    @property
    def last_id(self) -> int:
        """The id of the newest event; 0 without events."""
        return self._events[-1].id if self._events else 0


def page_of(events: Iterable[Event], query: Query, limit: int) -> Page:
    """Return the first events that a query accepts, of events that come newest first."""
    found: list[Event] = []
    for event in _wanted(events, query):
        if len(found) == limit:
            return Page(found, found[-1].id if found else None)
        found.append(event)
    return Page(found, None)


def _wanted(events: Iterable[Event], query: Query) -> Iterator[Event]:
    return (event for event in events if query.accepts(event))


def _weight(event: Event) -> int:
    return sum(map(len, event.subjects)) + _EACH * len(event.subjects)
