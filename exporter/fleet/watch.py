"""The two loops in the background: the watch, and the discovery of names.

The watch looks at Redis so often that no verdict waits, and passes all changes on. Discovery finds which nodes a scrape
reads.

Each look asks for what Redis says about itself, and reads the nodes whose state may change. While all is well there is
one look a second: a silence of more than 5 s is a gap, so rarer looks would have to prolong that time. While anything
is wrong, there are four looks a second. A read of another thread takes the place of the next look.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from typing import Any, Final

import structlog

from exporter.errors import SourceError
from exporter.liveness import LOOK_AGAIN, Change, Judge, State, View
from exporter.liveness.chance import DELETED, RESTARTED
from exporter.liveness.changes import NEVER
from exporter.settings import Settings
from exporter.snapshot.snapshot import Discovered
from exporter.source import Reader, Source
from exporter.source.discovery import pause_after
from exporter.source.reading import Names, names_of
from exporter.telemetry import Telemetry

LOOK: Final = 0.25
"""Seconds between two looks while anything is wrong."""
CALM_LOOKS: Final = 30
"""Number of looks in a TTL while all is well, and at least one a second."""
SLACK: Final = 0.002
"""Seconds from a deadline to the look at its node: by then Redis has surely expired the heartbeat."""
SLOT: Final = 0.05
"""Shortest time between two looks, in seconds: deadlines that are close together share a look."""
TRY_AGAIN: Final = 1.0
"""Seconds between two attempts to read all nodes after a failure, so that it shows without a scrape that reads work.

