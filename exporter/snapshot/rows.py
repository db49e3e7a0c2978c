"""A snapshot as rows for people and programs: the rows and columns of table, page and JSON, and the texts of values."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

from exporter.contract import BACKPRESSURE, DROPPED, EVENTS, NODE_METRICS, NUMBERS, Metric
from exporter.escaping import printable
from exporter.liveness import Node, State
from exporter.liveness.changes import NEVER
from exporter.portfolios.account import Account
from exporter.portfolios.ledger import FAULTS, Portfolio, PortfolioState
from exporter.snapshot.snapshot import APART, Snapshot, rise
from exporter.source.reading import shown_id

Row = dict[str, Any]
"""One node by the keys of ``/api/v1/nodes``, or one portfolio by those of ``/api/v1/portfolios``; unknown values are
None."""

NOT_KNOWN: Final = "–"  # noqa: RUF001 - the text of an unknown value
_OFFLINE_FIRST: Final = (State.OFFLINE, State.UNDECIDED, State.ONLINE)
_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
_DAY: Final = 86_400
_EXACT: Final = 2**53

_LISTED: Final = tuple(metric for metric in NODE_METRICS if metric.key)
NODE_KEYS: Final = (
    *("node_id", "state", *(metric.key for metric in _LISTED)),
    *("heartbeat_age_seconds", "offline_since", "offline_since_exact", "events_per_second"),
    *("undecided_because", "undecided_until", "loss"),
    *("dropped_recently", "backpressure_recently", "offline_seconds"),
)
"""The keys of a node's row in their order, on which programs may count: a new key comes last."""
PORTFOLIO_KEYS: Final = (
    *("portfolio_id", "state", "reason", "planned_node", "loaded_nodes", "listed_nodes", "since", "positions"),
)
"""The keys of a portfolio's row, in their order."""


def rows_of(snapshot: Snapshot, wanted: Callable[[str, State], bool] | None = None) -> Iterator[Row]:
    """Yield each node of a snapshot, sorted by id.

    Args:
        snapshot: The nodes.
        wanted: Returns whether a node is wanted, given its id and its state; None for all nodes.
    """
    absent, seconds = snapshot.absent, snapshot.parts[-1].at - snapshot.recent.at
    events, drops, pushes = snapshot.recent.of(EVENTS), snapshot.base.of(DROPPED), snapshot.base.of(BACKPRESSURE)
    nodes = zip(snapshot.ids, snapshot.states, *map(snapshot.texts, _LISTED), strict=True)
    for shown, state, *texts in nodes:
        if wanted and not wanted(shown, state):
            continue
        row: Row = dict.fromkeys(NODE_KEYS) | dict(zip(NODE_KEYS, (shown, state, *map(_value, texts)), strict=False))
        if shown in absent:
            row |= _judged(snapshot, state, absent[shown])
        elif left := row["heartbeat_ttl_seconds"]:
            row["heartbeat_age_seconds"] = round(max(0.0, snapshot.ttl - left), 3)
            more = (row["events"] or 0) - float(events.get(shown) or "nan")
            row["events_per_second"] = _plain(round(more / seconds, 3)) if more >= 0 and seconds >= APART else None
        row["dropped_recently"] = rise(drops.get(shown), row["dropped_events"]) or None
        row["backpressure_recently"] = rise(pushes.get(shown), row["backpressure"]) or None
        yield row


def _judged(snapshot: Snapshot, state: State, node: Node) -> Row:
    """Return what the row of a node without heartbeat says of it."""
    change, row, now = node.change, Row(), snapshot.parts[-1].at
    if node.end > NEVER:
        row["heartbeat_age_seconds"] = round(max(0.0, now - node.end + snapshot.ttl), 3)
    if state is State.UNDECIDED:
        because = f"{node.why} ({node.gap.why})" if node.gap and node.gap.why != node.why else node.why
        row |= {"undecided_because": because, "undecided_until": snapshot.unix(node.until)}
    elif state is State.OFFLINE:
        row["loss"] = change.loss and shown_id(change.loss.name)
        if change.died is not None:
            row |= {"offline_since": snapshot.unix(change.died), "offline_since_exact": change.exact}
            row["offline_seconds"] = round(max(0.0, now - change.died), 3)
    return row


def _value(text: bytes) -> int | float | str | None:
    """Return a number, or a status, as JSON has it."""
    if text.isalpha():
        return text.decode()
    return (int(text) if text.isdigit() else _plain(float(text))) if text else None


def _plain(number: float) -> float:
    return int(number) if number.is_integer() and number < _EXACT else number


def offline_first(row: Row) -> tuple[int, str]:
    """Return the sort key of the default order."""
    return _OFFLINE_FIRST.index(row["state"]), row["node_id"]


