"""The journal: one log of changes, in memory and in a file; what was known at the end of the last run."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from logging import INFO, WARNING
from threading import Event as Signal
from threading import Lock, Thread
from typing import Any, Final

import structlog
from prometheus_client import Counter

from exporter.journal.changes import judged, read
from exporter.journal.event import DROPS, DROPS_NO_MORE, EACH, NOWHERE, Event, EventKind, Query, event_of
from exporter.journal.file import MOST_EVENTS, JournalFile, Record, read_back
from exporter.journal.sentences import headline
from exporter.liveness import Change, State, View
from exporter.portfolios.account import Account
from exporter.portfolios.ledger import Ledger, PortfolioState
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
        self._lines: deque[bytes] = deque()
        self._bytes = self._last_id = self._end = self._written = 0  # `_end` and `_written` are numbers of lines
        self._ledger: Ledger | None = None
        self._does = LOOKS
        self._dropping: Sequence[str] = ()
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
        for group in judged(changes, self.unix, view.answered):
            self.add(*group)

    def see_drops(self, dropping: Sequence[str]) -> None:
        """Take the nodes that dropped events lately, by their ids as text, after each read of all nodes."""
        before, self._dropping = self._dropping, dropping
        if before != dropping:
            for change, these, those in ((DROPS, dropping, before), (DROPS_NO_MORE, before, dropping)):
                self.add(EventKind.NODE, None, change, {name: {} for name in sorted({*these}.difference(those))}, {})

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
