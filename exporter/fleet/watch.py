"""The watch: looks at Redis so often that no verdict waits, and passes all changes on.

Each look asks for what Redis says about itself, and reads the nodes whose state may change. While all is well there is
one look a second: a silence of more than 5 s is a gap, so rarer looks would have to prolong that time. While anything
is wrong, there are four looks a second. A read of another thread takes the place of the next look.
"""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Final

from exporter.errors import SourceError
from exporter.liveness import Change, Judge, View
from exporter.source import Reader
from exporter.telemetry import Telemetry

LOOK: Final = 0.25
"""Seconds between two looks while anything is wrong."""
CALM_LOOKS: Final = 30
"""Number of looks in a TTL while all is well, and at least one a second."""
SLACK: Final = 0.002
"""Seconds from a deadline to the look at its node: by then Redis has surely expired the heartbeat."""
SLOT: Final = 0.05
"""Shortest time between two looks, in seconds: deadlines that are close together share a look."""
REFRESH: Final = 4.0
"""Seconds between two looks at all offline nodes: alerts about nodes that are back must not be posted again."""
TRY_AGAIN: Final = 1.0
"""Seconds between two attempts to read all nodes after a failure, so that it shows without a scrape that reads work."""
PROBED, READ = "probe", "read"
"""The operations that can fail: a look of the watch, and a read of all nodes."""
PART: Final = "watch"
"""The name of this thread, also where its internal errors are counted."""

Attendant = Callable[[Sequence[Change], View], None]
"""Called with all changes since the last call, and with the view that holds them, in the thread of the watch."""


class Watch:
    """Looks at Redis in a thread of its own, and calls the attendants after each look and after each change.

    Args:
        judge: The fleet's judge.
        reader: A reader of the watch's own.
        request: Begins a read of all nodes; does nothing while one runs.
        telemetry: Counts internal errors.
        closed: Set when the fleet closes; ``wake`` must follow.
        timeout: Seconds that one look may take.
        clock: Returns monotonic seconds.

    Attributes:
        attendants: Called in this order.
        full: Whether to look at each node when its heartbeat should have ended, and to read all nodes every half TTL.
        read_at: When a read of all nodes last began. The thread that reads writes it.
    """

    def __init__(  # noqa: PLR0913 - the watch joins all parts of the fleet
        self,
        judge: Judge,
        reader: Reader,
        request: Callable[[], object],
        *,
        telemetry: Telemetry,
        closed: Event,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.attendants: list[Attendant] = []
        self.full = False
        self.read_at = float("-inf")
        self._judge, self._reader, self._request, self._telemetry = judge, reader, request, telemetry
        self._closed, self._timeout, self._clock = closed, timeout, clock
        self._calm = min(1.0, max(LOOK, judge.rules.ttl / CALM_LOOKS))
        self._looked = self._requested = self._refreshed = float("-inf")
        self._read_due = float("inf")  # when to begin the next read of all nodes
        self._rung = Event()
        self._thread = Thread(target=self._run, name=PART, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Pass the changes on now that a read of another thread has made, or end the thread if the fleet is closed."""
        self._rung.set()

    def next(self) -> float:
        """Return when the next look is due, in monotonic seconds."""
        # What ends after the next read of all nodes is seen by that read.
        by = max(self.read_at, self._requested) + self._judge.rules.ttl / 2 + 1.0 if self.full else float("-inf")
        answered, calm, errors, node_due = self._judge.pace(by)
        if PROBED in errors:
            return self._looked + LOOK
        due = max(self._looked, answered) + self._calm if calm else self._looked + LOOK
        half = max(self.read_at, self._requested) + self._judge.rules.ttl / 2 if self.full else float("inf")
        self._read_due = self._requested + TRY_AGAIN if READ in errors else half
        due = min(due, self._read_due)
        if self.full:
            due = min(due, self._refreshed + REFRESH, node_due + SLACK)
        return max(due, self._looked + SLOT)

    def look(self) -> None:
        """Look at Redis, and at the nodes whose state may change; begin a read of all nodes if one is due."""
        now = self._looked = self._clock()
        refresh = self.full and now >= self._refreshed + REFRESH
        try:
            names = self._judge.due(now, deadlines=self.full, offline=refresh)
            self._judge.look(self._reader.read(names, now + self._timeout))
        except SourceError as error:
            if not self._closed.is_set():
                self._judge.failed(PROBED, str(error), now)
            return
        self._judge.succeeded(PROBED, self._clock())
        self._refreshed = now if refresh else self._refreshed
        if now >= self._read_due and not self._closed.is_set():
            self._requested = now
            self._request()

    def _run(self) -> None:
        due = self.next()
        while not self._closed.is_set():
            try:
                if self._clock() >= due:
                    self.look()
                self.tell()
                due = self.next()
                self._rung.wait(max(0.0, due - self._clock()))
                self._rung.clear()
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._telemetry.fault(PART, error)
                self._closed.wait(LOOK)

    def tell(self) -> None:
        """Pass the changes on to all attendants."""
        changes, view = self._judge.take()
        for attendant in self.attendants:
            try:
                attendant(changes, view)
            except Exception as error:  # noqa: BLE001 - an attendant must not keep the changes from the others
                self._telemetry.fault(PART, error)
