"""The JSON of ``/api/v1``: nodes, portfolios and events, each with its filters and its pages."""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.journal.event import EventKind, Query, parse_time
from exporter.journal.sentences import redis_away, redis_unreadable, shown, writes_refused
from exporter.liveness import View
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.rows import NODE_KEYS, PORTFOLIO_KEYS, Row, portfolio_row, rows_of
from exporter.snapshot.snapshot import EXPORTED, Snapshot
from exporter.source.names import shown_id

LIMIT: Final = 100
"""Events on one page if the request does not say."""
MOST_EVENTS: Final = 1000
"""Events on one page at most."""
MOST_BYTES: Final = 8 * 2**20
"""Bytes after which a page of events ends: one event may name very many nodes."""
_LONGEST_NUMBER: Final = 16
_UNSORTABLE: Final = ("offline_since_exact", "loaded_nodes", "listed_nodes")

Arguments = Mapping[str, Sequence[bytes]]
"""The arguments of a URL by name, in the order in which they stand there."""
T = TypeVar("T")


class Listing(NamedTuple):
    """What a request asks for of a list that is sorted by id.

    Attributes:
        state: Items in this state only; empty for all.
        node_id: Portfolios that the plan or a list gives to this node only; empty for all.
        text: Items whose id contains this text only, in any case.
        sort: The key whose value items are sorted by; empty for the order of the list.
        descending: Whether larger values come first. An item without a value comes last in any case.
        limit: Items on one page; None for all.
        skip: Items on the pages before.
    """

    state: str = ""
    node_id: str = ""
    text: str = ""
    sort: str = ""
    descending: bool = False
    limit: int | None = None
    skip: int = 0

    def wants(self, item_id: str, state: str) -> bool:
        """Return whether an item is wanted, on this page or on another one."""
        return (not self.state or state == self.state) and self.text in printable(item_id).lower()

    def order(self, row: Row) -> tuple[bool, Any]:
        """Return what an item is sorted by, upwards or downwards."""
        value = row[self.sort]
        return (value is not None) if self.descending else (value is None), 0 if value is None else value

    def picked(self, items: Iterable[T], order: Callable[[T], Any] | None) -> list[T]:
        """Return the items of a page, and one more if another page follows.

        Args:
            items: All wanted items.
            order: Returns what an item is sorted by; None for the order of the list.
        """
        end = None if self.limit is None else self.skip + self.limit + 1
        if order is None:
            return list(islice(items, self.skip, end))
        best = heapq.nlargest if self.descending else heapq.nsmallest  # both keep the order of equal items
        ordered = best(end, items, order) if end else sorted(items, key=order, reverse=self.descending)
        return ordered[self.skip :]


def listing(arguments: Arguments, keys: Sequence[str], states: Sequence[str]) -> Listing:
    """Return what the arguments of a URL ask for; arguments that are not known are ignored.

    Args:
        arguments: The arguments.
        keys: The keys of an item.
        states: The states of items.

    Raises:
        ValueError: An argument is invalid; the text says which, and holds nothing of its value.
    """
    given = _last(arguments)
    state, order = given.get("state", ""), given.get("sort", "")
    if state and state not in states:
        raise ValueError(f"state: must be one of {', '.join(states)}")
    sortable = [key for key in keys if key not in _UNSORTABLE]
    if order and order.removeprefix("-") not in sortable:
        raise ValueError(f"sort: must be one of {', '.join(sortable)}, or one of them after a -")
    return Listing(
        state,
        given.get("node_id", ""),
        given.get("filter", "").strip().lower(),
        order.removeprefix("-"),
        order.startswith("-"),
        _number(given, "limit", "a number from 1 on"),
        _number(given, "cursor", "the value of next in an answer") or 0,
    )


def _nodes(snapshot: Snapshot | None, query: Listing, fleet: Fleet) -> list[bytes]:
    return _page("nodes", query, rows_of(snapshot, query.wants) if snapshot else (), "" if snapshot else trouble(fleet))


def _portfolios(snapshot: Snapshot | None, query: Listing, fleet: Fleet) -> list[bytes]:
    if snapshot is None:
        return _page("portfolios", query, (), trouble(fleet))
    problem = f"The portfolios cannot be read: {shown(snapshot.problem)}." if snapshot.problem else ""
    return _page("portfolios", query, () if problem else _portfolio_rows(snapshot, query), problem)


def _portfolio_rows(snapshot: Snapshot, query: Listing) -> Iterator[Row]:
    if account := snapshot.account:
        for portfolio in account.ledger.portfolios():
            nodes = (portfolio.planned, *portfolio.loaded, *portfolio.listed)
            on_node = not query.node_id or any(name is not None and shown_id(name) == query.node_id for name in nodes)
            if on_node and query.wants(shown_id(portfolio.id), portfolio.state):
                yield portfolio_row(portfolio, account)


