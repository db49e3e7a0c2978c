"""What one read saw of the fleet, judged and checked; knows no connection and no HTTP."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import compress
from typing import Final

import structlog

from exporter.contract import (
    FIELDS,
    GAUGES,
    HEARTBEAT_TTL,
    LAST_HEARTBEAT,
    NUMBERS,
    STATUS,
    STATUS_FIELD,
    STATUSES,
    UP,
    Metric,
)
from exporter.judge import State, Verdicts
from exporter.names import Names, shown_id
from exporter.source.reading import MISSING, NO_EXPIRY, Reading
from exporter.values import (
    Column,
    HeartbeatTimes,
    Memo,
    NumberColumn,
    Packed,
    format_number,
    packed,
    unpacked,
    unreadable,
)

EXPORTED: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)
"""The states of nodes that have series."""
COUNTED: Final = (*EXPORTED, State.FORGOTTEN)
"""The states that are counted."""

log = structlog.get_logger(__name__)

_CLOCK_TOLERANCE: Final = 60.0
_UP: Final = {State.ONLINE: b"1", State.OFFLINE: b"0", State.UNDECIDED: None}
_STATUSES: Final = frozenset((None, *(status.encode() for status in STATUSES)))

Invalid = Callable[[str, Iterable[str]], None]
"""Told the field and the ids of nodes whose value of it could not be read."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Snapshot:
    """The exported nodes of one read, sorted by id, column by column.

    Attributes:
        wall: Unix time of the read.
        ids: The nodes, as shown; the same object as in the last snapshot while the nodes are the same.
        states: Their states, each one of ``EXPORTED``.
        columns: By metric name, a number's text for each node, none where it has none; of ``STATUS`` what it reports.
        counts: How many nodes there are in each of the ``COUNTED`` states.
        names: What was read.
        duration: Seconds that reading took.
    """

    wall: float
    ids: Sequence[str]
    states: Sequence[State]
    columns: Mapping[str, Packed]
    counts: Mapping[State, int]
    names: Names
    duration: float

    def texts(self, metric: Metric) -> list[bytes]:
        """Return a column's text for each node; empty where it has none."""
        return unpacked(self.columns[metric.name])


