"""Makes a snapshot of readings, of the judge's verdicts and of the account of the portfolios.

It parses columns of texts from Redis into columns of texts that Prometheus can parse; an invalid value becomes None.
Most columns are checked as a whole, and a value that was parsed before is not parsed again: see
docs/explanation/performance.md.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client.utils import floatToGoString

from exporter.contract import (
    FIELDS,
    GAUGES,
    HEARTBEAT_TTL,
    LAST_HEARTBEAT,
    MASS_LOST,
    NUMBERS,
    PLANNED_PORTFOLIOS,
    POSITIONS,
    QUEUE_SIZE_MAX,
    STATUS,
    STATUSES,
    UP,
    Metric,
    parse_number,
)
from exporter.liveness import State, Verdicts
from exporter.portfolios.account import Account
from exporter.settings import Heartbeat
from exporter.snapshot.snapshot import EXPORTED, RISING, History, Part, Past, Snapshot
from exporter.source.reading import MISSING, NO_EXPIRY, Names, Reading, shown_id

_MAX_LENGTH: Final = 64
"""Bytes. A longer text is no number here: it is neither exported nor kept in memory."""
_TOO_LONG: Final = b"0" * (_MAX_LENGTH + 1)
_MEMO_ITEMS: Final = 65_536
_STATUSES: Final = frozenset(status.encode() for status in STATUSES)
_DIGITS: Final = bytes.maketrans(b"0123456789", b"0" * 10)

Values = Sequence[bytes | None]
"""Each node's value as text, None if the node has no value."""
Invalid = Callable[[str, Collection[str]], None]
"""Called with a field, and the ids as text of the nodes whose value of this field is invalid."""

_UP: Final = {State.ONLINE: b"1", State.OFFLINE: b"0"}
TOLERANCE: Final = 60.0
"""Seconds by which the time that a node writes may be off without a hint in the log."""

log = structlog.get_logger(__name__)


class Column(NamedTuple):
    """Parsed values of a metric, in two forms; no text is empty.

    Thousands of small texts that outlive their part would slow down the next parts, since memory far away is slow. So
    only the second form does.

    Attributes:
        values: Each node's value.
        text: The same in one text, with a line for each node; the line of a node without a value is empty.
        whole: Whether each node has a value.
    """

    values: Values
    text: bytes
    whole: bool

    @classmethod
    def of(cls, values: Values) -> "Column":
        """Return the column of these values."""
        try:
            return cls(values, b"\n".join([*values, b""]), whole=True)  # type: ignore[list-item]
        except TypeError:  # a value is missing
            return cls(values, b"\n".join([*[text or b"" for text in values], b""]), whole=False)

    def replaced(self, others: Mapping[int, bytes | None]) -> "Column":
        """Return the column with other values at some positions; None removes a value."""
        return Column.of([others.get(i, value) for i, value in enumerate(self.values)]) if others else self


def format_number(number: float) -> bytes:
    """Return a number in the form that prometheus_client writes."""
    return str(floatToGoString(number)).encode()


def known_statuses(raw: Values) -> Column:
    """Return the statuses that a node may have, None for others."""
    return Column.of([status if status in _STATUSES else None for status in raw])


class Memo(dict[Any, bytes | None]):
    """The results of a pure function by its argument, each computed at its first use; their number is bounded.

    Arguments without a result are not kept: they may be long, and no two of them alike.
    """

    def __init__(self, function: Callable[[Any], bytes | None]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: Any) -> bytes | None:
        result = self._function(key)
        if result or not key:
            if len(self) >= _MEMO_ITEMS:
                self.clear()
            self[key] = result
        return result


def number_parser(metric: Metric) -> Callable[[Values], Column]:
    """Return what parses the values of a metric's field. Only one thread at a time may use it."""
    memo, scaled = Memo(partial(_number_text, metric)), metric.multiply != metric.divide

    def parse(raw: Values) -> Column:
        if not scaled and are_whole_numbers(column := Column.of(raw)):
            return column
        return Column.of(list(map(memo.__getitem__, raw)))

    return parse


def _number_text(metric: Metric, text: bytes | None) -> bytes | None:
    if text is None or len(text) > _MAX_LENGTH or (number := parse_number(text)) is None:
        return None
    number = number * metric.multiply / metric.divide
    if math.isinf(number):
        return None
    return text if metric.multiply == metric.divide else format_number(number)


def are_whole_numbers(column: Column) -> bool:
    """Return whether each value consists of 1 to ``_MAX_LENGTH`` digits. All values are checked at once."""
    shape = column.text.translate(_DIGITS)
    return shape.translate(None, b"0") == b"\n" * len(column.values) and all(column.values) and _TOO_LONG not in shape


