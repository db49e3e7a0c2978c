"""What one read saw of the fleet, judged and checked; knows no connection and no HTTP."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, TypeVar

import structlog

from exporter.contract import (
    FIELDS,
    GAUGES,
    HEARTBEAT_TTL,
    LAST_HEARTBEAT,
    MASS_LOST,
    NUMBERS,
    STATUS,
    STATUS_FIELD,
    STATUSES,
    UP,
    Metric,
)
from exporter.liveness.judge import Judge, State, Verdicts
from exporter.settings import Heartbeat
from exporter.snapshot.values import (
    Column,
    HeartbeatTimes,
    Memo,
    NumberColumn,
    Packed,
    Texts,
    checked,
    column_of,
    format_number,
    unpacked,
)
from exporter.source.names import Names, shown_id
from exporter.source.reading import MISSING, NO_EXPIRY, Reading

EXPORTED: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)
"""The states of nodes that have series."""
COUNTED: Final = (*EXPORTED, State.FORGOTTEN)
"""The states that are counted."""

T = TypeVar("T")

log = structlog.get_logger(__name__)

_CLOCK_TOLERANCE: Final = 60.0
_UP: Final = {State.ONLINE: b"1", State.OFFLINE: b"0", State.UNDECIDED: None}
_STATUSES: Final = frozenset((None, *(status.encode() for status in STATUSES)))

Invalid = Callable[[str, Collection[str]], None]
"""Told the field and the ids of nodes whose value of it could not be read."""


Write = Callable[[Names, range, Mapping[str, Column]], Mapping[str, bytes]]
"""Given all names, positions of some, and their columns by metric name: what is written of them, by metric name."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is exported of a part of a reading.

    Attributes:
        names: All nodes that are read.
        positions: Which of them are in this part.
        states: The states of these.
        columns: By metric name, a number's text for each of them, none where it has none; of ``STATUS`` what it
            reports.
        lines: The same as the writer wrote them, by metric name.
        counts: How many of them there are in each of the ``COUNTED`` states.
        wall: Unix time of the read.
        complete: Whether all of them could be read: in a cluster a primary may be away.
    """

    names: Names
    positions: range
    states: Sequence[State]
    columns: Mapping[str, Packed]
    lines: Mapping[str, bytes]
    counts: Mapping[State, int]
    wall: float
    complete: bool = True

    def exported(self, values: Iterable[T]) -> Iterator[T]:
        """Yield the values of those nodes that have series, given one for each."""
        return compress(values, (state in EXPORTED for state in self.states))


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Snapshot:
    """The exported nodes of one read, sorted by id.

    Attributes:
        parts: The nodes, part by part; at least one.
        duration: Seconds that reading took.
    """

    parts: Sequence[Part]
    duration: float

    @property
    def wall(self) -> float:
        """Unix time at which its last part was read."""
        return self.parts[-1].wall

    @property
    def complete(self) -> bool:
        """Whether all nodes could be read."""
        return all(part.complete for part in self.parts)

    @property
    def ids(self) -> list[str]:
        """The nodes, as shown."""
        return self._of_each(lambda part: map(part.names.shown.__getitem__, part.positions))

    @property
    def raw_ids(self) -> list[bytes]:
        """The nodes, as Redis holds them."""
        return self._of_each(lambda part: map(part.names.raw.__getitem__, part.positions))

    @property
    def states(self) -> list[State]:
        """Their states, each one of ``EXPORTED``."""
        return self._of_each(lambda part: part.states)

    @property
    def counts(self) -> dict[State, int]:
        """How many nodes there are in each of the ``COUNTED`` states."""
        return {state: sum(part.counts[state] for part in self.parts) for state in COUNTED}

    def texts(self, metric: Metric) -> list[bytes]:
        """Return a metric's text for each node; empty where it has none."""
        return self._of_each(lambda part: unpacked(part.columns[metric.name]))

    def _of_each(self, values: Callable[[Part], Iterable[T]]) -> list[T]:
        return [value for part in self.parts for value in part.exported(values(part))]