# --- portfolios ------------------------------------------------------------------------------

_FAULTS_FIRST: Final = (*FAULTS, PortfolioState.UNKNOWN, PortfolioState.TRADED)


def portfolio_row(portfolio: Portfolio, account: Account) -> Row:
    """Return the row of one portfolio.

    Args:
        portfolio: The portfolio, out of the account's ledger.
        account: Knows since when it is at fault, and its open positions.
    """
    positions = account.positions.get(portfolio.id)
    return {
        "portfolio_id": shown_id(portfolio.id),
        "state": portfolio.state,
        "reason": portfolio.reason,
        "planned_node": None if portfolio.planned is None else shown_id(portfolio.planned),
        "loaded_nodes": list(map(shown_id, portfolio.loaded)),
        "listed_nodes": list(map(shown_id, portfolio.listed)),
        "since": account.since.get(portfolio.id),
        "positions": None if positions is None else _plain(positions),
    }


def portfolio_rows(account: Account) -> Iterator[Row]:
    """Yield all portfolios, sorted by id."""
    return (portfolio_row(portfolio, account) for portfolio in account.ledger.portfolios())


def fault_order(row: Row) -> tuple[int, float, str]:
    """Return a sort key: by state, faults first; then the longest-lasting first, then by id."""
    return _FAULTS_FIRST.index(row["state"]), row["since"] or 0.0, row["portfolio_id"]


# --- the texts of values ---------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return a duration (seconds) in its two largest units: ``18s``, ``4m 10s``, ``2d 3h``."""
    left = int(seconds)
    for size, unit, smaller, name in _UNITS:
        if left >= size:
            return f"{left // size}{unit} {left % size // smaller}{name}"
    return f"{left}s"


def count(number: float) -> str:
    """Return a number with separated thousands and at most one digit of its fraction: ``12,345.6``."""
    return f"{number:,.1f}".removesuffix(".0")


def moment(unix: float) -> str:
    """Return a Unix time as a time in UTC, so that all readers of a screenshot see the same time."""
    try:
        return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return NOT_KNOWN


class Column(NamedTuple):
    """One column for people.

    Attributes:
        name: Its name in ``--sort`` on the command line.
        title: Its heading.
        key: The key of its value in a row.
        show: A function that returns the text of a value, given the value and its row.
        number: Whether its values are quantities, which are aligned to the right.
        short: A shorter heading for narrow tables; empty to use the title.
        wide: Whether its texts are long.
    """

    name: str
    title: str
    key: str
    show: Callable[[Any, Row], str]
    number: bool = True
    short: str = ""
    wide: bool = False

    def text(self, row: Row) -> str:
        """Return the text of a row's value in this column."""
        value = row.get(self.key)
        return NOT_KNOWN if value is None else self.show(value, row)


def _text(value: str, _: Row) -> str:
    return printable(value)


def _offline_for(since: float, row: Row) -> str:
    """Return how long a node is offline, at least if it may have been offline before the exporter looked."""
    seconds = row.get("offline_seconds") or 0.0
    start = moment(since)[len("2026-01-06 ") if seconds < _DAY else 0 :]
    return f"{duration(seconds)} (since {'' if row.get('offline_since_exact') else 'before '}{start})"


def _with_rise(metric: Metric, value: float, row: Row) -> str:
    """Return the text of a metric's value, with what it rose lately."""
    rise = row.get(_RISES.get(metric, ""))
    return _SHOW[metric.show](value) + (f" (+{count(rise)})" if rise else "")


_SHOW: Final[Mapping[str, Callable[[float], str]]] = {
    "count": count,
    "percent": lambda ratio: f"{count(ratio * 100)} %",
    "memory": lambda size: f"{size / 2**20:,.0f} MiB",
}
"""What makes the text of a metric's value, by ``Metric.show``."""
_RISES: Final = {DROPPED: "dropped_recently", BACKPRESSURE: "backpressure_recently"}
_NUMBERS: Final = (
    Column(metric.title.lower(), metric.title, metric.key, partial(_with_rise, metric), short=metric.short)
    for metric in NUMBERS
    if metric.title
)
COLUMNS: Final = (
    Column("state", "State", "state", _text, number=False),
    Column("node", "Node", "node_id", _text, number=False, wide=True),
    Column("heartbeat", "Heartbeat", "heartbeat_age_seconds", lambda value, _: f"{duration(value)} ago"),
    Column("since", "Offline for", "offline_since", _offline_for, number=False, wide=True),
    *_NUMBERS,
    Column("events/s", "Events/s", "events_per_second", lambda value, _: count(value)),
    Column("status", "Status", "status", _text, number=False),
)
"""The columns of page and table, in this order."""
