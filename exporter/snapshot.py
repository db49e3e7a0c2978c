"""What one read saw of the fleet, judged and checked; knows no connection and no HTTP."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import compress
from typing import Final

import structlog

from exporter.contract import FIELDS, GAUGES, HEARTBEAT_TTL, LAST_HEARTBEAT, NUMBERS, STATUS_FIELD, STATUSES, UP
from exporter.judge import State, Verdicts
from exporter.names import Names
from exporter.source.reading import MISSING, NO_EXPIRY, Reading
from exporter.values import Column, HeartbeatTimes, Memo, NumberColumn, format_number

EXPORTED: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)
"""The states of nodes that have series."""
COUNTED: Final = (*EXPORTED, State.FORGOTTEN)
"""The states that are counted."""

log = structlog.get_logger(__name__)

_CLOCK_TOLERANCE: Final = 60.0
_UP: Final = {State.ONLINE: b"1", State.OFFLINE: b"0", State.UNDECIDED: None}
_STATUSES: Final = frozenset(status.encode() for status in STATUSES)

Invalid = Callable[[str, Iterable[str]], None]
"""Told the field and the ids of nodes whose value of it could not be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The exported nodes of one read, sorted by id, column by column.

    Attributes:
        wall: Unix time of the read.
        ids: The nodes, as shown; the same object as in the last snapshot while the nodes are the same.
        states: Their states, each one of ``EXPORTED``.
        columns: By metric name, a number's text for each node, None where it has none.
        statuses: The status that each node reports; None where it reports none.
        counts: How many nodes there are in each of the ``COUNTED`` states.
        names: What was read.
        duration: Seconds that reading took.
    """

    wall: float
    ids: Sequence[str]
    states: Sequence[State]
    columns: Mapping[str, Column]
    statuses: Column
    counts: Mapping[State, int]
    names: Names
    duration: float


class SnapshotMaker:
    """Makes snapshots of readings. For one thread at a time.

    Args:
        zone: Time zone of heartbeats that name none.
        ttl: Seconds that a heartbeat lives.
        invalid: Told of values that could not be read.
        stale_gauges: Whether offline nodes keep their gauges.
    """

    def __init__(self, zone: tzinfo, ttl: float, invalid: Invalid, *, stale_gauges: bool = False) -> None:
        self._ttl = ttl
        self._clocks_checked: Names | None = None
        self._clock_reported = False
        self._stale_gauges = stale_gauges
        self._invalid = invalid
        self._times = HeartbeatTimes(zone)
        self._numbers = {metric.field: NumberColumn(metric) for metric in NUMBERS}
        self._ttls: Memo[int] = Memo(lambda ms: format_number(ms / 1000))
        self._kept: tuple[Names, bytes, Sequence[str]] = (Names(), b"", ())

    def make(
        self, names: Names, reading: Reading, verdicts: Verdicts, beats: Mapping[bytes, bytes], duration: float
    ) -> Snapshot:
        """Return the snapshot of a whole reading.

        Args:
            names: What was read.
            reading: What Redis held.
            verdicts: What the judge said of it.
            beats: The last heartbeat known of each node.
            duration: Seconds that reading took.
        """
        states = verdicts.states
        columns: dict[str, Column] = {
            UP.name: [b"1"] * len(states),
            HEARTBEAT_TTL.name: [self._ttls[ms] for ms in reading.ttl_ms],
            LAST_HEARTBEAT.name: self._last_heartbeats(names, reading, beats),
        }
        if names is not self._clocks_checked:
            self._clocks_checked = names
            self._check_clocks(names, reading, columns[LAST_HEARTBEAT.name])
        if verdicts.odd:
            columns[UP.name] = [_UP.get(state) for state in states]
            columns[HEARTBEAT_TTL.name] = [self._ttl_of(ms) for ms in reading.ttl_ms]
        fields = dict(zip(FIELDS, reading.fields, strict=True))
        for metric in NUMBERS:
            texts, unreadable = self._numbers[metric.field].read(fields[metric.field or ""])
            self._report(metric.field or "", names, unreadable)
            columns[metric.name] = texts
        statuses = self._known_statuses(names, fields[STATUS_FIELD])
        if verdicts.odd and not self._stale_gauges:
            online = [state is State.ONLINE for state in states]
            for metric in GAUGES:
                columns[metric.name] = _only(columns[metric.name], online)
            statuses = _only(statuses, online)
        if names.ambiguous:
            self._invalid("node_id", [""] * names.ambiguous)
        return self._snapshot(names, reading, verdicts, columns, statuses, duration)

    def _snapshot(  # noqa: PLR0913, PLR0917 - the parts of the snapshot to be
        self,
        names: Names,
        reading: Reading,
        verdicts: Verdicts,
        columns: dict[str, Column],
        statuses: Column,
        duration: float,
    ) -> Snapshot:
        states = verdicts.states
        ids: Sequence[str] = names.shown
        odd = Counter(states[position] for position in verdicts.odd)
        counts = {state: odd[state] for state in COUNTED}
        counts[State.ONLINE] += len(states) - len(verdicts.odd)
        if len(states) != sum(counts[state] for state in EXPORTED):
            keep = bytes(state in EXPORTED for state in states)
            ids = self._ids_kept(names, keep)
            states = list(compress(states, keep))
            statuses = list(compress(statuses, keep))
            columns = {name: list(compress(column, keep)) for name, column in columns.items()}
        return Snapshot(reading.wall, ids, states, columns, statuses, counts, names, duration)

    def _ids_kept(self, names: Names, keep: bytes) -> Sequence[str]:
        if self._kept[:2] != (names, keep):
            self._kept = names, keep, tuple(compress(names.shown, keep))
        return self._kept[2]

    def _ttl_of(self, ms: int) -> bytes | None:
        return {MISSING: b"0", NO_EXPIRY: b"-1"}.get(ms) or self._ttls[ms]

    def _last_heartbeats(self, names: Names, reading: Reading, beats: Mapping[bytes, bytes]) -> Column:
        read = self._times.read
        known = [beats.get(name) if beat is None else beat for name, beat in zip(names.raw, reading.beats, strict=True)]
        column = [None if beat is None else read(beat) for beat in known]
        if None in column:
            pairs = enumerate(zip(column, known, strict=True))
            self._report("heartbeat", names, [i for i, (text, beat) in pairs if text is None is not beat])
        return column

    def _check_clocks(self, names: Names, reading: Reading, written: Column) -> None:
        """Log once if a node writes a time far from the one that its heartbeat's TTL tells."""
        for node_id, ms, text in zip(names.shown, reading.ttl_ms, written, strict=True):
            if self._clock_reported:
                return
            if ms > 0 and text is not None:
                off = float(text) - (reading.wall - self._ttl + ms / 1000)
                if abs(off) > _CLOCK_TOLERANCE:
                    self._clock_reported = True
                    log.warning(
                        "a node writes a time that is far off: see its clock, and --heartbeat.timezone",
                        node_id=node_id,
                        seconds_off=round(off),
                    )

    def _known_statuses(self, names: Names, column: Column) -> Column:
        if _STATUSES.issuperset(column):
            return column
        unknown = [i for i, status in enumerate(column) if status is not None and status not in _STATUSES]
        self._report(STATUS_FIELD, names, unknown)
        return [status if status in _STATUSES else None for status in column]

    def _report(self, field: str, names: Names, unreadable: Sequence[int]) -> None:
        if unreadable:
            self._invalid(field, [names.shown[position] for position in unreadable])


def _only(column: Column, keep: Sequence[bool]) -> Column:
    return [value if kept else None for value, kept in zip(column, keep, strict=True)]
