"""Events for the tests."""

from typing import Any

from exporter.journal.event import Event, EventKind, Query
from exporter.journal.journal import Journal

T0 = 1_767_702_645.0


def event(number: int, *subjects: str, **values: Any) -> Event:
    """Return an event: the first ``subjects`` went offline at second ``number``."""
    defaults: dict[str, Any] = {
        "time": T0 + number,
        "kind": EventKind.NODE,
        "before": "online",
        "after": "offline",
        "evidence": {},
    }
    return Event(id=number, subjects=subjects or ("n",), **(defaults | values))


def told(journal: Journal, limit: int = 10_000, query: Query | None = None) -> list[tuple[tuple[str, ...], str]]:
    """Return subjects and new state of the journal's events, the oldest one first."""
    events, _ = journal.page(query or Query(), limit)
    return [(each.subjects, each.after) for each in reversed(events)]
