"""The events as JSON: ``/api/v1/events`` with its filters and its pages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.journal.memory import Query
from exporter.journal.times import parse_time

LIMIT: Final = 100
"""Events on one page if the request does not say."""
MOST_EVENTS: Final = 1000
"""Events on one page at most."""
MOST_BYTES: Final = 8 * 2**20
"""Bytes after which a page ends: one event may name very many nodes."""
_LONGEST_CURSOR: Final = 16


@dataclass(frozen=True, slots=True)
class EventQuery:
    """What a request asks for.

    Attributes:
        query: Which events.
        limit: How many at most.
    """

    query: Query
    limit: int

    @classmethod
    def of(cls, arguments: Mapping[str, Sequence[bytes]]) -> "EventQuery":
        """Return what the arguments of a URL ask for; ``subject`` and ``kind`` may be repeated.

        Arguments that are not known are ignored.

        Raises:
            ValueError: An argument is invalid; the text says which, and holds nothing of its value.
        """
        given = {
            name: [value.decode("utf-8", "backslashreplace") for value in values if value]
            for name, values in arguments.items()
        }
        kinds = given.get("kind") or []
        if not set(kinds) <= set(EventKind):
            raise ValueError(f"kind: must be one of {', '.join(EventKind)}")
        subjects = given.get("subject") or []
        limit = _number(given, "limit", "a number of events from 1 on")
        return cls(
            Query(
                subjects=frozenset(subjects) if subjects else None,
                kinds=frozenset(map(EventKind, kinds)) if kinds else None,
                since=_time(given, "since"),
                until=_time(given, "until"),
                before=_number(given, "cursor", "the value of next in an answer"),
            ),
            min(limit or LIMIT, MOST_EVENTS),
        )


def events_json(journal: Journal, wanted: EventQuery) -> list[bytes]:
    """Return the pieces of ``{"events": […], "next": …}``: the newest events first, and the cursor for more or null."""
    page = journal.page(wanted.query, wanted.limit)
    texts: list[bytes] = []
    size, last_id, cursor = 0, 0, page.next
    for event in page.events:
        text = json.dumps(event.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        if texts and size + len(text) > MOST_BYTES:
            cursor = last_id
            break
        last_id = event.id
        texts.append(text)
        size += len(text)
    ending = json.dumps(None if cursor is None else str(cursor)).encode()
    return [b'{"events":[', b",".join(texts), b'],"next":', ending, b"}"]


def _time(given: Mapping[str, Sequence[str]], name: str) -> float | None:
    try:
        return parse_time(given[name][-1]) if given.get(name) else None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _number(given: Mapping[str, Sequence[str]], name: str, meaning: str) -> int | None:
    if not given.get(name):
        return None
    text = given[name][-1]
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_CURSOR and int(text)):
        raise ValueError(f"{name}: must be {meaning}")
    return int(text)