class SnapshotMaker:
    """Makes snapshots of readings, part by part as they come. For one thread at a time.

    Args:
        heartbeat: The settings of heartbeats: their TTL, and the time zone of those that name none.
        judge: Knows what a node wrote as its last heartbeat, and which nodes are lost in a mass loss.
        invalid: Told of values that could not be read.
        write: Writes columns as the series that scrapes are answered with.
        stale_gauges: Whether offline nodes keep their gauges.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        judge: Judge,
        invalid: Invalid,
        write: Write,
        *,
        stale_gauges: bool = False,
    ) -> None:
        self._ttl = heartbeat.ttl
        self._clocks_checked: Names | None = None
        self._clock_reported = False
        self._stale_gauges = stale_gauges
        self._judge = judge
        self._invalid = invalid
        self._empty: dict[int, Column] = {}  # by length
        self._times = HeartbeatTimes(heartbeat.timezone)
        self._numbers = {metric.field or "": NumberColumn(metric) for metric in NUMBERS}
        self._ttls: Memo[int] = Memo(_ttl_text)
        self._write = write

    def part(self, names: Names, positions: range, reading: Reading, verdicts: Verdicts) -> Part:
        """Return what is exported of a part of a reading.

        Args:
            names: All nodes that are read.
            positions: Which of them are in this part.
            reading: What Redis held of these.
            verdicts: What the judge said of them.
        """
        states = verdicts.states
        columns = self._columns(reading)
        if names is not self._clocks_checked:
            self._check_clocks(reading, columns[LAST_HEARTBEAT.name].texts)
        columns[UP.name] = column_of([b"1"] * len(states))
        columns[MASS_LOST.name] = self._empty.get(len(states)) or self._empty_column(len(states))
        if verdicts.without_heartbeat:
            self._mark(columns, reading, verdicts)
        odd = Counter(states[position] for position in verdicts.without_heartbeat)
        counts = {state: odd[state] for state in COUNTED}
        counts[State.ONLINE] += len(states) - len(verdicts.without_heartbeat)
        return Part(
            names=names,
            positions=positions,
            states=states,
            columns={name: column.packed for name, column in columns.items()},
            lines=self._write(names, positions, columns),
            counts=counts,
            wall=reading.wall,
            complete=not reading.unread,
        )

    def snapshot(self, names: Names, parts: Sequence[Part], duration: float) -> Snapshot:
        """Return the snapshot of a whole reading.

        Args:
            names: All nodes that were read.
            parts: All parts of the reading.
            duration: Seconds that reading took.
        """
        self._clocks_checked = names
        if names.ambiguous:
            self._invalid("node_id", [""] * names.ambiguous)
        return Snapshot(parts, duration)

    def _columns(self, reading: Reading) -> dict[str, Column]:
        """Return the values of a reading as texts, whoever is alive, and report those that cannot be read."""
        columns = {HEARTBEAT_TTL.name: column_of(list(map(self._ttls.__getitem__, reading.ttl_ms)))}
        left_out: dict[str, Sequence[int]] = {}
        columns[LAST_HEARTBEAT.name], left_out["heartbeat"] = self._times.read_all(reading.beats)
        fields = dict(zip(FIELDS, reading.fields, strict=True))
        for metric in NUMBERS:
            field = metric.field or ""
            columns[metric.name], left_out[field] = self._numbers[field].read(fields[field])
        columns[STATUS.name], left_out[STATUS_FIELD] = _known_statuses(fields[STATUS_FIELD])
        for field, positions in left_out.items():
            if positions:
                self._invalid(field, [shown_id(reading.names[position]) for position in positions])
        return columns

    def _mark(self, columns: dict[str, Column], reading: Reading, verdicts: Verdicts) -> None:
        """Show in the columns who is not alive: of them nothing may be told that only the living have."""
        states, odd = verdicts.states, verdicts.without_heartbeat
        if members := self._judge.members():
            lost = [position for position in odd if reading.names[position] in members]
            columns[MASS_LOST.name] = columns[MASS_LOST.name].amended(dict.fromkeys(lost, b"1"))
        columns[UP.name] = columns[UP.name].amended({position: _UP.get(states[position]) for position in odd})
        columns[LAST_HEARTBEAT.name] = self._with_remembered(columns[LAST_HEARTBEAT.name], reading, odd)
        if not self._stale_gauges:
            silent = [position for position in odd if states[position] is not State.ONLINE]
            for metric in (*GAUGES, STATUS):
                columns[metric.name] = columns[metric.name].without(silent)
        unread = reading.unread
        if hidden := [position for position in odd if states[position] not in EXPORTED or position in unread]:
            columns.update((name, column.without(hidden)) for name, column in columns.items())

    def _empty_column(self, length: int) -> Column:
        return self._empty.setdefault(length, column_of([None] * length))

    def _with_remembered(self, column: Column, reading: Reading, odd: Sequence[int]) -> Column:
        """Fill in what nodes without heartbeat wrote as their last one."""
        remembered: dict[int, bytes | None] = {}
        for position in odd:
            name = reading.names[position]
            if reading.beats[position] is None and (text := self._judge.last_beat(name)) is not None:
                remembered[position] = self._times.read(text)
                if remembered[position] is None:
                    self._invalid("heartbeat", [shown_id(name)])
        return column.amended(remembered)

    def _check_clocks(self, reading: Reading, written: Texts) -> None:
        """Log once if a node writes a time far from the one that its heartbeat's TTL tells."""
        for name, ms, text in zip(reading.names, reading.ttl_ms, written, strict=True):
            if self._clock_reported:
                return
            if ms / 1000 > self._ttl + _CLOCK_TOLERANCE:
                self._clock_reported = True
                log.warning(
                    "a heartbeat lives longer than --heartbeat.ttl: ages and times are reckoned from that",
                    node_id=shown_id(name),
                    seconds=round(ms / 1000),
                )
            elif ms > 0 and text:
                off = float(text) - (reading.wall - self._ttl + ms / 1000)
                if abs(off) > _CLOCK_TOLERANCE:
                    self._clock_reported = True
                    log.warning(
                        "a node writes a time that is far off: see its clock, and --heartbeat.timezone",
                        node_id=shown_id(name),
                        seconds_off=round(off),
                    )


def _ttl_text(ms: int) -> bytes:
    return {MISSING: b"0", NO_EXPIRY: b"-1"}.get(ms) or format_number(ms / 1000)


def _known_statuses(raw: Texts) -> tuple[Column, Sequence[int]]:
    return checked(
        raw, raw if _STATUSES.issuperset(raw) else [status if status in _STATUSES else None for status in raw]
    )