def _page(name: str, query: Listing, rows: Iterable[Row], why: str) -> list[bytes]:
    """Return the pieces of ``{"redis_up": …, name: […]}``; ``next`` follows if pages are asked for.

    Args:
        name: The name of the list.
        query: What is asked for.
        rows: All wanted items.
        why: Why Redis could not be read, in sentences; empty if it was.
    """
    # The texts are sorted, and not the rows: these would take four times the memory.
    items = ((query.order(row) if query.sort else None, _json(row)) for row in rows)
    picked = query.picked(items, (lambda item: item[0]) if query.sort else None)
    texts = [text for _, text in picked[: query.limit]]
    cursor = str(query.skip + len(texts)) if len(picked) > len(texts) else None
    ending = b"]" if query.limit is None else b'],"next":' + _json(cursor)
    up = b"false" if why else b"true"
    said = b',"trouble":' + _json(why) if why else b""
    return [b'{"redis_up":%b,"%b":[' % (up, name.encode()), b",".join(texts), ending, said, b"}"]


class EventQuery(NamedTuple):
    """What a request asks for of the events: which of them, and how many at most."""

    query: Query
    limit: int


def _event_query(arguments: Arguments) -> EventQuery:
    given = _last(arguments)
    kinds, subjects = ([_text(value) for value in arguments.get(name, ()) if value] for name in ("kind", "subject"))
    if not set(kinds) <= set(EventKind):
        raise ValueError(f"kind: must be one of {', '.join(EventKind)}")
    query = Query(
        subjects=frozenset(subjects) if subjects else None,
        kinds=frozenset(map(EventKind, kinds)) if kinds else None,
        since=_time(given, "since"),
        until=_time(given, "until"),
        before=_number(given, "cursor", "the value of next in an answer"),
    )
    return EventQuery(query, min(_number(given, "limit", "a number from 1 on") or LIMIT, MOST_EVENTS))


def _events(_: Snapshot | None, wanted: EventQuery, fleet: Fleet) -> list[bytes]:
    """Return the pieces of ``{"events": […], "next": …}``: the newest events first, and the cursor for more or null."""
    page = fleet.journal.page(*wanted)
    texts: list[bytes] = []
    size, cursor = 0, page.next
    for number, event in enumerate(page.events):
        texts.append(_json(event.to_json()))
        size += len(texts[-1])
        if size > MOST_BYTES and number + 1 < len(page.events):
            cursor = event.id
            break
    return [b'{"events":[', b",".join(texts), b'],"next":', _json(None if cursor is None else str(cursor)), b"}"]


LISTS: Final[Mapping[str, tuple[Callable[[Arguments], Any], Callable[[Snapshot | None, Any, Fleet], list[bytes]]]]] = {
    "nodes": (lambda arguments: listing(arguments, NODE_KEYS, EXPORTED), _nodes),
    "portfolios": (lambda arguments: listing(arguments, PORTFOLIO_KEYS, list(PortfolioState)), _portfolios),
    "events": (_event_query, _events),
}
"""By the name of a list: what parses a query for it, and what makes the pieces of the answer."""


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _last(arguments: Arguments) -> dict[str, str]:
    """Return the last value of each argument."""
    return {name: _text(values[-1]) for name, values in arguments.items() if values}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _time(given: Mapping[str, str], name: str) -> float | None:
    try:
        return parse_time(given[name]) if given.get(name) else None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _number(given: Mapping[str, str], name: str, meaning: str) -> int | None:
    text = given.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER and int(text)):
        raise ValueError(f"{name}: must be {meaning}")
    return int(text)


# --- Redis in sentences ----------------------------------------------------------------------


def outage(view: View) -> str:
    """Return the outage of Redis that lasts, as one sentence; empty without one."""
    return redis_unreadable(view.unix(view.outage.since), view.outage.error) if view.outage else ""


def trouble(fleet: Fleet) -> str:
    """Return what people must know while Redis cannot be read."""
    view = fleet.view()
    since, error = (view.unix(view.outage.since), view.outage.error) if view.outage else (None, "")
    return redis_away(since, error, *fleet.last_known)


def refusal(view: View) -> str:
    """Return what people must know while Redis refuses writes; empty while it takes them, or cannot be read."""
    if view.refused_since is None or view.server is None or view.outage:
        return ""
    counts = [server.refused or {} for server in view.server.members.values()]
    errors = {error: sum(each.get(error, 0) for each in counts) for each in counts for error in each}
    return writes_refused(view.unix(view.refused_since), errors)