@dataclass(frozen=True, slots=True)
class Texts:
    """The values of a reading, or of a part of one, in texts that Prometheus can read.

    Attributes:
        columns: By metric name, a text for each node, none where it has none that can be read.
        left_out: Fields and nodes: values of theirs that could not be read.
    """

    columns: Mapping[str, Packed]
    left_out: Sequence[tuple[str, bytes]]

    @classmethod
    def joined(cls, parts: Sequence["Texts"]) -> "Texts":
        """Return the texts of a reading's parts as those of the whole."""
        columns = {name: b"".join([part.columns[name] for part in parts]) for name in parts[0].columns}
        return cls(columns, [value for part in parts for value in part.left_out])

    def amended(self, names: Sequence[bytes], positions: Sequence[int], other: "Texts") -> "Texts":
        """Return these texts, of all these nodes, with those of some taken from a second look at just them."""
        columns = {}
        for name, column in self.columns.items():
            texts = unpacked(column)
            for position, text in zip(positions, unpacked(other.columns[name]), strict=True):
                texts[position] = text
            columns[name] = packed(texts)
        again = {names[position] for position in positions}
        return Texts(columns, [*(value for value in self.left_out if value[1] not in again), *other.left_out])


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
        self._numbers = {metric.field or "": NumberColumn(metric) for metric in NUMBERS}
        self._ttls: Memo[int] = Memo(_ttl_text)
        self._kept: tuple[Names, bytes, Sequence[str]] = (Names(), b"", ())

    def texts(self, reading: Reading) -> Texts:
        """Return the values of a reading, or of a part of one, as texts; whoever is alive."""
        columns = {HEARTBEAT_TTL.name: packed(list(map(self._ttls.__getitem__, reading.ttl_ms)))}
        left_out: dict[str, Sequence[int]] = {}
        columns[LAST_HEARTBEAT.name], left_out["heartbeat"] = self._times.read_all(reading.beats)
        fields = dict(zip(FIELDS, reading.fields, strict=True))
        for metric in NUMBERS:
            field = metric.field or ""
            columns[metric.name], left_out[field] = self._numbers[field].read(fields[field])
        columns[STATUS.name], left_out[STATUS_FIELD] = _known_statuses(fields[STATUS_FIELD])
        return Texts(
            columns,
            [(field, reading.names[i]) for field, positions in left_out.items() for i in positions],
        )

    def make(  # noqa: PLR0913 - the parts of the snapshot to be
        self,
        names: Names,
        reading: Reading,
        texts: Texts,
        verdicts: Verdicts,
        last_beat: Callable[[bytes], bytes | None],
        *,
        duration: float,
    ) -> Snapshot:
        """Return the snapshot of a whole reading.

        Args:
            names: What was read.
            reading: What Redis held.
            texts: Its values.
            verdicts: What the judge said of it.
            last_beat: Returns what a node wrote as its last heartbeat, if that is known.
            duration: Seconds that reading took.
        """
        columns = dict(texts.columns)
        for field, node in texts.left_out:
            self._invalid(field, [shown_id(node)])
        if names.ambiguous:
            self._invalid("node_id", [""] * names.ambiguous)
        if names is not self._clocks_checked:
            self._clocks_checked = names
            self._check_clocks(names, reading, columns[LAST_HEARTBEAT.name])
        columns[UP.name] = packed([b"1"]) * len(verdicts.states)
        if verdicts.odd:
            columns[UP.name] = packed([_UP.get(state) for state in verdicts.states])
            written = self._with_remembered(reading, verdicts, last_beat, columns[LAST_HEARTBEAT.name])
            columns[LAST_HEARTBEAT.name] = written
            if not self._stale_gauges:
                online = [state is State.ONLINE for state in verdicts.states]
                for metric in (*GAUGES, STATUS):
                    columns[metric.name] = _only(columns[metric.name], online)
        return self._snapshot(names, reading, verdicts, columns, duration)

    def _snapshot(
        self, names: Names, reading: Reading, verdicts: Verdicts, columns: dict[str, Packed], duration: float
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
            columns = {name: packed(list(compress(unpacked(column), keep))) for name, column in columns.items()}
        return Snapshot(reading.wall, ids, states, columns, counts, names, duration)

    def _ids_kept(self, names: Names, keep: bytes) -> Sequence[str]:
        if self._kept[:2] != (names, keep):
            self._kept = names, keep, tuple(compress(names.shown, keep))
        return self._kept[2]

    def _with_remembered(
        self, reading: Reading, verdicts: Verdicts, last_beat: Callable[[bytes], bytes | None], column: Packed
    ) -> Packed:
        """Fill in what nodes without heartbeat wrote as their last one."""
        filled: list[bytes | None] = [*unpacked(column)]
        for position in verdicts.odd:
            name = reading.names[position]
            if reading.beats[position] is None and (text := last_beat(name)) is not None:
                filled[position] = self._times.read(text)
                if filled[position] is None:
                    self._invalid("heartbeat", [shown_id(name)])
        return packed(filled)

    def _check_clocks(self, names: Names, reading: Reading, written: Packed) -> None:
        """Log once if a node writes a time far from the one that its heartbeat's TTL tells."""
        for node_id, ms, text in zip(names.shown, reading.ttl_ms, unpacked(written), strict=True):
            if self._clock_reported:
                return
            if ms / 1000 > self._ttl + _CLOCK_TOLERANCE:
                self._clock_reported = True
                log.warning(
                    "a heartbeat lives longer than --heartbeat.ttl: ages and times are reckoned from that",
                    node_id=node_id,
                    seconds=round(ms / 1000),
                )
            elif ms > 0 and text:
                off = float(text) - (reading.wall - self._ttl + ms / 1000)
                if abs(off) > _CLOCK_TOLERANCE:
                    self._clock_reported = True
                    log.warning(
                        "a node writes a time that is far off: see its clock, and --heartbeat.timezone",
                        node_id=node_id,
                        seconds_off=round(off),
                    )


def _ttl_text(ms: int) -> bytes:
    return {MISSING: b"0", NO_EXPIRY: b"-1"}.get(ms) or format_number(ms / 1000)


def _known_statuses(column: Column) -> tuple[Packed, Sequence[int]]:
    if _STATUSES.issuperset(column):
        return packed(column), ()
    known = [status if status in _STATUSES else None for status in column]
    return packed(known), unreadable(column, known)


def _only(column: Packed, keep: Sequence[bool]) -> Packed:
    return packed([text if kept else None for text, kept in zip(unpacked(column), keep, strict=True)])
