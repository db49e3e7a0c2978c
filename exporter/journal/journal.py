"""The journal: one log of changes, in memory and in a file; what was known at the end of the last run."""

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from logging import INFO, WARNING
from threading import Event as Signal
from threading import Lock, Thread
from typing import Any, Final

import structlog
from prometheus_client import Counter

from exporter.journal.event import (
    DROPS,
    DROPS_NO_MORE,
    EACH,
    NOWHERE,
    Event,
    EventKind,
    Facts,
    Query,
    event_of,
    headline,
)
from exporter.journal.file import MOST_EVENTS, JournalFile, Known, Record, read_back
from exporter.liveness import Change, Kind, State, View
from exporter.portfolios.account import Account
from exporter.portfolios.ledger import Ledger, PortfolioState
from exporter.snapshot.rows import portfolio_row
from exporter.source.reading import shown_id
from exporter.telemetry import Telemetry

MOST_BYTES: Final = 16 * 2**20
"""Largest size of the lines in memory. If ids are very many or very long, fewer events are kept."""
TRY_AGAIN: Final = 5.0
"""Seconds between two tries to write a journal that could not be written."""
LOOKS, STALLED = "looks at the plan", "stalled"
"""What the scheduler does."""
STALLED_AFTER: Final = 120.0
"""Seconds without a look at the plan after which the scheduler is stalled, as for GinkgoSchedulerStalled."""
_CALM: Final = (
    State.ONLINE,
    State.GONE,
    State.UNDECIDED,
    PortfolioState.TRADED,
    NOWHERE,
    DROPS_NO_MORE,
    "started",
    "stopped",
    "active",
)
"""The states about which a log line is no warning."""

MOST_TEXT: Final = 200
"""Bytes of a heartbeat that are kept as evidence."""
MOST_ROWS: Final = 1000
"""Portfolios of an event of which each has its own evidence: that of 100,000 would take a second of a scrape."""
_OF_PORTFOLIO: Final = ("planned_node", "loaded_nodes", "listed_nodes", "positions")
"""The values of a portfolio's row that are the evidence on it alone."""
Unix = Callable[[float | None], float | None]
"""Returns the Unix time of a monotonic time, rounded to milliseconds; None for None."""

Group = tuple[EventKind, str | None, str, dict[str, Facts], Facts, float | None]
"""Like changes: the arguments of ``Journal.add``."""

log = structlog.get_logger(__name__)