class HeartbeatTimes:
    """Parses times in ISO 8601: naive ones in the given zone, others by their offset."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def parse(self, raw: Values) -> Column:
        """Return each Unix time as a text, None if it is missing or invalid."""
        present = [text for text in raw if text is not None]
        lines = self._parse_alike(present)
        if lines and len(present) == len(raw):
            return Column(lines.split(), lines, whole=True)
        following = iter(lines.split() or map(self.parse_one, present))
        return Column.of([None if text is None else next(following) for text in raw])

    def _parse_alike(self, raw: Sequence[bytes]) -> bytes:
        """Return the times, a line for each, if all have microseconds, and the same offset or none; else nothing.

        All times stand in one text, a line for each. The last digit of a second is the same in ISO 8601 and in Unix
        time. So the part before that digit, such as ``2026-01-06T12:30:4``, is replaced in all lines at once by the
        first digits of the Unix time. A check of the result then shows whether each line is a time.
        """
        # 26, 18 and 10 are the lengths of 2026-01-06T12:30:45.123456, of 2026-01-06T12:30:4 and of 2026-01-06.
        end = raw[0][26:] + b"\n" if raw else b""
        lines = b"\n".join([*raw, b""])
        if len(lines) != len(raw) * (26 + len(end)):
            return b""
        if end != b"\n":
            lines = lines.replace(end, b"\n")
        while (start := lines.find(b"T") - 10) >= 0:
            tens = lines[start : start + 18]
            unix = None if b"." in tens else self._unix(tens + b"0" + end[:-1])
            if unix is None or unix % 10:
                return b""
            lines = lines.replace(tens, b"%d" % (unix // 10))
        return lines if lines.translate(_DIGITS) == b"0000000000.000000\n" * len(raw) else b""

    def parse_one(self, text: bytes) -> bytes | None:
        """Return the Unix time as a text; None if the text is not a time."""
        if alike := self._parse_alike([text]):
            return alike[:-1]
        unix = self._unix(text)
        return None if unix is None else format_number(unix)

    def _unix(self, text: bytes) -> float | None:
        try:
            time = datetime.fromisoformat(text.decode("ascii"))
            return (time if time.tzinfo else time.replace(tzinfo=self._zone)).timestamp()
        except (ValueError, OverflowError):
            return None


class SnapshotMaker:
    """Makes snapshots of readings, part by part. Only one thread at a time may use it.

    Args:
        heartbeat: The settings of heartbeats: their TTL, and the time zone of heartbeats that name no offset.
        invalid: Called for each field with invalid values.
        write: Returns the lines of some columns by metric name, given all nodes, and the positions of theirs.
        stale_gauges: Whether offline nodes keep their gauges.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        invalid: Invalid,
        write: Callable[[Names, range, Mapping[str, Column]], Mapping[str, bytes]],
        *,
        stale_gauges: bool = False,
    ) -> None:
        self._ttl, self._invalid, self._write, self._stale_gauges = heartbeat.ttl, invalid, write, stale_gauges
        self._names, self._hinted = Names(), False
        self._times = HeartbeatTimes(heartbeat.timezone)
        self._parsers: dict[Metric, Callable[[Values], Column]] = {metric: number_parser(metric) for metric in NUMBERS}
        self._parsers |= {LAST_HEARTBEAT: self._times.parse, STATUS: known_statuses}
        self._ttls = Memo(lambda ms: {MISSING: b"0", NO_EXPIRY: b"-1"}.get(ms) or format_number(ms / 1000))
        self._numbers = Memo(lambda number: None if number is None else format_number(number))
        self._history = History()

    def part(self, names: Names, start: int, reading: Reading, verdicts: Verdicts) -> Part:
        """Return the states, the values and the lines of one part of a reading.

        Args:
            names: All nodes of the whole reading.
            start: The position of this part's first node among them.
            reading: The values of this part's nodes.
            verdicts: The judge's verdicts on this part's nodes.
        """
        states, absent = verdicts
        columns = self._columns(reading)
        if names is not self._names and not self._hinted:
            self._hinted = _hint_at_clocks(reading, columns[LAST_HEARTBEAT.name].values, self._ttl)
        columns = self._judged(columns, reading, verdicts)
        positions = range(start, start + len(states))
        return Part(
            names,
            positions,
            states,
            {name: column.text for name, column in columns.items()},
            absent,
            reading.at,
            reading.wall,
            not reading.unread and reading.server.members.keys() >= set(reading.server.addresses),
            self._write(names, positions, columns),
        )

    def snapshot(
        self, names: Names, parts: Sequence[Part], account: Account | None = None, problem: str = ""
    ) -> Snapshot:
        """Return the snapshot of a whole reading.

        Args:
            names: All nodes of the reading.
            parts: All parts of the reading.
            account: What is known of the portfolios; None without plan and lists, or if these could not be read.
            problem: Why these could not be read, in one line; empty if they could.
        """
        self._names = names
        if names.ambiguous:
            self._invalid("node_id", [""] * names.ambiguous)

        rising = {metric: b"".join(part.columns[metric.name] for part in parts) for metric in RISING}
        recent, base = self._history.note(Past(parts[-1].at, names.shown, rising))
        parts = [self._totals(names, parts, account), *parts] if account else parts
        return Snapshot(parts, account, problem, recent, base, self._ttl)

    def _columns(self, reading: Reading) -> dict[str, Column]:
        """Return the values of a reading as texts, for nodes in any state; report the invalid values."""
        count = len(reading.names)
        columns = {
            UP.name: Column.of([b"1"] * count),
            MASS_LOST.name: Column([None] * count, b"\n" * count, whole=False),
            HEARTBEAT_TTL.name: Column.of(list(map(self._ttls.__getitem__, reading.ttl_ms))),
        }
        fields = dict(zip(FIELDS, reading.fields, strict=True)) | {"heartbeat": reading.beats}
        for metric, parse in self._parsers.items():
            field = metric.field or "heartbeat"
            raw = fields[field]
            column = columns[metric.name] = parse(raw)
            if not column.whole:
                changes = zip(reading.names, raw, column.values, strict=True)
                if wrong := [shown_id(name) for name, old, new in changes if new is None is not old]:
                    self._invalid(field, wrong)
        return columns

    def _judged(self, columns: dict[str, Column], reading: Reading, verdicts: Verdicts) -> dict[str, Column]:
        """Return the columns with what the verdicts change: for example, an offline node has no gauges."""
        states, absent = verdicts
        hidden = dict.fromkeys(p for p in absent if states[p] not in EXPORTED or p in reading.unread)
        offline = dict.fromkeys(p for p in absent if states[p] is not State.ONLINE)
        changed: dict[str, dict[int, bytes | None]] = {
            **dict.fromkeys((metric.name for metric in (*GAUGES, STATUS)), hidden if self._stale_gauges else offline),
            UP.name: {p: _UP.get(states[p]) for p in absent},
            MASS_LOST.name: {
                p: shown_id(node.change.loss.name).encode() for p, node in absent.items() if node.change.loss
            },
            # A node that has no heartbeat now keeps the time of its last one.
            LAST_HEARTBEAT.name: {
                p: self._times.parse_one(node.text)
                for p, node in absent.items()
                if node.text is not None and reading.beats[p] is None
            },
        }
        return {name: column.replaced(changed.get(name, {}) | hidden) for name, column in columns.items()}

    def _totals(self, names: Names, parts: Sequence[Part], account: Account) -> Part:
        """Return the part of all nodes whose columns are what is exported of their portfolios."""
        nothing = {
            names.raw[part.positions[p]]: None for part in parts for p in part.absent if part.states[p] not in EXPORTED
        }
        planned = {**dict.fromkeys(names.raw, 0), **account.ledger.planned, **nothing}
        columns = {
            metric.name: Column.of(list(map(self._numbers.__getitem__, map(numbers.get, names.raw))))
            for metric, numbers in (
                (PLANNED_PORTFOLIOS, planned),
                (QUEUE_SIZE_MAX, account.queues),
                (POSITIONS, account.node_positions),
            )
        }
        positions = range(len(names.raw))
        return Part(
            names,
            positions,
            (),
            {name: column.text for name, column in columns.items()},
            lines=self._write(names, positions, columns),
        )


def _hint_at_clocks(reading: Reading, written: Values, ttl: float) -> bool:
    """Log a hint about the first node that writes a time that is far off. Return whether there is one.

    Args:
        reading: The nodes and the TTLs of their heartbeats.
        written: The Unix time that each node wrote; None if it is missing.
        ttl: Seconds that a heartbeat lives, by the settings.
    """
    for name, ms, text in zip(reading.names, reading.ttl_ms, written, strict=True):
        if ms > 0 and text and abs(off := float(text) - (reading.wall - ttl + ms / 1000)) > TOLERANCE:
            log.warning(
                "a node writes a time that is far off: see its clock, --heartbeat.timezone and --heartbeat.ttl",
                node_id=shown_id(name),
                seconds_off=round(off),
            )
            return True
    return False
