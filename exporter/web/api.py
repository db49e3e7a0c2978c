"""The JSON of ``/api/v1``: nodes, portfolios and events, each with its filters and its pages."""

import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeVar

from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.fleet.watch import PROBED
from exporter.journal.event import EventKind, Query, redis_away, shown, writes_refused
from exporter.portfolios.ledger import PortfolioState
from exporter.settings.values import require
from exporter.snapshot.rows import NODE_KEYS, PORTFOLIO_KEYS, Row, portfolio_rows, rows_of
from exporter.snapshot.snapshot import EXPORTED, Snapshot

LIMIT: Final = 100
"""Events on one page if the request does not say."""
MOST_EVENTS: Final = 1000
"""Events on one page at most."""
_NUMBER: Final = re.compile("[1-9][0-9]{0,15}")

Arguments = Mapping[str, Sequence[str]]
"""The arguments of a URL by name, in the order in which they stand there."""
T = TypeVar("T")


class Listing(NamedTuple):
    """What a request asks for of a list that is sorted by id.

    Attributes:
        state: Items in this state only; empty for all.
        text: Items whose id contains this text only, in any case.
        sort: The key whose value items are sorted by, with a ``-`` before it for the largest first; empty for the order
            of the list. An item without a value comes last in any case.
        limit: Items on one page; None for all.
        skip: Items on the pages before.
    """

    state: str = ""
    text: str = ""
    sort: str = ""
    limit: int | None = None
    skip: int = 0

    def wants(self, item_id: str, state: str) -> bool:
        """Return whether an item is wanted, on this page or on another one."""
        return (not self.state or state == self.state) and self.text in printable(item_id).lower()

    def order(self, row: Row) -> tuple[bool, Any]:
        """Return what ``picked`` sorts an item by."""
        value = row[self.sort.removeprefix("-")] if self.sort else None
        return (value is None) != self.sort.startswith("-"), 0 if value is None else value

    def picked(self, items: Iterable[T], order: Callable[[T], Any]) -> list[T]:
        """Return the items of a page, and one more if another page follows.

        Args:
            items: All wanted items.
            order: Returns what an item is sorted by.
        """
        if self.limit is None:
            return sorted(items, key=order, reverse=self.sort.startswith("-"))[self.skip :]
        best = heapq.nlargest if self.sort.startswith("-") else heapq.nsmallest  # both keep the order of equal items
        return best(self.skip + self.limit + 1, items, order)[self.skip :]


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
    state, sort = given.get("state", ""), given.get("sort", "")
    require(state in ("", *states), f"state: must be one of {', '.join(states)}")
    require(
        not sort or sort.removeprefix("-") in keys, f"sort: must be one of {', '.join(keys)}, or one of them after a -"
    )
    return Listing(
        state,
        given.get("filter", "").strip().lower(),
        sort,
        _number(given, "limit"),
        _number(given, "cursor") or 0,
    )


def _nodes(snapshot: Snapshot | None, query: Listing, fleet: Fleet) -> Iterator[bytes]:
    return _page("nodes", query, rows_of(snapshot, query.wants) if snapshot else (), "" if snapshot else trouble(fleet))


def _portfolios(snapshot: Snapshot | None, query: Listing, fleet: Fleet) -> Iterator[bytes]:
    problem = portfolio_trouble(snapshot) if snapshot else trouble(fleet)
    rows = portfolio_rows(snapshot.account) if snapshot and snapshot.account else ()
    wanted = (row for row in rows if query.wants(row["portfolio_id"], row["state"]))
    return _page("portfolios", query, wanted, problem)


