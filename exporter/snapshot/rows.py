"""A snapshot as rows for people and programs: the rows and columns of table, page and JSON, and the texts of values."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from exporter.contract import BACKPRESSURE, DROPPED, EVENTS, HEARTBEAT_TTL, NODE_METRICS, NUMBERS, STATUS
from exporter.escaping import printable
from exporter.liveness import Absent, State
from exporter.portfolios.account import Account
from exporter.portfolios.ledger import FAULTS, Portfolio, PortfolioState
from exporter.snapshot.rates import Burst, Rising
from exporter.snapshot.snapshot import Snapshot
from exporter.source.names import shown_id

Row = dict[str, Any]
"""One node by the keys of ``/api/v1/nodes``, or one portfolio by those of ``/api/v1/portfolios``; unknown values are
None."""

NOT_KNOWN: Final = "–"  # noqa: RUF001 - the text of an unknown value
_RANKS: Final = {State.OFFLINE: 0, State.UNDECIDED: 1}
_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
_KIBI: Final = 1024
_DAY: Final = 86_400
_LARGE: Final = 1e15
_EXACT: Final = 2**53

_LISTED: Final = tuple(metric for metric in NODE_METRICS if metric.json and metric is not STATUS)
_JUDGED: Final = ("offline_since", "offline_since_exact", "undecided_because", "undecided_until", "loss")
_LATELY: Final = (
    "events_per_second",
    *("dropped_recently", "dropped_since"),
    *("backpressure_recently", "backpressure_since"),
)
_AGES: Final = ("heartbeat_age_seconds", "offline_seconds")
NODE_KEYS: Final = ("node_id", "state", *(metric.json for metric in _LISTED), STATUS.json, *_JUDGED, *_LATELY, *_AGES)
"""The keys of a node's row, in their order."""
PORTFOLIO_KEYS: Final = (
    *("portfolio_id", "state", "reason", "planned_node", "loaded_nodes", "listed_nodes", "since", "positions"),
)
"""The keys of a portfolio's row, in their order."""
_NO_RISE: Final = Rising()


def rows_of(snapshot: Snapshot, wanted: Callable[[str, State], bool] | None = None) -> Iterator[Row]:
    """Yield each node of a snapshot, sorted by id.

    Args:
        snapshot: The nodes.
        wanted: Returns whether a node is wanted, given its id and its state; None for all nodes.
    """
    columns = [snapshot.texts(metric) for metric in _LISTED]
    events = _LISTED.index(EVENTS)
    ttls = _LISTED.index(HEARTBEAT_TTL)
    earlier = snapshot.earlier.by_name() if snapshot.earlier else {}
    passed = snapshot.wall - snapshot.earlier.wall if snapshot.earlier else 0.0
    absent, rising = snapshot.absent, snapshot.rising
    nodes = zip(snapshot.raw_ids, snapshot.ids, snapshot.states, snapshot.texts(STATUS), *columns, strict=True)
    for raw, shown, state, status, *texts in nodes:
        if wanted and not wanted(shown, state):
            continue
        rates = rising.get(raw, _NO_RISE)
        before = earlier.get(raw) if state is State.ONLINE else None
        values = (
            shown,
            state,
            *map(_number, texts),
            status.decode() if status else None,
            *_judged(snapshot, state, absent.get(raw)),
            _rate(before, texts[events], texts[ttls], passed) if before else None,
            *_burst(rates.dropped),
            *_burst(rates.backpressure),
        )
        row = dict(zip(NODE_KEYS, values, strict=False))
        since = row["offline_since"]
        row["heartbeat_age_seconds"] = _heartbeat_age(row, snapshot)
        row["offline_seconds"] = None if since is None else max(0.0, round(snapshot.wall - since, 3))
        yield row


def _judged(snapshot: Snapshot, state: State, absent: Absent | None) -> tuple[Any, ...]:
    """Return the values of ``_JUDGED``."""
    if absent is None:
        because = "the Redis that holds its keys cannot be read" if state is State.UNDECIDED else None
        return None, None, because, None, None
    change = absent.change
    loss = change.loss and shown_id(change.loss.name)
    if state is State.OFFLINE:
        return snapshot.unix(change.died), change.exact if change.died is not None else None, None, None, loss
    if state is State.UNDECIDED:
        return None, None, because_of(snapshot, absent), snapshot.unix(absent.until), None
    return (None,) * len(_JUDGED)


def because_of(snapshot: Snapshot, absent: Absent) -> str:
    """Return why a node is undecided, as the end of a sentence."""
    gap = absent.gap
    if gap is None:
        return absent.why
    start = moment(snapshot.unix(gap.start) or 0.0)
    if gap.end >= snapshot.parts[-1].at:
        return f"{absent.why} ({gap.why}, since {start} UTC), and no verdict comes before that fault ends"
    return f"{absent.why} ({gap.why}, from {start} until {moment(snapshot.unix(gap.end) or 0.0)} UTC)"


def _rate(before: tuple[bytes, bytes], events: bytes | None, ttl: bytes | None, passed: float) -> float | None:
    """Return the events a second between two beats: a node writes every ten seconds, so reads alone would be off.

    Args:
        before: The events and the seconds left to the heartbeat at an earlier read.
        events: The events now.
        ttl: The seconds left now.
        passed: Seconds between the two reads.
    """
    if not events or not ttl:
        return None
    seconds = passed + float(ttl) - float(before[1])
    more = float(events) - float(before[0])
    return round(more / seconds, 3) if seconds > 1 and more >= 0 else None


