"""Makes a snapshot of readings and the judge's verdicts, part by part."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

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
)
from exporter.liveness.judge import Judge, State, Verdicts
from exporter.settings import Heartbeat
from exporter.snapshot.clocks import ClockCheck
from exporter.snapshot.snapshot import COUNTED, EXPORTED, Part, Snapshot
from exporter.snapshot.times import HeartbeatTimes
from exporter.snapshot.values import (
    Memo,
    NumberParser,
    Values,
    format_number,
    invalid_positions,
    removed,
    replaced,
)
from exporter.source.names import Names, shown_id
from exporter.source.reading import MISSING, NO_EXPIRY, Reading

Invalid = Callable[[str, Collection[str]], None]
"""Called with a field, and the ids as text of the nodes whose value of this field is invalid."""

_UP: Final = {State.ONLINE: b"1", State.OFFLINE: b"0", State.UNDECIDED: None}
_STATUSES: Final = frozenset((None, *(status.encode() for status in STATUSES)))


class SnapshotMaker:
    """Makes snapshots of readings, part by part. Only one thread at a time may use it.

    Args:
        heartbeat: The settings of heartbeats: their TTL, and the time zone of heartbeats that name no offset.
        judge: Knows the last heartbeat of each node, and the nodes of a mass loss.
        invalid: Called for each field with invalid values.
        stale_gauges: Whether offline nodes keep their gauges.
    """

    def __init__(self, heartbeat: Heartbeat, judge: Judge, invalid: Invalid, *, stale_gauges: bool = False) -> None:
        self._clocks = ClockCheck(heartbeat.ttl)
        self._clocks_checked: Names | None = None
        self._stale_gauges = stale_gauges
        self._judge = judge
        self._invalid = invalid
        self._times = HeartbeatTimes(heartbeat.timezone)
        self._numbers = {metric.field or "": NumberParser(metric) for metric in NUMBERS}
        self._ttls: Memo[int] = Memo(_ttl_text)

    def part(self, names: Names, positions: range, reading: Reading, verdicts: Verdicts) -> Part:
        """Return the states and values of one part of a reading.

        Args:
            names: All nodes of the whole reading.
            positions: The positions of this part's nodes among them.
            reading: The values of this part's nodes.
            verdicts: The judge's verdicts on this part's nodes.
        """
        states = verdicts.states
        columns = self._columns(reading)
        if names is not self._clocks_checked:
            self._clocks.check(reading, columns[LAST_HEARTBEAT.name])
        columns[UP.name] = [b"1"] * len(states)
        columns[MASS_LOST.name] = [None] * len(states)
        if verdicts.without_heartbeat:
            self._apply_verdicts(columns, reading, verdicts)
        without_heartbeat = Counter(states[position] for position in verdicts.without_heartbeat)
        counts = {state: without_heartbeat[state] for state in COUNTED}
        counts[State.ONLINE] += len(states) - len(verdicts.without_heartbeat)
        return Part(names, positions, states, columns, counts, reading.wall, complete=not reading.unread)

    def snapshot(self, names: Names, parts: Sequence[Part]) -> Snapshot:
        """Return the snapshot of a whole reading.

        Args:
            names: All nodes of the reading.
            parts: All parts of the reading.
        """
        self._clocks_checked = names
        if names.ambiguous:
            self._invalid("node_id", [""] * names.ambiguous)
        return Snapshot(parts)

    def _columns(self, reading: Reading) -> dict[str, Values]:
        """Return the values of a reading as texts, for nodes in any state; report the invalid values."""
        columns: dict[str, Values] = {HEARTBEAT_TTL.name: list(map(self._ttls.__getitem__, reading.ttl_ms))}
        invalid: dict[str, Sequence[int]] = {}
        columns[LAST_HEARTBEAT.name], invalid["heartbeat"] = self._times.parse(reading.beats)
        fields = dict(zip(FIELDS, reading.fields, strict=True))
        for metric in NUMBERS:
            field = metric.field or ""
            columns[metric.name], invalid[field] = self._numbers[field].parse(fields[field])
        columns[STATUS.name], invalid[STATUS_FIELD] = _known_statuses(fields[STATUS_FIELD])
        for field, positions in invalid.items():
            if positions:
                self._invalid(field, [shown_id(reading.names[position]) for position in positions])
        return columns

    def _apply_verdicts(self, columns: dict[str, Values], reading: Reading, verdicts: Verdicts) -> None:
        """Change the columns of nodes without heartbeat: for example, an offline node has no gauges."""
        states, positions = verdicts.states, verdicts.without_heartbeat
        if members := self._judge.members():
            lost = [position for position in positions if reading.names[position] in members]
            columns[MASS_LOST.name] = replaced(columns[MASS_LOST.name], dict.fromkeys(lost, b"1"))
        columns[UP.name] = replaced(columns[UP.name], {position: _UP.get(states[position]) for position in positions})
        columns[LAST_HEARTBEAT.name] = self._with_remembered(columns[LAST_HEARTBEAT.name], reading, positions)
        if not self._stale_gauges:
            not_online = [position for position in positions if states[position] is not State.ONLINE]
            for metric in (*GAUGES, STATUS):
                columns[metric.name] = removed(columns[metric.name], not_online)
        unread = reading.unread
        if hidden := [position for position in positions if states[position] not in EXPORTED or position in unread]:
            columns.update((name, removed(texts, hidden)) for name, texts in columns.items())

    def _with_remembered(self, texts: Values, reading: Reading, positions: Sequence[int]) -> Values:
        """Fill in the last known heartbeats of nodes that have no heartbeat now."""
        remembered: dict[int, bytes | None] = {}
        for position in positions:
            name = reading.names[position]
            if reading.beats[position] is None and (text := self._judge.last_beat(name)) is not None:
                remembered[position] = self._times.parse_one(text)
                if remembered[position] is None:
                    self._invalid("heartbeat", [shown_id(name)])
        return replaced(texts, remembered)


def _ttl_text(ms: int) -> bytes:
    return {MISSING: b"0", NO_EXPIRY: b"-1"}.get(ms) or format_number(ms / 1000)


def _known_statuses(raw: Values) -> tuple[Values, list[int]]:
    texts = raw if _STATUSES.issuperset(raw) else [status if status in _STATUSES else None for status in raw]
    return texts, invalid_positions(raw, texts)
