"""The journal on disk: lines of events, and checkpoints that hold what is known. One process writes it."""

import fcntl
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.escaping import printable_json
from exporter.journal.event import DROPS, LOST, NOWHERE, TAKES, Event, EventKind, event_of
from exporter.liveness import Change, Evidence, Loss, State
from exporter.liveness.table import FIRST_LEDGER
from exporter.portfolios.account import EarlierFault
from exporter.portfolios.ledger import PortfolioState
from exporter.settings import Journal

KEPT: Final = 3
"""Number of files that are kept: the present file and two older files."""
MOST_EVENTS: Final = 10_000
"""Events that are read back at the start."""
ENOUGH: Final = 8 * 2**20
"""Bytes that are read back at the start at least. Each file begins with a checkpoint, so older files are left out."""
CHECKPOINT: Final = "checkpoint"
"""The only key of a line that holds a record."""
_KINDS: Final = (EventKind.NODE, EventKind.PORTFOLIO, EventKind.EXPORTER)
_PASSING: Final = (TAKES, DROPS, LOST, PortfolioState.UNKNOWN.value)
_ENDS: Final = (State.GONE.value, PortfolioState.TRADED.value, NOWHERE)
_DEAD: Final = (State.OFFLINE.value, State.FORGOTTEN.value)
_KEPT: Final = ("offline_since", "offline_since_exact", "loss", "loss_first", "deadline", "heartbeat", "since")
"""The evidence that outlives a restart."""

Known = tuple[float, str, Mapping[str, Any]]
"""The last change of a subject: its Unix time, the new state, and the evidence that outlives a restart."""


class Record:
    """What is known after some events. Whoever has it guards it.

    Applying an event twice changes nothing, so a record may be ahead of the place in a file at which it stands.

    Attributes:
        last: The last change of each node, portfolio at fault, and of the exporter, by kind and subject. States that
            say nothing of life or trade change nothing: an unknown portfolio is still at fault.
    """

    def __init__(self) -> None:
        self.last: dict[EventKind, dict[str, Known]] = {kind: {} for kind in _KINDS}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Record":
        """Return the record that a checkpoint holds; raises a ValueError, KeyError, TypeError or AttributeError."""
        record = cls()
        for kind, known in record.last.items():
            for subject, (at, state, evidence) in value[kind].items():
                known[subject] = float(at), str(state), dict(evidence)
        return record

    def line(self) -> bytes:
        """Return the record as one line of JSON."""
        return printable_json({CHECKPOINT: self.last}, separators=(",", ":")).encode() + b"\n"

    def apply(self, event: Event) -> None:
        """Take note of an event."""
        if event.kind not in self.last or event.after in _PASSING:
            return
        known = self.last[event.kind]
        for position, subject in enumerate(event.subjects):
            known.pop(subject, None)
            evidence = event.evidence_at(position)
            if event.after not in _ENDS and evidence.get("because") != FIRST_LEDGER:  # that of the next run decides
                kept = {key: evidence[key] for key in _KEPT if evidence.get(key) is not None}
                known[subject] = event.time, event.after, kept

    def faults(self) -> dict[str, EarlierFault]:
        """Return the portfolios that are at fault: the state, and the Unix time since which it lasts."""
        known = self.last[EventKind.PORTFOLIO].items()
        return {name: (state, evidence.get("since", at)) for name, (at, state, evidence) in known}

    def changes(self, now: float, unix: float) -> list[Change]:
        """Return the last change of each known node, in monotonic times.

        Args:
            now: The monotonic time of now. What has happened is not later: the clock of the earlier run may have been
                ahead.
            unix: The Unix time of now.
        """

        def monotonic(at: float) -> float:
            return now - max(0.0, unix - at)

        nodes = self.last[EventKind.NODE]
        firsts: dict[str, float] = {}  # the events on two members of a loss may differ: the clocks drift
        for _, _, evidence in nodes.values():
            if loss := evidence.get("loss"):
                firsts[loss] = min(evidence["loss_first"], firsts.get(loss, evidence["loss_first"]))
        changes = []
        for subject, (at, state, evidence) in nodes.items():
            name, since, loss = subject.encode(), evidence.get("offline_since", at), evidence.get("loss")
            if state not in _DEAD:
                changes.append(Change(name, None, State.ONLINE, float("-inf"), "an earlier run knew it"))
                continue
            change = Change(
                name=name,
                before=None,
                after=State(state),
                at=monotonic(at),
                why="it was offline in an earlier run of this exporter",
                died=monotonic(since),
                exact=evidence.get("offline_since_exact") is True,
                loss=Loss(loss.encode(), monotonic(firsts[loss])) if loss else None,
                evidence=Evidence(
                    end=monotonic(evidence["deadline"]) if "deadline" in evidence else None,
                    text=evidence["heartbeat"].encode() if "heartbeat" in evidence else None,
                ),
            )
            changes.append(change)
        return changes


