"""The journal: it takes changes, and returns the events that a query asks for."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Event as Signal
from threading import Lock, Thread
from typing import Final

import structlog
from prometheus_client import Counter

from exporter.journal.changes import Entry, events_of
from exporter.journal.event import Event, EventKind
from exporter.journal.file import JournalFile
from exporter.journal.lines import line_of
from exporter.journal.memory import MOST_EVENTS, Memory, Page, Query, page_of
from exporter.telemetry import Telemetry

COLLECT: Final = 0.25
"""Seconds for which changes are collected before they become events, so that a burst is one event."""
TRY_AGAIN: Final = 5.0
"""Seconds between two tries to write a journal that could not be written."""
MOST_WAITING: Final = 32 * 2**20
"""Largest size, in bytes, of the events that wait to be written. Beyond it the oldest events are never written."""
_AT_ONCE: Final = 1 << 20
_MOST_TOLD: Final = 100

EXPORTER: Final = "exporter"
"""The subject of events about the exporter itself."""

Entries = Callable[[], Iterable[Entry]]
"""Returns changes. It is called later, in the journal's thread, so that telling a change costs next to nothing."""

_PREVIOUS: Final = {None: None, "stopped": "ended as it was told to", "started": "ended without a word"}

log = structlog.get_logger(__name__)


class Journal:
    """Makes events of changes, keeps the last ones in memory, and writes all of them to a file if there is one.

    One thread writes. Two locks: one for the changes that were told and the memory, one for the file.

    Args:
        file: The file; None keeps events in memory only.
        telemetry: Where the metrics of the journal are registered, and errors are counted.
        wall: Returns Unix time.
        monotonic: Returns the seconds of the clock that the changes' times come from.

    Attributes:
        earlier: The events of earlier runs, the oldest one first.
    """

    def __init__(
        self,
        file: JournalFile | None,
        telemetry: Telemetry,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.earlier: Sequence[Event] = ()
        self._file = file
        self._wall, self._monotonic = wall, monotonic
        self._lock, self._file_lock = Lock(), Lock()
        self._memory = Memory()
        self._told: deque[Entries] = deque()
        self._waiting: deque[bytes] = deque()  # lines that are not written yet
        self._waiting_bytes = 0
        self._problem = ""
        self._try_at = float("-inf")
        self._wake, self._closed = Signal(), Signal()
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        self._telemetry = telemetry
        registry = telemetry.registry
        self._count = Counter("ginkgo_journal_events", "Events in the journal, by kind.", ("kind",), registry=registry)
        for kind in EventKind:
            self._count.labels(kind.value)
        self._errors = Counter(
            "ginkgo_journal_write_errors",
            "Tries to write the journal's file that failed, and lines in it that could not be read at the start.",
            registry=registry,
        )
        if file:
            self._read_back(file)

    @property
    def has_file(self) -> bool:
        """Whether events are to be written to a file."""
        return self._file is not None

    @property
    def problem(self) -> str:
        """Why the file cannot be written, in one line; empty if it can be written, or if there is no file."""
        return self._problem

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def note_start(self, **evidence: object) -> None:
        """Take the start of the exporter as a change. Its evidence says how the previous run ended."""
        past = next((event.after for event in reversed(self.earlier) if event.kind is EventKind.EXPORTER), None)
        self.note(EventKind.EXPORTER, EXPORTER, past, "started", previous_run=_PREVIOUS.get(past), **evidence)

    def close(self, timeout: float = 1.0) -> None:
        """Write the changes that were told, and end the thread; ``timeout`` in seconds."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._file and not self._thread.is_alive():
            self._seal()
            self._write()
            self._file.close()

    def unix(self, at: float) -> float:
        """Return the Unix time of a monotonic time."""
        return self._wall() - (self._monotonic() - at)

    def monotonic(self, unix: float) -> float:
        """Return the monotonic time of a Unix time; the inverse of ``unix``."""
        return self._monotonic() - (self._wall() - unix)

    def now(self) -> float:
        """Return the monotonic time of now."""
        return self._monotonic()

    def tell(self, entries: Entries) -> None:
        """Take changes. They become events within ``COLLECT`` seconds, or at the next query."""
        self._told.append(entries)
        if len(self._told) > _MOST_TOLD:
            self._seal()
        self._wake.set()

    def note(self, kind: EventKind, subject: str, before: str | None, after: str, **evidence: object) -> None:
        """Take a change of one subject that was found now."""
        entry = Entry(self._monotonic(), kind, subject, before, after, evidence)
        self.tell(lambda: (entry,))

    def page(self, query: Query, limit: int) -> Page:
        """Return the newest events that a query accepts, at most ``limit``."""
        self._seal()
        with self._lock:
            kept = self._memory.kept()
        return page_of(kept.found(query), limit)

    def _read_back(self, file: JournalFile) -> None:
        try:
            past = file.read_back(MOST_EVENTS)
        except OSError as error:
            self.failed(error)
            return
        self.earlier = past.events
        for event in past.events:
            self._memory.add(event, line_of(event))
        if past.unreadable:
            self._errors.inc(past.unreadable)
            log.warning("the journal has lines that cannot be read", file=str(file.path), lines=past.unreadable)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(TRY_AGAIN if self._waiting else None)
            self._wake.clear()
            self._closed.wait(COLLECT)
            try:
                self._seal()
                if self._monotonic() >= self._try_at:
                    self._write()
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._telemetry.fault("journal", error)

    def _seal(self) -> None:
        """Make events of the changes that were told."""
        with self._lock:
            entries = [entry for _ in range(len(self._told)) for entry in self._told.popleft()()]
            events = events_of(entries, self._memory.last_id, self.unix)
            for event in events:
                line = line_of(event)
                self._memory.add(event, line)
                self._count.labels(event.kind.value).inc()
                if self._file:
                    self._queue_line(line)

    def _queue_line(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        while self._waiting_bytes > MOST_WAITING and len(self._waiting) > 1:
            self._waiting_bytes -= len(self._waiting.popleft())

    def _write(self) -> None:
        """Write the waiting events."""
        with self._file_lock:
            while self._file and (lines := self._next_lines()):
                try:
                    self._file.append(b"".join(lines))
                except OSError as error:
                    self.failed(error)
                    return
                with self._lock:
                    for line in lines:  # meanwhile the oldest lines may have made room for newer ones
                        if self._waiting and self._waiting[0] is line:
                            self._waiting_bytes -= len(self._waiting.popleft())
                if self._problem:
                    log.info("the journal is written again", file=str(self._file.path))
                    self._problem = ""

    def _next_lines(self) -> list[bytes]:
        """Return the oldest waiting lines, as many as one write takes."""
        with self._lock:
            lines: list[bytes] = []
            size = 0
            for line in self._waiting:
                if lines and size + len(line) > _AT_ONCE:
                    break
                lines.append(line)
                size += len(line)
            return lines

    def failed(self, error: OSError) -> None:
        """Count and log a failure to write the file, or to read it back."""
        self._errors.inc()
        self._try_at = self._monotonic() + TRY_AGAIN
        held = isinstance(error, BlockingIOError)
        reason = "another process writes it" if held else error.strerror or repr(error)
        path = self._file.path if self._file else ""
        if not self._problem:
            log.error("the journal is not written: the exporter runs without its file", file=str(path), error=reason)
        self._problem = f"{path}: {reason}"