It is also the time until the next turn after an internal error.
"""
PROBED, READ, IN_FULL = "probe", "read", "read in full"
"""The operations that can fail: a look of the watch, a read of all nodes, and in a cluster one of all primaries."""

Attendant = Callable[[Sequence[Change], View], None]
"""Called with all changes since the last call, and with the view that holds them, in the thread of the watch."""

log = structlog.get_logger(__name__)


class Loop(Thread):
    """A thread that takes turns until the fleet closes.

    Args:
        part: The name of the thread, also where its internal errors are counted.
        telemetry: Counts internal errors.
        closed: Set when the fleet closes; ``wake`` must follow.
        clock: Returns monotonic seconds.
    """

    def __init__(self, part: str, telemetry: Telemetry, closed: Event, clock: Callable[[], float]) -> None:
        super().__init__(name=part, daemon=True)
        self._telemetry, self._closed, self._clock, self._rung = telemetry, closed, clock, Event()

    def wake(self) -> None:
        """Begin the next turn now, or end the thread if the fleet is closed."""
        self._rung.set()

    def turn(self) -> float:
        """Do what is due, and return the seconds until the next turn."""
        raise NotImplementedError

    def run(self) -> None:
        """Take turns."""
        while not self._closed.is_set():
            pause = TRY_AGAIN
            try:
                pause = self.turn()
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._telemetry.fault(self.name, error)
            self._rung.wait(pause)
            self._rung.clear()


class Watch(Loop):
    """Looks at Redis in a thread of its own, and calls the attendants after each look and after each change.

    Args:
        judge: The fleet's judge.
        reader: A reader of the watch's own.
        request: Begins a read of all nodes; does nothing while one runs.
        timeout: Seconds that one look may take.
        shared: What each ``Loop`` needs.

    Attributes:
        attendants: Called in this order.
        full: Whether to look at each node when its heartbeat should have ended, and to read all nodes every half TTL.
        read_at: When a read of all nodes last began. The thread that reads writes it.
    """

    def __init__(
        self, judge: Judge, reader: Reader, request: Callable[[], object], timeout: float, *shared: Any
    ) -> None:
        super().__init__("watch", *shared)
        self.attendants: list[Attendant] = []
        self.full = False
        self.read_at = self._looked = self._requested = self._due = NEVER
        self._judge, self._reader, self._request, self._timeout = judge, reader, request, timeout
        self._calm = min(1.0, max(LOOK, judge.ttl / CALM_LOOKS))
        self._read_due = -NEVER  # when to begin the next read of all nodes

    def next(self) -> float:
        """Return when the next look is due, in monotonic seconds."""
        view, half = self._judge.view(), self._judge.ttl / 2
        if PROBED in view.errors:
            return self._looked + LOOK
        calm = view.calm and not view.counts[State.UNDECIDED]
        due = max(self._looked, view.answered) + self._calm if calm else self._looked + LOOK
        read = max(self.read_at, self._requested)
        self._read_due = self._requested + TRY_AGAIN if READ in view.errors else read + half if self.full else -NEVER
        if self.full:  # what ends after the next read of all nodes is seen by that read
            due = min(due, self._judge.next_end(read + half + 1.0) + SLACK)
        return max(min(due, self._read_due), self._looked + SLOT)

    def look(self) -> None:
        """Look at Redis, and at the nodes whose state may change; begin a read of all nodes if one is due."""
        now = self._looked = self._clock()
        try:
            self._judge.look(self._reader.read(self._judge.due(now, full=self.full), now + self._timeout))
        except SourceError as error:
            if not self._closed.is_set():
                self._judge.failed(PROBED, str(error), now)
            return
        self._judge.succeeded(PROBED, self._clock())
        if now >= self._read_due and not self._closed.is_set():
            self._requested = now
            self._request()

    def turn(self) -> float:
        """Look if a look is due, and pass the changes on."""
        if self._clock() >= self._due:
            self.look()
        self.tell()
        self._due = self.next()
        return max(0.0, self._due - self._clock())

    def tell(self) -> None:
        """Pass the changes on to all attendants. Read all nodes after a loss: so their next beats are seen at once."""
        changes, view = self._judge.take()
        if any(change.after in {RESTARTED, DELETED} for change in changes) and not self._closed.is_set():
            self._request()
        for attendant in self.attendants:
            try:
                attendant(changes, view)
            except Exception as error:  # noqa: BLE001 - an attendant must not keep the changes from the others
                self._telemetry.fault(self.name, error)


class Discovery(Loop):
    """Scans Redis for names in a thread of its own, and keeps the names that are known.

    Only the discovery thread writes the attributes, except ``planned``, which only the thread writes that reads all
    nodes. A second wake soon after another one has to wait: faults of Redis may come again and again.

    Args:
        settings: The settings.
        source: The Redis installation.
        judge: The fleet's judge.
        shared: What each ``Loop`` needs.

    Attributes:
        names: The nodes known now.
        workers: The keys of the workers' heartbeats; None before the first discovery.
        planned: The nodes that the scheduler's plan names.
        last: The last complete discovery, or the first one if none was complete; None before the first.
        error: Why the last attempt failed; empty if it succeeded.
    """

    def __init__(self, settings: Settings, source: Source, judge: Judge, *shared: Any) -> None:
        super().__init__("discovery", *shared)
        self.names = Names()
        self.workers: frozenset[bytes] | None = None
        self.planned: Mapping[bytes, int] = {}
        self.last: Discovered | None = None
        self.error, self._workers = "", frozenset[bytes]()
        self._known: frozenset[bytes] = frozenset()
        self._timeout, self._interval = settings.redis.timeout, settings.discovery.interval
        self._max_nodes = settings.collector.max_nodes
        self._source, self._judge = source, judge
        self._tried = Event()
        self._busy, self._due, self._rests_until = 0.0, NEVER, NEVER

    def wait(self) -> Names:
        """Return the nodes known now, after the first attempt to discover them.

        Raises:
            SourceError: No names were discovered yet.
        """
        if self.last is None:  # the first attempt may have begun later than this read: its error tells the cause
            self._tried.wait(2 * self._timeout)
        if self.last is None:
            raise SourceError(self.not_ready)
        return self.names

    @property
    def not_ready(self) -> str:
        """The reason why no names are known, in one line; empty if names were discovered once."""
        return "" if self.last else self.error or "node names are not discovered yet"

    def expect(self, planned: Mapping[bytes, int]) -> None:
        """Keep the nodes known that the plan names; if nobody has looked for the keys of some, look for them now."""
        self.planned = planned
        if not planned.keys() <= self._known:
            self.wake()

    def discover(self) -> float:
        """Discover names once, and return the seconds until the next discovery.

        Raises:
            SourceError: Redis could not be scanned or read.
        """
        start = self._clock()
        found = self._source.discover(self._timeout)
        self._busy = found.busy
        # A node stays known until a read shows that it has left: a scan may miss a node that restarts.
        known = found.names.union(self._judge.names(), self.planned)
        # A worker stays known for one search more: one that began before its end may not have met its successor.
        self.workers = found.workers | self._workers
        self._workers = found.workers if found.complete else self.workers
        if known != self._known:
            self._replace_names(known)
        self._judge.leave_out(known.difference(self.names.raw), self._clock())
        self._judge.find(found.names, start)
        if found.complete or self.last is None:
            self.last = Discovered(self._clock() - start, time.time(), self.names.over_limit)
        self.error = ""
        return pause_after(found.busy, self._interval)

    def _replace_names(self, known: frozenset[bytes]) -> None:
        """Read these nodes from now on. New nodes are judged before a scrape reads them."""
        names = names_of(known, self._max_nodes)
        if new := sorted(frozenset(names.raw).difference(self.names.raw)):
            parts = self._source.reader().parts(new, self._clock() + self._timeout)
            absent = [self._judge.look(reading).absent for reading in parts]
            if any(absent):
                self._closed.wait(LOOK_AGAIN)
        self._known, self.names = known, names
        if names.over_limit:
            log.error("too many nodes: the last ones by name are left out", left_out=names.over_limit)

    def turn(self) -> float:
        """Discover names, and return the seconds until the next discovery."""
        if self._clock() < self._due:  # it was woken
            self._closed.wait(max(0.0, self._rests_until - self._clock()))
            self._rests_until = self._clock() + pause_after(self._busy, 0.0)
        before, pause = self.error, self._interval
        try:
            pause = self.discover()
        except SourceError as error:
            self.error = str(error)
        finally:
            self._tried.set()
        # The journal tells of an outage of Redis.
        if self.error not in ("", before) and not self._judge.view().errors and not self._closed.is_set():
            log.error("node names cannot be discovered", error=self.error)
        self._due = self._clock() + pause
        return pause