class Journal:
    """Makes events of changes, keeps the last ones in memory, and writes all of them to a file if there is one.

    A lock guards the log and the record. The file is written by one thread, which takes its lines from the log: a
    line that leaves the log before it is written is lost, and the journal says so when it is written again.

    Args:
        file: The file; None keeps events in memory only.
        telemetry: Where the metrics of the journal are registered, and errors are counted.
        wall: Returns Unix time.
        monotonic: Returns the seconds of the clock that the changes' times come from.

    Attributes:
        file: The file.
        record: What is known.
        problem: Why the file cannot be written, in one line; empty if it can be written, or if there is no file.
    """

    def __init__(
        self,
        file: JournalFile | None,
        telemetry: Telemetry,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file, self._telemetry, self._wall, self._monotonic = file, telemetry, wall, monotonic
        self.problem, self.record, self._lock = "", Record(), Lock()
        self._lines = deque[bytes]()
        self._bytes = self._last_id = self._end = self._written = 0  # `_end` and `_written` are numbers of lines
        self._ledger: Ledger | None = None
        self._does = LOOKS
        self._dropping = frozenset[str]()
        self._wake, self._closed = Signal(), Signal()
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        self._count = Counter(
            "ginkgo_journal_events", "Events in the journal, by kind.", ("kind",), registry=telemetry.registry
        )
        for kind in EventKind:
            self._count.labels(kind.value)
        self._errors = Counter(
            "ginkgo_journal_write_errors",
            "Tries to write the journal's file that failed, and lines in it that could not be read at the start.",
            registry=telemetry.registry,
        )
        if file:
            self._read_back(file)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        """Write the changes that were told, and end the thread; ``timeout`` in seconds."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self.file and not self._thread.is_alive():
            self._write(self.file)
            self.file.close()

    def unix(self, at: float) -> float:
        """Return the Unix time of a monotonic time."""
        return self._wall() - (self._monotonic() - at)

    def earlier_changes(self) -> Iterable[Change]:
        """Return the last change of each node that is known: for the judge, at the start."""
        return self.record.changes(self._monotonic(), self._wall())

    def see(self, changes: Sequence[Change], view: View) -> None:
        """Take the judge's changes. The watch calls this after each round."""
        for group in judged(changes, lambda at: None if at is None else round(self.unix(at), 3), view.answered):
            self.add(*group)

    def see_drops(self, dropping: frozenset[str]) -> None:
        """Take the ids of the nodes that dropped events lately. The reading thread calls this once in a beat."""
        before, self._dropping = self._dropping, dropping
        for change, nodes in ((DROPS, dropping - before), (DROPS_NO_MORE, before - dropping)):
            self.add(EventKind.NODE, None, change, {node_id: {} for node_id in sorted(nodes)}, {})

    def see_read(self, account: Account) -> None:
        """Take what a read of all nodes shows of the portfolios. The reading thread calls this after each read."""
        if account.ledger is not self._ledger:
            before, self._ledger = self._ledger, account.ledger
            for group in read(before, account, self.record.portfolios):
                self.add(*group)
        if account.idle is not None:
            did, self._does = self._does, STALLED if account.idle > STALLED_AFTER else LOOKS
            if did != self._does:
                self.note(EventKind.SCHEDULER, "scheduler", did, self._does, idle_seconds=round(account.idle, 3))

    def note(self, kind: EventKind, subject: str, before: str | None, after: str, **evidence: object) -> None:
        """Take a change of one subject that was found now."""
        self.add(kind, before, after, {subject: {}}, evidence)

    def add(  # noqa: PLR0913, PLR0917 - the parts of an event
        self,
        kind: EventKind,
        before: str | None,
        after: str,
        rows: Mapping[str, Mapping[str, Any]],
        common: Mapping[str, Any],
        at: float | None = None,
    ) -> None:
        """Take the same change of some subjects as one event. Without subjects nothing happens.

        Args:
            kind: What has changed.
            before: The old state; None if it is unknown.
            after: The new state.
            rows: The evidence on each subject alone, as JSON values; all have the same keys.
            common: The evidence that they share, as JSON values.
            at: Monotonic time at which the change was seen; None for now.
        """
        if not rows:
            return
        each = {name: row for name, row in rows.items() if row}
        own = {EACH: each} if each and len(rows) > 1 else next(iter(rows.values()))
        with self._lock:
            unix = round(self.unix(self._monotonic() if at is None else at), 3)
            self._last_id = max(self._last_id + 1, int(unix * 1e6))
            event = Event(self._last_id, unix, kind, tuple(rows), before, after, {**common, **own})
            self.record.apply(event)
            self._append(event.line())
        log.log(INFO if after in _CALM else WARNING, headline(event).removesuffix("."), **common)
        self._count.labels(kind.value).inc()
        self._wake.set()

    def page(self, query: Query, limit: int) -> tuple[list[Event], int | None]:
        """Return the newest events that a query accepts, the newest one first.

        Args:
            query: The query.
            limit: The most events.

        Returns:
            The events, and the value of ``Query.before`` for the next page; None if there are no more events.
        """
        with self._lock:
            lines = tuple(self._lines)
        some = list(islice(filter(query.accepts, map(event_of, map(json.loads, reversed(lines)))), limit + 1))
        return some[:limit], some[limit - 1].id if len(some) > limit else None

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._end += 1
        self._bytes += len(line)
        while len(self._lines) > MOST_EVENTS or (self._bytes > MOST_BYTES and len(self._lines) > 1):
            self._bytes -= len(self._lines.popleft())

    def _read_back(self, file: JournalFile) -> None:
        try:
            events, record, unreadable = read_back(file.path)
        except OSError as error:
            self._fail(file, error)
            return
        for event in events:
            self._append(event.line())
            self._last_id = max(self._last_id, event.id)
        self._written, self.record = self._end, record
        if unreadable:
            self._errors.inc(unreadable)
            log.warning("the journal has lines that cannot be read", file=str(file.path), lines=unreadable)

    def _run(self) -> None:
        while self.file and not self._closed.is_set():
            self._wake.wait(TRY_AGAIN)
            self._wake.clear()
            try:
                self._write(self.file)
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._telemetry.fault("journal", error)
            if self.problem:
                self._closed.wait(TRY_AGAIN)

    def _write(self, file: JournalFile) -> None:
        """Write the lines that are not written yet."""
        with self._lock:
            end, oldest = self._end, self._end - len(self._lines)
            lines = b"".join(islice(self._lines, max(0, self._written - oldest), None))
        lost = max(0, oldest - self._written)
        if not lines:
            return
        try:
            file.append(lines, self._checkpoint, anew=lost > 0)
        except OSError as error:
            self._fail(file, error)
            return
        self._written = end
        if self.problem:
            log.info("the journal is written again", file=str(file.path))
            self.problem = ""
        if lost:
            self.note(EventKind.EXPORTER, EventKind.EXPORTER, None, "lost events", lost_events=lost)

    def _checkpoint(self) -> bytes:
        with self._lock:
            return self.record.line()

    def _fail(self, file: JournalFile, error: OSError) -> None:
        """Count and log a failure to write the file, or to read it back."""
        self._errors.inc()
        problem = f"{file.path}: {error.strerror or error}"
        if not self.problem:
            log.error("the journal is not written: the exporter runs without its file", error=problem)
        self.problem = problem


def judged(changes: Sequence[Change], unix: Unix, answered: float) -> Iterable[Group]:
    """Return the judge's changes: like ones together, and those of each subject in their order.

    Args:
        changes: The changes, the oldest first.
        unix: See ``Unix``.
        answered: When Redis answered last, in monotonic seconds: a gap that reaches until then lasts.
    """
    groups: dict[object, Group] = {}
    turns = defaultdict[tuple[Kind, bytes], int](int)
    for change in changes:
        name = EventKind.REDIS if change.kind is Kind.REDIS else shown_id(change.name)
        turns[change.kind, change.name] += 1
        common = _common(change, unix, answered)
        like = turns[change.kind, change.name], change.kind, change.before, change.after, tuple(common.items())
        group: Group = EventKind(change.kind.value), change.before, change.after, {}, common, change.at
        groups.setdefault(like, group)[3][name] = _own(change, unix)
    return groups.values()


def _common(change: Change, unix: Unix, answered: float) -> Facts:
    """Return the evidence that like changes share."""
    seen, gap, loss = change.evidence, change.evidence.gap, change.loss
    return _known(
        because=change.why,
        hash=seen.hashed,
        loss=loss and shown_id(loss.name),
        loss_first=loss and unix(loss.first),
        fault=gap and gap.why,
        fault_since=gap and unix(gap.start),
        fault_until=unix(gap.end) if gap and gap.end < answered else None,
        redis=shown_id(change.name) if change.kind is Kind.REDIS else None,
        redis_run_id=seen.run_id,
        redis_role=seen.role,
    )


def _own(change: Change, unix: Unix) -> Facts:
    """Return the evidence on one node alone."""
    seen = change.evidence
    if change.kind is not Kind.NODE or change.after == State.ONLINE:
        return {}
    return _known(
        pttl=seen.ttl_ms,
        heartbeat=shown_id(seen.text[:MOST_TEXT]) if seen.text else None,
        deadline=unix(seen.end),
        offline_since=unix(change.died),
    )


def _known(**evidence: Any) -> Facts:
    return {key: value for key, value in evidence.items() if value not in (None, "")}


def read(before: Ledger | None, account: Account, known: Mapping[str, Known]) -> Iterable[Group]:
    """Return what has changed from one ledger to the next: like changes together.

    Args:
        before: The ledger before; None if there was none.
        account: The next one.
        known: What the journal knows of portfolios at fault, by id as text.
    """
    ledger, last_plan = account.ledger, (before or account.ledger).plan
    last_faults = before.abnormal if before else map(str.encode, known)
    groups = defaultdict[Any, dict[str, Facts]](dict)
    for name in sorted({*ledger.abnormal, *last_faults, *(last_plan.keys() ^ ledger.plan.keys())}):
        last, now = before and before.get(name), ledger.get(name)
        old = last.state if last else known.get(shown_id(name), (None, None))[1]
        new, reason = (now.state, now.reason) if now else (NOWHERE, None)
        if old != new:
            rows = groups[old, new, reason, account.since.get(name)]
            row = portfolio_row(now, account) if now and len(rows) < MOST_ROWS else {}
            rows[shown_id(name)] = {key: row[key] for key in _OF_PORTFOLIO if row.get(key)}
    for (old, new, reason, since), rows in groups.items():
        yield EventKind.PORTFOLIO, old, new, rows, _known(reason=reason, since=since), None