def _page(name: str, query: Listing, rows: Iterable[Row], why: str) -> Iterator[bytes]:
    """Yield the pieces of ``{"redis_up": …, name: […]}``; ``next`` follows if pages are asked for.

    Args:
        name: The name of the list.
        query: What is asked for.
        rows: All wanted items.
        why: Why Redis could not be read, in sentences; empty if it was.
    """
    # The texts are sorted, and not the rows: these would take four times the memory.
    picked = query.picked(((query.order(row), _json(row)) for row in rows), itemgetter(0))
    yield b'{"redis_up":%b,"%b":[' % (_json(not why), name.encode())
    for number, (_, text) in enumerate(picked[: query.limit]):
        yield b"," + text if number else text
    yield b"]"
    if query.limit is not None:
        yield b',"next":' + _json(str(query.skip + query.limit) if len(picked) > query.limit else None)
    yield (b',"trouble":' + _json(why) if why else b"") + b"}"


def _event_query(arguments: Arguments) -> tuple[Query, int]:
    """Return which events a request asks for, and how many at most."""
    given = _last(arguments)
    kinds, subjects = (frozenset(filter(None, arguments.get(name, ()))) for name in ("kind", "subject"))
    require(kinds <= set(EventKind), f"kind: must be one of {', '.join(EventKind)}")
    query = Query(
        subjects=subjects or None,
        kinds=frozenset(map(EventKind, kinds)) or None,
        since=_time(given, "since"),
        until=_time(given, "until"),
        before=_number(given, "cursor"),
    )
    return query, min(_number(given, "limit") or LIMIT, MOST_EVENTS)


def _events(_: Snapshot | None, wanted: tuple[Query, int], fleet: Fleet) -> Iterator[bytes]:
    """Yield ``{"events": […], "next": …}``: the newest events first, and the cursor for more or null."""
    events, older = fleet.journal.page(*wanted)
    yield _json({"events": [event.to_json() for event in events], "next": older and str(older)})


LISTS: Final[Mapping[str, tuple[Callable[[Arguments], Any], Callable[..., Iterator[bytes]]]]] = {
    "nodes": (lambda arguments: listing(arguments, NODE_KEYS, EXPORTED), _nodes),
    "portfolios": (lambda arguments: listing(arguments, PORTFOLIO_KEYS, list(PortfolioState)), _portfolios),
    "events": (_event_query, _events),
}
"""By the name of a list: what parses a query for it, and what makes the pieces of the answer."""


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _last(arguments: Arguments) -> dict[str, str]:
    """Return the last value of each argument that has one."""
    return {name: values[-1] for name, values in arguments.items() if values and values[-1]}


def _time(given: Mapping[str, str], name: str) -> float | None:
    """Return the Unix time of ``1767702645.5`` or ``2026-01-06T12:30:45Z``; a time without a zone is UTC."""
    if name not in given:
        return None
    text = given[name]
    try:
        moment = datetime.fromisoformat(text) if "-" in text else datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{name}: not a time such as 2026-01-06T12:30:45Z or 1767702645") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _number(given: Mapping[str, str], name: str) -> int | None:
    if name not in given:
        return None
    require(_NUMBER.fullmatch(given[name]), f"{name}: must be a whole number from 1 on")
    return int(given[name])


# --- Redis in sentences ----------------------------------------------------------------------


def trouble(fleet: Fleet) -> str:
    """Return what people must know while Redis cannot be read."""
    view = fleet.view()
    since = fleet.journal.unix(view.outages[-1][0]) if view.errors else None
    return redis_away(since, next(iter(view.errors.values()), ""), *fleet.last_known)


def portfolio_trouble(snapshot: Snapshot) -> str:
    """Return what people must know while the portfolios alone cannot be read; empty if they can be read."""
    return snapshot.problem and f"The portfolios cannot be read: {shown(snapshot.problem)}."


def refusal(fleet: Fleet) -> str:
    """Return what people must know while Redis refuses writes; empty while it takes them, or cannot be read."""
    view = fleet.view()
    if view.refused_since is None or view.server is None or PROBED in view.errors:
        return ""
    errors = sum((Counter(server.refused) for server in view.server.members.values()), Counter[str]())
    return writes_refused(fleet.journal.unix(view.refusal_since or view.refused_since), errors)
