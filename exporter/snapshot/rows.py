"""A snapshot as rows for people: the rows and columns of table, page and JSON, and the texts of their values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from exporter.contract import NODE_METRICS, STATUS
from exporter.escaping import printable
from exporter.liveness.judge import State
from exporter.liveness.offline import OfflineSince, Undecided, unknown
from exporter.snapshot.snapshot import Snapshot

Row = dict[str, Any]
"""One node by the keys of ``/api/v1/nodes``; an unknown value is None."""

NOT_KNOWN: Final = "–"  # noqa: RUF001 - the text of an unknown value
_RANKS: Final = {State.OFFLINE: 0, State.UNDECIDED: 1}
_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
_KIBI: Final = 1024
_UNKNOWN: Final[Row] = {
    **dict.fromkeys(("offline_since", "offline_since_exact", "undecided_because", "undecided_until"))
}
"""The keys that rows of older exporters lack."""
_LARGE: Final = 1e15
_EXACT: Final = 2**53


def rows_of(snapshot: Snapshot, offline_since: OfflineSince = unknown) -> Iterator[Row]:
    """Yield each node of a snapshot, sorted by id.

    Args:
        snapshot: The nodes.
        offline_since: Knows since when a node is offline, and why it is undecided.
    """
    listed = [metric for metric in NODE_METRICS if metric.json and metric is not STATUS]
    columns = [map(_number, snapshot.texts(metric)) for metric in listed]
    keys = ["node_id", "state", *(metric.json for metric in listed), "status"]
    statuses = (status.decode() if status else None for status in snapshot.texts(STATUS))
    for raw_id, *values in zip(snapshot.raw_ids, snapshot.ids, snapshot.states, *columns, statuses, strict=True):
        row = dict(zip(keys, values, strict=True))
        offline = offline_since(raw_id) if row["state"] == State.OFFLINE else None
        row["offline_since"], row["offline_since_exact"] = offline or (None, None)
        row["undecided_because"] = row["undecided_until"] = None
        if row["state"] == State.UNDECIDED:
            doubt = offline_since.undecided(raw_id)
            row["undecided_because"], row["undecided_until"] = because(doubt), doubt and doubt.until
        yield row


def because(doubt: Undecided | None) -> str:
    """Return why a node is undecided, as the end of a sentence; None stands for a node whose Redis was not read."""
    if doubt is None:
        return "the Redis that holds its keys cannot be read"
    if not doubt.fault:
        return doubt.why
    start = NOT_KNOWN if doubt.fault_since is None else moment(doubt.fault_since)
    if doubt.fault_until is None:
        return f"{doubt.why} ({doubt.fault}, since {start} UTC), and no verdict comes before that fault ends"
    return f"{doubt.why} ({doubt.fault}, from {start} until {moment(doubt.fault_until)} UTC)"


def _number(text: bytes | None) -> int | float | None:
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    number = float(text)
    return int(number) if number.is_integer() and number < _EXACT else number


def with_ages(row: Row, ttl: float, now: float) -> Row:
    """Return a row with ``heartbeat_age_seconds`` added; its value is None if the age is unknown.

    Rows of older exporters lack some keys; such a row gets None there.

    The age of a living heartbeat comes from its TTL. If the exporter saw a heartbeat end, the age comes
    from this end. Neither depends on the node's clock. Any other age comes from the time that the node
    wrote; the age is unknown if this time is in the future.

    Args:
        row: A node.
        ttl: Seconds that a heartbeat lives.
        now: Unix time of the read.
    """
    row = _UNKNOWN | row
    left, written = row["heartbeat_ttl_seconds"], row["last_heartbeat"]
    age = None
    if left is not None and left > 0:
        age = max(0.0, ttl - left)
    elif left == 0 and row["offline_since_exact"]:
        age = max(0.0, now - row["offline_since"] + ttl)
    elif left == 0 and written is not None and written <= now:
        age = now - written
    return row | {"heartbeat_age_seconds": age}


def offline_first(row: Row) -> tuple[int, str]:
    """Return the sort key of the default order."""
    return _RANKS.get(row["state"], len(_RANKS)), row["node_id"]


def count_states(rows: Sequence[Row]) -> Mapping[str, int]:
    """Return how many rows there are in each state, in the order offline, undecided, online."""
    return {state: sum(row["state"] == state for row in rows) for state in (*_RANKS, State.ONLINE)}


# --- the texts of values ---------------------------------------------------------------------
# The status page's script gets these texts from the exporter. Only its events per second are formatted in the browser.


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


@dataclass(frozen=True, slots=True)
class Column:
    """One column for people.

    Attributes:
        name: Its name in ``--sort`` on the command line.
        title: Its heading.
        key: The key of its value in a row.
        show: A function that returns the text of a value.
        number: Whether its values are quantities, which are aligned to the right.
        short: A shorter heading for narrow tables; empty to use the title.
    """

    name: str
    title: str
    key: str
    show: Callable[[Any], str]
    number: bool = True
    short: str = ""

    def text(self, row: Mapping[str, Any]) -> str:
        """Return the text of a row's value in this column."""
        value = row.get(self.key)
        return NOT_KNOWN if value is None else self.show(value)


class SinceColumn(Column):
    """The column that shows since when a node is offline."""

    def text(self, row: Mapping[str, Any]) -> str:
        """Return the time, after the word "before" if the node may have been offline earlier."""
        text = super().text(row)
        return f"before {text}" if row.get("offline_since_exact") is False else text


COLUMNS: Final = (
    Column("state", "State", "state", str, number=False),
    Column("node", "Node", "node_id", printable, number=False),
    Column("heartbeat", "Heartbeat", "heartbeat_age_seconds", age),
    SinceColumn("since", "Offline since", "offline_since", moment, number=False),
    Column("portfolios", "Portfolios", "portfolios", count, short="Portf."),
    Column("queue", "Queue", "queue_size", count),
    Column("cpu", "CPU", "cpu_usage_ratio", percent),
    Column("memory", "Memory", "memory_usage_bytes", memory),
    Column("events/s", "Events/s", "events_per_second", count),
    Column("events", "Events", "events", count),
    Column("backpressure", "Backpressure", "backpressure", count, short="Backpr."),
    Column("drops", "Drops", "dropped_events", count),
    Column("status", "Status", "status", str, number=False),
)
"""The columns of page and table, in this order. The page omits ``events``: see ``exporter/web/page.py``."""