class ReadBack(NamedTuple):
    """What a journal's files held.

    Attributes:
        events: The last events, the oldest one first.
        record: What was known after the last of all events.
        unreadable: Lines that are neither events nor checkpoints.
    """

    events: Sequence[Event]
    record: Record
    unreadable: int


class JournalFile:
    """Appends lines to a file. For one thread at a time.

    The lock is on a file of its own beside the journal, since rotation renames the journal. The journal is opened
    for each write, so that it may be deleted or replaced at any time.

    Args:
        path: The file.
        max_size: Bytes after which the next line goes into a new file.
    """

    def __init__(self, path: Path, max_size: int) -> None:
        self.path = path
        self._max_size = max_size
        self._lock: int | None = None
        self._rotation = RotatingFileHandler(path, backupCount=KEPT - 1, delay=True)

    @classmethod
    def of(cls, settings: Journal) -> "JournalFile | None":
        """Return the file that the settings name; None if they name none."""
        return cls(settings.file, settings.max_size) if settings.file else None

    def append(self, lines: bytes, checkpoint: Callable[[], bytes], *, anew: bool = False) -> None:
        """Append whole lines, and a checkpoint where a file begins.

        Args:
            lines: The lines.
            checkpoint: Returns a line that says all that is known.
            anew: Whether a checkpoint is needed in any case.

        Raises:
            OSError: The lines could not be written, and the file holds no part of them. ``BlockingIOError`` means that
                another process writes this journal.
        """
        self._hold()
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size and size + len(lines) > self._max_size:
            self._rotation.doRollover()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(descriptor).st_size
        # A line that was cut off by the end of a process must not be continued.
        start = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
        rest = start + lines + (checkpoint() if anew or not size else b"")
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            os.ftruncate(descriptor, size)  # a line that is cut off must not stay
            raise
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let another process write the journal."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> None:
        if self._lock is None:
            lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
            self._lock = lock


def read_back(path: Path) -> ReadBack:
    """Return what the files of a journal hold, from the oldest one on.

    Args:
        path: The newest file.

    Raises:
        OSError: A file that exists cannot be read.
    """
    events: deque[Event] = deque(maxlen=MOST_EVENTS)
    record, unreadable = Record(), 0
    for line in _lines(path):
        try:
            value = json.loads(line)
            if checkpoint := value.get(CHECKPOINT):
                record = Record.of(checkpoint)
                continue
            events.append(event_of(value))
            record.apply(events[-1])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            unreadable += bool(line.strip())
    # In a rolling update the new process writes when the old one has ended: what it saw meanwhile comes late.
    return ReadBack(sorted(events, key=lambda event: event.id), record, unreadable)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the last lines of a journal's files, the oldest one first."""
    parts: list[Path] = []
    for part in (path, *(path.with_name(f"{path.name}.{number}") for number in range(1, KEPT))):
        if part.exists() and sum(each.stat().st_size for each in parts) < ENOUGH:
            parts.append(part)
    for part in reversed(parts):
        with part.open("rb") as file:
            yield from file
