"""The names of all nodes, discovered in the background: which nodes a scrape reads."""

import time
from collections.abc import Mapping
from threading import Event
from typing import Any

import structlog

from exporter.errors import SourceError
from exporter.fleet.watch import Loop
from exporter.liveness import LOOK_AGAIN, Judge
from exporter.liveness.changes import NEVER
from exporter.settings import Settings
from exporter.snapshot.snapshot import Discovered
from exporter.source import Source
from exporter.source.discovery import pause_after
from exporter.source.reading import Names, names_of

log = structlog.get_logger(__name__)


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
        last: The last complete discovery; None before the first.
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
        self.last, self.error = Discovered(self._clock() - start, time.time(), self.names.over_limit), ""
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
        pause = self._interval
        try:
            pause = self.discover()
        except SourceError as error:
            self._note_failure(str(error))
        finally:
            self._tried.set()
        self._due = self._clock() + pause
        return pause

    def _note_failure(self, error: str) -> None:
        """Log a new reason why names cannot be discovered; the journal logs an outage of Redis."""
        if error != self.error and not self._judge.view().errors and not self._closed.is_set():
            log.error("node names cannot be discovered", error=error)
        self.error = error
