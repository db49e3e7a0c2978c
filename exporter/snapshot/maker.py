"""Makes a snapshot of readings, of the judge's verdicts and of the account of the portfolios."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Final

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
    STATUS_FIELD,
    UP,
)
from exporter.liveness import State, Verdicts
from exporter.portfolios.account import Account
from exporter.settings import Heartbeat
from exporter.snapshot.rates import Rates
from exporter.snapshot.snapshot import COUNTED, EXPORTED, Part, Snapshot
from exporter.snapshot.values import (
    HeartbeatTimes,
    Memo,
    NumberParser,
    Values,
    format_number,
    hint_at_clocks,
    known_statuses,
    removed,
    replaced,
)
from exporter.source.names import Names, shown_id
from exporter.source.reading import MISSING, NO_EXPIRY, Reading

Invalid = Callable[[str, Collection[str]], None]
"""Called with a field, and the ids as text of the nodes whose value of this field is invalid."""

_UP: Final = {State.ONLINE: b"1", State.OFFLINE: b"0", State.UNDECIDED: None}


class SnapshotMaker:
    """Makes snapshots of readings, part by part. Only one thread at a time may use it.

    Args:
        heartbeat: The settings of heartbeats: their TTL, and the time zone of heartbeats that name no offset.
        invalid: Called for each field with invalid values.
        write: Returns the lines of a part.
        stale_gauges: Whether offline nodes keep their gauges.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        invalid: Invalid,
        write: Callable[[Part], Mapping[str, bytes]],
        *,
        stale_gauges: bool = False,
    ) -> None:
        self._ttl, self._invalid, self._write, self._stale_gauges = heartbeat.ttl, invalid, write, stale_gauges
        self._clocks_checked: Names | None = None
        self._hinted = False
        self._times = HeartbeatTimes(heartbeat.timezone)
        self._numbers = {metric.field or "": NumberParser(metric) for metric in NUMBERS}
        self._ttls: Memo[int] = Memo(_ttl_text)
        self._rates = Rates()
        self._planned: tuple[object, Names, Values] = None, Names(), ()

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
        if names is not self._clocks_checked and not self._hinted:
            self._hinted = hint_at_clocks(reading, columns[LAST_HEARTBEAT.name], self._ttl)
        columns[UP.name] = [b"1"] * len(states)
        columns[MASS_LOST.name] = [None] * len(states)
        if absent:
            self._apply_verdicts(columns, reading, verdicts)
        counts = Counter(states[position] for position in absent)
        counts[State.ONLINE] += len(states) - len(absent)
        part = Part(
            names,
            range(start, start + len(states)),
            states,
            columns,
            {state: counts[state] for state in COUNTED},
            absent,
            reading.at,
            reading.wall,
            complete=not reading.unread,
        )
        return part._replace(lines=self._write(part))

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
        self._clocks_checked = names
        if names.ambiguous:
            self._invalid("node_id", [""] * names.ambiguous)
        self._rates.note(
            names.raw,
            lambda metric: list(chain.from_iterable(part.columns[metric.name] for part in parts)),
            parts[-1].wall,
        )
        totals = self._totals(names, parts, account) if account else None
        return Snapshot(parts, account, problem, totals, self._rates.rising, self._rates.earlier, self._ttl)

    def _columns(self, reading: Reading) -> dict[str, Values]:
        """Return the values of a reading as texts, for nodes in any state; report the invalid values."""
        columns: dict[str, Values] = {HEARTBEAT_TTL.name: list(map(self._ttls.__getitem__, reading.ttl_ms))}
        invalid: dict[str, Sequence[int]] = {}
        columns[LAST_HEARTBEAT.name], invalid["heartbeat"] = self._times.parse(reading.beats)
        fields = dict(zip(FIELDS, reading.fields, strict=True))
        for metric in NUMBERS:
            field = metric.field or ""
            columns[metric.name], invalid[field] = self._numbers[field].parse(fields[field])
        columns[STATUS.name], invalid[STATUS_FIELD] = known_statuses(fields[STATUS_FIELD])
        for field, positions in invalid.items():
            if positions:
                self._invalid(field, [shown_id(reading.names[position]) for position in positions])
        return columns

    def _apply_verdicts(self, columns: dict[str, Values], reading: Reading, verdicts: Verdicts) -> None:
        """Change the columns of nodes without heartbeat: for example, an offline node has no gauges."""
        states, absent = verdicts
        losses = {
            position: shown_id(node.change.loss.name).encode() for position, node in absent.items() if node.change.loss
        }
        columns[MASS_LOST.name] = replaced(columns[MASS_LOST.name], losses)
        columns[UP.name] = replaced(columns[UP.name], {position: _UP.get(states[position]) for position in absent})
        columns[LAST_HEARTBEAT.name] = self._with_remembered(columns[LAST_HEARTBEAT.name], reading, verdicts)
        if not self._stale_gauges:
            not_online = [position for position in absent if states[position] is not State.ONLINE]
            for metric in (*GAUGES, STATUS):
                columns[metric.name] = removed(columns[metric.name], not_online)
        unread = reading.unread
        if hidden := [position for position in absent if states[position] not in EXPORTED or position in unread]:
            columns.update((name, removed(texts, hidden)) for name, texts in columns.items())

    def _with_remembered(self, texts: Values, reading: Reading, verdicts: Verdicts) -> Values:
        """Fill in the last known heartbeats of nodes that have no heartbeat now."""
        remembered: dict[int, bytes | None] = {}
        for position, node in verdicts.absent.items():
            if reading.beats[position] is None and node.text is not None:
                remembered[position] = self._times.parse_one(node.text)
                if remembered[position] is None:
                    self._invalid("heartbeat", [shown_id(reading.names[position])])
        return replaced(texts, remembered)

    def _totals(self, names: Names, parts: Sequence[Part], account: Account) -> Part:
        """Return the part of all nodes whose columns are what is exported of their portfolios."""
        states = [state for part in parts for state in part.states]
        ledger, known, planned = self._planned
        if ledger is not account.ledger or known is not names:
            texts: Memo[int] = Memo(format_number)
            pairs = zip(names.raw, states, strict=True)
            planned = [
                texts[account.ledger.planned.get(name, 0)] if state in EXPORTED else None for name, state in pairs
            ]
            self._planned = account.ledger, names, planned
        columns = {
            PLANNED_PORTFOLIOS.name: planned,
            QUEUE_SIZE_MAX.name: _numbers(names.raw, account.queues),
            POSITIONS.name: _numbers(names.raw, account.node_positions),
        }
        part = Part(names, range(len(states)), states, columns, {})
        return part._replace(lines=self._write(part))


def _numbers(names: Sequence[bytes], numbers: Mapping[bytes, float]) -> Values:
    return [None if number is None else format_number(number) for number in map(numbers.get, names)]


def _ttl_text(ms: int) -> bytes:
    return {MISSING: b"0", NO_EXPIRY: b"-1"}.get(ms) or format_number(ms / 1000)
