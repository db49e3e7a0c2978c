"""The journal on disk: lines of events, and checkpoints that hold what is known. One process writes it."""

import fcntl
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.escaping import printable_json
from exporter.journal.event import Event, EventKind, event_of
from exporter.liveness import Change, Evidence, Loss, State
from exporter.liveness.table import FIRST_LEDGER
from exporter.portfolios.account import EarlierFault
from exporter.portfolios.ledger import PortfolioState
from exporter.settings import Journal

KEPT: Final = 3
"""Number of files that are kept: the present file and two older files."""
MOST_EVENTS: Final = 10_000
"""Events that are read back at the start."""
MOST_READ: Final = 16 * 2**20
"""Most bytes that are read back at the start, so that a large file does not delay the start."""
CHECKPOINT_EVERY: Final = 4 * 2**20
"""Bytes of a file after which another checkpoint is written, so that what is read back holds one."""


CHECKPOINT: Final = "checkpoint"
"""The only key of a line that holds a record."""
_DEAD: Final = (State.OFFLINE, State.FORGOTTEN)
_KEPT: Final = ("offline_since", "offline_since_exact", "loss", "loss_first", "deadline", "heartbeat")
"""The evidence on a dead node that outlives a restart."""


class Record:
    """What is known after some events. Whoever has it guards it.

    Applying an event twice changes nothing, so a record may be ahead of the place in a file at which it stands.

    Attributes:
        alive: The nodes that were last known online or undecided.
        dead: The nodes that were last known offline or forgotten, with the evidence on each.
        faults: The portfolios that are at fault; an unknown state ends no fault.
        run: How the last change of the exporter itself ended: ``started`` or ``stopped``; None if there was none.
    """

    def __init__(self) -> None:
        self.alive: dict[str, None] = {}
        self.dead: dict[str, Mapping[str, Any]] = {}
        self.faults: dict[str, EarlierFault] = {}
        self.run: str | None = None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Record":
        """Return the record that a checkpoint holds; raises a ValueError, KeyError, TypeError or AttributeError."""
        record = cls()
        record.alive = dict.fromkeys(value["alive"])
        record.dead = {name: {**node, "state": State(node["state"])} for name, node in value["dead"].items()}
        record.faults = {name: tuple(fault) for name, fault in value["faults"].items()}
        record.run = value["run"]
        return record

    def line(self) -> bytes:
        """Return the record as one line of JSON."""
        value = {"alive": list(self.alive), "dead": self.dead, "faults": self.faults, "run": self.run}
        return printable_json({CHECKPOINT: value}, separators=(",", ":")).encode() + b"\n"

    def apply(self, event: Event) -> None:
        """Take note of an event."""
        if event.kind is EventKind.EXPORTER:
            self.run = event.after if event.after in ("started", "stopped") else self.run
        elif event.kind is EventKind.NODE and event.after in tuple(State):
            self._apply_to_nodes(event)
        elif event.kind is EventKind.PORTFOLIO and event.after != PortfolioState.UNKNOWN:
            for position, subject in enumerate(event.subjects):
                since = event.evidence_at(position).get("since")
                self.faults.pop(subject, None)
                if isinstance(since, int | float):
                    self.faults[subject] = event.after, since

    def _apply_to_nodes(self, event: Event) -> None:
        for position, subject in enumerate(event.subjects):
            self.alive.pop(subject, None)
            self.dead.pop(subject, None)
            evidence = event.evidence_at(position)
            if evidence.get("because") == FIRST_LEDGER:
                continue  # the first ledger of the next run decides
            if event.after in _DEAD:
                kept = {key: evidence[key] for key in _KEPT if evidence.get(key) is not None}
                self.dead[subject] = {"state": State(event.after), "time": event.time, **kept}
            elif event.after != State.GONE:
                self.alive[subject] = None

    def changes(self, now: float, unix: float) -> list[Change]:
        """Return the last change of each known node, in monotonic times.

        Args:
            now: The monotonic time of now. What has happened is not later: the clock of the earlier run may have been
                ahead.
            unix: The Unix time of now.
        """
        known = [
            Change(name.encode(), None, State.ONLINE, float("-inf"), "an earlier run knew it") for name in self.alive
        ]
        firsts: dict[str, float] = {}  # the events on two members of a loss may differ: the clocks drift
        for node in self.dead.values():
            if "loss" in node:
                first = node.get("loss_first", node["time"])
                firsts[node["loss"]] = min(first, firsts.get(node["loss"], first))
        for name, node in self.dead.items():
            at, since = node["time"], node.get("offline_since", node["time"])
            end, first = node.get("deadline", since), firsts.get(node.get("loss", ""), since)
            at, since, end, first = (now - max(0.0, unix - each) for each in (at, since, end, first))
            known.append(
                Change(
                    name=name.encode(),
                    before=None,
                    after=node["state"],
                    at=at,
                    why="it was offline in an earlier run of this exporter",
                    died=since,
                    exact=node.get("offline_since_exact") is True,
                    loss=Loss(node["loss"].encode(), first) if "loss" in node else None,
                    evidence=Evidence(
                        end=end if "deadline" in node else None,
                        text=node["heartbeat"].encode() if "heartbeat" in node else None,
                    ),
                )
            )
        return known


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
        self._since_checkpoint = 0
        self._rotation = RotatingFileHandler(path, backupCount=KEPT - 1, delay=True)

    @classmethod
    def of(cls, settings: Journal) -> "JournalFile | None":
        """Return the file that the settings name; None if they name none."""
        return cls(settings.file, settings.max_size) if settings.file else None

    def append(self, lines: bytes, checkpoint: Callable[[], bytes], *, anew: bool = False) -> None:
        """Append whole lines, and a checkpoint where a file begins and where the last one is long ago.

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
        anew = anew or not size or self._since_checkpoint >= CHECKPOINT_EVERY
        # A line that was cut off by the end of a process must not be continued.
        start = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
        rest = start + lines + (checkpoint() if anew else b"")
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            os.ftruncate(descriptor, size)  # a line that is cut off must not stay
            raise
        finally:
            os.close(descriptor)
        self._since_checkpoint = 0 if anew else self._since_checkpoint + len(lines)

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


def read_back(path: Path, most_events: int = MOST_EVENTS, most_bytes: int = MOST_READ) -> ReadBack:
    """Return what the files of a journal hold, from the oldest one on.

    Args:
        path: The newest file.
        most_events: Events to return at most.
        most_bytes: Bytes to read at most, from the end.

    Raises:
        OSError: A file that exists cannot be read.
    """
    events: deque[Event] = deque(maxlen=most_events)
    record, unreadable = Record(), 0
    for line in _lines(path, most_bytes):
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


def _lines(path: Path, most_bytes: int) -> Iterator[bytes]:
    """Yield the last lines of a journal's files, the oldest one first."""
    starts: list[tuple[Path, int]] = []
    for part in (path, *(path.with_name(f"{path.name}.{number}") for number in range(1, KEPT))):
        with suppress(FileNotFoundError):
            size = part.stat().st_size
            starts.append((part, max(0, size - most_bytes)))
            most_bytes -= size
        if most_bytes <= 0:
            break
    for part, start in reversed(starts):
        with suppress(FileNotFoundError), part.open("rb") as file:  # it may be rotated meanwhile
            file.seek(start)
            if start:
                file.readline()  # the rest of a line
            yield from file
