"""The names of all nodes, discovered in the background: which nodes a scrape reads."""

import time
from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import Final

import structlog

from exporter.errors import SourceError
from exporter.liveness import LOOK_AGAIN, Judge, State
from exporter.settings import Settings
from exporter.snapshot.snapshot import Discovered
from exporter.source import Source
from exporter.source.discovery import pause_after
from exporter.source.names import Names, names_of
from exporter.telemetry import Telemetry

PART: Final = "discovery"
"""The name of this thread, also where its internal errors are counted."""

log = structlog.get_logger(__name__)


class Discovery:
    """Scans Redis for names in a thread of its own, and keeps the names that are known.

    Only the discovery thread writes the attributes, except ``planned``, which only the thread writes that reads all
    nodes.

    Args:
        settings: The settings.
        source: The Redis installation.
        judge: The fleet's judge.
        telemetry: Counts internal errors.
        closed: Set when the fleet closes; ``wake`` must follow.
        clock: Returns monotonic seconds.

    Attributes:
        names: The nodes known now.
        workers: The keys of the workers' heartbeats; None before the first discovery.
        planned: The nodes that the scheduler's plan names.
        last: The last complete discovery; None before the first.
        error: Why the last attempt failed; empty if it succeeded.
    """

    def __init__(  # noqa: PLR0913 - what discovery depends on
        self,
        *,
        settings: Settings,
        source: Source,
        judge: Judge,
        telemetry: Telemetry,
        closed: Event,
        clock: Callable[[], float],
    ) -> None:
        self.names = Names()
        self.workers: frozenset[bytes] | None = None
        self.planned: Mapping[bytes, int] = {}
        self.last: Discovered | None = None
        self.error, self._workers = "", frozenset[bytes]()
        self._known: frozenset[bytes] = frozenset()
        self._timeout, self._interval = settings.redis.timeout, settings.discovery.interval
        self._max_nodes = settings.collector.max_nodes
        self._source, self._reader, self._judge, self._telemetry = source, source.reader(), judge, telemetry
        self._closed, self._clock = closed, clock
        self._tried, self._woken = Event(), Event()
        self._busy, self._rests_until = 0.0, float("-inf")
        self._thread = Thread(target=self._run, name=PART, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Begin the next discovery now, or end the thread if the fleet is closed.

        A second wake soon after another one has to wait: faults of Redis may come again and again.
        """
        self._woken.set()

    def wait(self) -> Names:
        """Return the nodes known now, after the first attempt to discover them.

        Raises:
            SourceError: No names were discovered yet.
        """
        if self.last is None:
            self._tried.wait(self._timeout)
        if self.last is None:
            raise SourceError(self.not_ready)
        return self.names

    @property
    def not_ready(self) -> str:
        """The reason why no names are known, in one line; empty if names were discovered once."""
        return "" if self.last else self.error or "node names are not discovered yet"

    def expect(self, planned: Mapping[bytes, int]) -> None:
        """Keep the nodes known that the plan names; if nobody has looked for the keys of some, look for them now."""
        if planned is not self.planned:
            if not planned.keys() <= self.planned.keys() | frozenset(self.names.raw):
                self.wake()
            self.planned = planned

    def discover(self) -> float:
        """Discover names once, and return the seconds until the next discovery.

        Raises:
            SourceError: Redis could not be scanned or read.
        """
        start = self._clock()
        found = self._source.discover(self._timeout)
        self._busy = found.busy
        # If Redis has lost its data, the judge must know it before names that were not found count as gone.
        self._judge.look(self._reader.read((), self._clock() + self._timeout))
        # A node stays known until a read shows that it has left: a scan may miss a node that restarts.
        known = found.names.union(self._judge.names(), self.planned)
        # A worker stays known for one search more: one that began before its end may not have met its successor.
        before = self._workers
        self._workers = found.workers if found.complete else found.workers | before
        self.workers = found.workers | before
        if known != self._known:
            self._replace_names(known)
        self._judge.keep(self.names.raw, found.names, start)
        self.last = Discovered(self._clock() - start, time.time(), self.names.over_limit)
        self.error = ""
        return pause_after(found.busy, self._interval)

    def _replace_names(self, known: frozenset[bytes]) -> None:
        """Read these nodes from now on. New nodes are judged before a scrape reads them."""
        names = names_of(known, self._max_nodes)
        if new := sorted(frozenset(names.raw).difference(self.names.raw)):
            verdicts = self._judge.look(self._reader.read(new, self._clock() + self._timeout))
            if State.UNDECIDED in verdicts.states:
                self._closed.wait(LOOK_AGAIN)
        self._known, self.names = known, names
        if names.over_limit:
            log.error("too many nodes: the last ones by name are left out", left_out=names.over_limit)

    def _run(self) -> None:
        while not self._closed.is_set():
            pause = self._interval
            try:
                pause = self.discover()
            except SourceError as error:
                self._note_failure(str(error))
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._telemetry.fault(PART, error)
            self._tried.set()
            if self._woken.wait(pause):
                self._closed.wait(max(0.0, self._rests_until - self._clock()))
                self._rests_until = self._clock() + pause_after(self._busy, 0.0)
            self._woken.clear()

    def _note_failure(self, error: str) -> None:
        """Log a new reason why names cannot be discovered; the journal logs an outage of Redis."""
        if error != self.error and not self._judge.view().outage and not self._closed.is_set():
            log.error("node names cannot be discovered", error=error)
        self.error = error
