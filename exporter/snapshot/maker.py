"""Makes a snapshot of readings, of the judge's verdicts and of the account of the portfolios."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import structlog

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
    UP,
    Metric,
)
from exporter.liveness import State, Verdicts
from exporter.portfolios.account import Account
from exporter.settings import Heartbeat
from exporter.snapshot.snapshot import EXPORTED, RISING, History, Part, Past, Snapshot, dropping
from exporter.snapshot.values import (
    Column,
    HeartbeatTimes,
    Memo,
    Values,
    format_number,
    known_statuses,
    number_parser,
)
from exporter.source.reading import MISSING, NO_EXPIRY, Names, Reading, shown_id

Invalid = Callable[[str, Collection[str]], None]
"""Called with a field, and the ids as text of the nodes whose value of this field is invalid."""

_UP: Final = {State.ONLINE: b"1", State.OFFLINE: b"0"}
TOLERANCE: Final = 60.0
"""Seconds by which the time that a node writes may be off without a hint in the log."""

log = structlog.get_logger(__name__)


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
        self._ttls = Memo(_ttl_text)
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

        now = Past(
            parts[-1].at,
            names.shown,
            {metric.name: b"".join(part.columns[metric.name] for part in parts) for metric in RISING},
        )
        recent, base = self._history.note(now)
        parts = [self._totals(names, parts, account), *parts] if account else parts
        return Snapshot(parts, account, problem, dropping(base, now), recent, base, self._ttl)

    def _columns(self, reading: Reading) -> dict[str, Column]:
        """Return the values of a reading as texts, for nodes in any state; report the invalid values."""
        count = len(reading.names)
        columns = {
            UP.name: Column([b"1"] * count, b"1\n" * count, whole=True),
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


def _ttl_text(ms: int) -> bytes:
    return {MISSING: b"0", NO_EXPIRY: b"-1"}.get(ms) or format_number(ms / 1000)


def _hint_at_clocks(reading: Reading, written: Values, ttl: float) -> bool:
    """Log a hint about the first node that writes a time that is far off. Return whether there is one.

    Args:
        reading: The nodes and the TTLs of their heartbeats.
        written: The Unix time that each node wrote; None if it is missing.
        ttl: Seconds that a heartbeat lives, by the settings.
    """
    for name, ms, text in zip(reading.names, reading.ttl_ms, written, strict=True):
        off = float(text) - (reading.wall - ttl + ms / 1000) if ms > 0 and text else 0.0
        if abs(off) > TOLERANCE:
            log.warning(
                "a node writes a time that is far off: see its clock, --heartbeat.timezone and --heartbeat.ttl",
                node_id=shown_id(name),
                seconds_off=round(off),
            )
            return True
    return False