def _burst(burst: Burst | None) -> tuple[int | None, float | None]:
    return (burst.rise, burst.since) if burst else (None, None)


def _number(text: bytes | None) -> int | float | None:
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    return _plain(float(text))


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() and number < _EXACT else number


def _heartbeat_age(row: Row, snapshot: Snapshot) -> float | None:
    """Return the age of a node's last heartbeat; None if it is unknown.

    The age of a living heartbeat comes from its TTL. If the exporter saw a heartbeat end, the age comes
    from this end. Neither depends on the node's clock. Any other age comes from the time that the node
    wrote; the age is unknown if this time is in the future.
    """
    left, written, now = row["heartbeat_ttl_seconds"], row["last_heartbeat"], snapshot.wall
    age: float | None = None
    if left is not None and left > 0:
        age = max(0.0, snapshot.ttl - left)
    elif left == 0 and row["offline_since_exact"]:
        age = max(0.0, now - row["offline_since"] + snapshot.ttl)
    elif left == 0 and written is not None and written <= now:
        age = now - written
    return None if age is None else round(age, 3)


def offline_first(row: Row) -> tuple[int, str]:
    """Return the sort key of the default order."""
    return _RANKS.get(row["state"], len(_RANKS)), row["node_id"]


# --- portfolios ------------------------------------------------------------------------------

_FAULT_RANKS: Final = {
    state.value: rank for rank, state in enumerate((*FAULTS, PortfolioState.UNKNOWN, PortfolioState.TRADED))
}


def portfolio_row(portfolio: Portfolio, account: Account) -> Row:
    """Return the row of one portfolio.

    Args:
        portfolio: The portfolio, out of the account's ledger.
        account: Knows since when it is at fault, and its open positions.
    """
    positions = account.positions.get(portfolio.id)
    return {
        "portfolio_id": shown_id(portfolio.id),
        "state": portfolio.state.value,
        "reason": portfolio.reason and portfolio.reason.value,
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
    return _FAULT_RANKS[row["state"]], row["since"] or 0.0, row["portfolio_id"]


# --- the texts of values ---------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return a duration (seconds) in its two largest units: ``18s``, ``4m 10s``, ``2d 3h``."""
    left = int(seconds)
    for size, unit, smaller, name in _UNITS:
        if left >= size:
            return f"{left // size}{unit} {left % size // smaller}{name}"
    return f"{left}s"


def age(seconds: float) -> str:
    """Return an age (seconds): ``18s ago``."""
    return f"{duration(seconds)} ago"


def count(number: float) -> str:
    """Return a number with separated thousands and at most one digit of its fraction: ``12,345.6``."""
    if number >= _LARGE:
        return f"{number:.3e}"
    return f"{number:,.1f}".removesuffix(".0")


def percent(ratio: float) -> str:
    """Return a ratio as percent: ``12.5 %``."""
    return f"{count(ratio * 100)} %"


def memory(size: float) -> str:
    """Return a number of bytes as MiB or GiB: ``512 MiB``."""
    mebibytes = size / _KIBI**2
    return f"{mebibytes:,.0f} MiB" if mebibytes < _KIBI else f"{count(mebibytes / _KIBI)} GiB"


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


def _offline_for(since: float, row: Row) -> str:
    """Return how long a node is offline, at least if it may have been offline before the exporter looked."""
    seconds = row.get("offline_seconds") or 0.0
    start = moment(since)[len("2026-01-06 ") if seconds < _DAY else 0 :]
    before = "before " if row.get("offline_since_exact") is False else ""
    return f"{duration(seconds)} (since {before}{start})"


def _with_recent(key: str) -> Callable[[Any, Row], str]:
    """Return what shows a counter with what it rose lately."""

    def show(value: float, row: Row) -> str:
        recent = row.get(f"{key}_recently")
        return f"{count(value)} (+{count(recent)})" if recent else count(value)

    return show


_SHOW: Final[Mapping[str, Callable[[Any, Row], str]]] = {
    "count": lambda value, _: count(value),
    "percent": lambda value, _: percent(value),
    "memory": lambda value, _: memory(value),
}
_SPECIAL: Final = {DROPPED: _with_recent("dropped"), BACKPRESSURE: _with_recent("backpressure")}


def _columns() -> Iterator[Column]:
    yield Column("state", "State", "state", lambda value, _: str(value), number=False)
    yield Column("node", "Node", "node_id", lambda value, _: printable(value), number=False, wide=True)
    yield Column("heartbeat", "Heartbeat", "heartbeat_age_seconds", lambda value, _: age(value))
    yield Column("since", "Offline for", "offline_since", _offline_for, number=False, wide=True)
    for metric in NUMBERS:
        if metric is EVENTS:
            yield Column("events/s", "Events/s", "events_per_second", _SHOW["count"])
        if metric.title:
            show = _SPECIAL.get(metric) or _SHOW[metric.show]
            yield Column(metric.title.lower(), metric.title, metric.json, show, short=metric.short)
    yield Column("status", "Status", "status", lambda value, _: str(value), number=False)


COLUMNS: Final = tuple(_columns())
"""The columns of page and table, in this order."""
