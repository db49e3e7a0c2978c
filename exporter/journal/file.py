"""The journal on disk: lines of events, and checkpoints that hold what is known. One process writes it."""

import fcntl
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

from exporter.escaping import printable_json
from exporter.journal.event import DROPS, DROPS_NO_MORE, EACH, NOWHERE, Event, EventKind, event_of
from exporter.liveness import Change, Evidence, Loss, State
from exporter.portfolios.account import EarlierFault
from exporter.portfolios.ledger import PortfolioState

KEPT: Final = 3
"""Number of files that are kept: the present file and two older files."""
MOST_EVENTS: Final = 10_000
"""Events that are read back at the start."""
CHECKPOINT: Final = "checkpoint"
"""The only key of a line that holds a record."""
_ENDS: Final = (State.GONE, PortfolioState.TRADED, NOWHERE)
_DEAD: Final = (State.OFFLINE, State.FORGOTTEN)
_KEPT: Final = ("offline_since", "loss", "loss_first", "deadline", "heartbeat", "since")
"""The evidence that outlives a restart."""
_NOTHING: Final[Mapping[str, Any]] = {EventKind.NODE: {}, EventKind.PORTFOLIO: {}}

Known = tuple[float, str, Mapping[str, Any]]
"""The last change of a subject: its Unix time, the new state, and the evidence that outlives a restart."""


class Record:
    """What is known after some events. Whoever has it guards it.

    Applying an event twice changes nothing, so a record may be ahead of the place in a file at which it stands.

    Args:
        checkpoint: What a checkpoint holds.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: The checkpoint holds no record.

    Attributes:
        nodes: The last change of each node, by its id.
        portfolios: The last change of each portfolio at fault, by its id. An unknown portfolio is still at fault.
    """

    def __init__(self, checkpoint: Mapping[str, Any] = _NOTHING) -> None:
        self._known: dict[str, dict[str, Known]] = {
            kind: {name: (float(at), str(state), dict(kept)) for name, (at, state, kept) in checkpoint[kind].items()}
            for kind in _NOTHING
        }
        self.nodes, self.portfolios = self._known.values()

    def line(self) -> bytes:
        """Return the record as one line of JSON: a checkpoint."""
        return printable_json({CHECKPOINT: self._known}, separators=(",", ":")).encode() + b"\n"

    def apply(self, event: Event) -> None:
        """Take note of an event."""
        known = self._known.get(event.kind)
        # Of an old hash that was found before the first ledger, the next run decides anew.
        old = event.before is None and event.after == State.UNDECIDED
        if known is None or old or event.after in (PortfolioState.UNKNOWN, DROPS, DROPS_NO_MORE):
            return
        kept = {
            subject: {key: value for key, value in event.evidence_of(subject).items() if key in _KEPT}
            for subject in (None, *event.evidence.get(EACH, ()))
        }
        for subject in event.subjects:
            known.pop(subject, None)
            if event.after not in _ENDS:
                known[subject] = event.time, event.after, kept.get(subject, kept[None])

    def faults(self) -> dict[str, EarlierFault]:
        """Return the portfolios that are at fault: the state, and the Unix time since which it lasts."""
        return {name: (state, kept.get("since", at)) for name, (at, state, kept) in self.portfolios.items()}

    def changes(self, now: float, unix: float) -> Iterator[Change]:
        """Yield the last change of each known node, in monotonic times.

        Args:
            now: The monotonic time of now. What has happened is not later: the clock of the earlier run may have been
                ahead.
            unix: The Unix time of now.
        """

        def monotonic(at: float | None) -> float | None:
            return None if at is None else now - max(0.0, unix - at)

        firsts: dict[str, float] = {}  # the events on two members of a loss may differ: the clocks drift
        for subject, (at, state, kept) in self.nodes.items():
            died = kept.get("offline_since", at) if state in _DEAD else None
            name = kept.get("loss", "")
            first = monotonic(firsts.setdefault(name, kept.get("loss_first", at)))
            yield Change(
                name=subject.encode(),
                before=None,
                after=State(state) if state in (*_DEAD, State.UNDECIDED) else State.ONLINE,
                at=monotonic(at) or 0.0,
                why="an earlier run of this exporter knew it so",
                died=monotonic(died),
                exact=died is not None and died == kept.get("deadline"),
                loss=Loss(name.encode(), first or 0.0) if name else None,
                evidence=Evidence(end=monotonic(kept.get("deadline")), text=kept.get("heartbeat", "").encode() or None),
            )


class JournalFile:
    """Appends lines to a file. For one thread at a time.

    The lock is on a file of its own beside the journal, since rotation renames the journal. The journal is opened
    for each write, so that it may be deleted or replaced at any time.

    Args:
        path: The file.
        max_size: Bytes after which the next line goes into a new file.
    """

    def __init__(self, path: Path, max_size: int) -> None:
        self.path, self._max_size = path, max_size
        self._lock: int | None = None

    def append(self, lines: bytes, checkpoint: Callable[[], bytes], *, anew: bool = False) -> None:
        """Append whole lines, and a checkpoint where a file begins.

        Args:
            lines: The lines.
            checkpoint: Returns a line that says all that is known.
            anew: Whether a checkpoint is needed in any case.

        Raises:
            OSError: The lines could not be written, and the file holds no part of them.
        """
        self._hold()
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size and size + len(lines) > self._max_size:
            RotatingFileHandler(self.path, backupCount=KEPT - 1, delay=True).doRollover()
        with self.path.open("ab+", buffering=0) as file:
            if size := file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the end of a process cut this line off: it must not be continued
                    lines = b"\n" + lines
            rest = lines + (checkpoint() if anew or not size else b"")
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(size)  # a line that is cut off must not stay
                raise

    def close(self) -> None:
        """Let another process write the journal."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> None:
        if self._lock is None:
            self._lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError("another process writes it") from None


def read_back(path: Path) -> tuple[list[Event], Record, int]:
    """Read the two newest files of a journal. Each begins with a checkpoint, so older ones add nothing.

    Args:
        path: The newest file.

    Returns:
        The last events, the oldest one first; what was known after the last of all events; and the number of lines that
        are neither events nor checkpoints.

    Raises:
        OSError: A file that exists cannot be read.
    """
    events: deque[Event] = deque(maxlen=MOST_EVENTS)
    record, unreadable = Record(), 0
    for line in _lines(path):
        try:
            value = json.loads(line)
            if checkpoint := value.get(CHECKPOINT):
                record = Record(checkpoint)
            else:
                events.append(event_of(value))
                record.apply(events[-1])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            unreadable += bool(line.strip())
    # In a rolling update the new process writes when the old one has ended: what it saw meanwhile comes late.
    return sorted(events, key=lambda event: event.id), record, unreadable


def _lines(path: Path) -> Iterator[bytes]:
    for part in (path.with_name(f"{path.name}.1"), path):
        if part.exists():
            with part.open("rb") as file:
                yield from file
