"""Runs the stages one after the other: names, reading, verdicts, snapshot, lines. Callers share one read.

Scrapes, the page, the table and the push read the fleet through this class. The file is longer than
others because the reads, the discovery of names and the watch share the names, the judge and the times
at which Redis could not be read, and each of the three can wake another.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Lock, Thread
from typing import Final, Self

import structlog

from exporter.errors import SourceError, SourceTimeoutError
from exporter.exposition.lines import LineWriter
from exporter.exposition.portfolios import lines_of
from exporter.journal.journal import Journal
from exporter.journal.observer import Observer
from exporter.journal.portfolios import PortfolioObserver
from exporter.journal.restore import portfolio_faults
from exporter.liveness.faults import Kind
from exporter.liveness.judge import LOOK_AGAIN, Judge
from exporter.liveness.mass_loss import Thresholds
from exporter.liveness.outages import PROBED, READ, Outages
from exporter.liveness.watch import PROBE, Watch
from exporter.settings import Settings
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.portfolio_series import PortfolioSeries
from exporter.snapshot.portfolio_stage import PortfolioStage
from exporter.snapshot.read_info import Discovered, ReadInfo
from exporter.snapshot.snapshot import Part, Snapshot
from exporter.source import open_source
from exporter.source.discovery import pause_after
from exporter.source.names import Names, names_of
from exporter.source.reading import Source
from exporter.source.replies import check_values
from exporter.telemetry import Telemetry

LOG_AGAIN: Final = 60.0
"""Seconds between two log lines about the same kind of fault of Redis."""
TRY_AGAIN: Final = 1.0
"""Seconds between two attempts to read all nodes after a failed read. They show without a scrape that reads work again.
"""

REFRESH: Final = 4.0
"""Seconds between two reads of all offline nodes while a journal is written and nothing is pushed."""

log = structlog.get_logger(__name__)

Attendant = Callable[[bool], None]
"""Called after each round of the watch, in its thread. The argument says whether all offline nodes were read."""


class Fleet:
    """Reads all nodes on request, and discovers their names in the background.

    Two threads run from ``start`` to ``close``. One discovers names. The other watches Redis and the
    nodes whose state may change. A third thread reads all nodes on request, one read at a time. A
    request during a read shares this read.

    Attributes:
        discovered: The last complete discovery; None before the first.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry | None = None,
        source: Source | None = None,
        clock: Callable[[], float] = time.monotonic,
        journal: Journal | None = None,
    ) -> None:
        self.settings = settings
        self.telemetry = telemetry or Telemetry()
        self.journal = journal or Journal(None, self.telemetry, monotonic=clock)
        self.judge = Judge(
            settings.heartbeat.ttl,
            settings.heartbeat.beat,
            settings.nodes.forget_after,
            Thresholds(settings.mass_loss.nodes, settings.mass_loss.ratio, settings.mass_loss.many),
            forget_rehomed_after=settings.nodes.forget_rehomed_after,
        )
        self.outages = Outages(clock)
        self._clock = clock
        self._source = source or open_source(settings, self.telemetry.spent)
        self._maker = SnapshotMaker(
            settings.heartbeat,
            self.judge,
            self.telemetry.invalid,
            stale_gauges=settings.collector.stale_gauges,
        )
        self._lines = LineWriter()
        self._closed = Event()
        self._portfolios = PortfolioStage(
            settings, self._source.router(), self.telemetry.invalid, lines_of, clock, self._closed
        )
        self._whole, self._some = self._source.reader(), self._source.reader()
        self.watch = Watch(self.judge, self._source.reader(), settings.redis.timeout, clock)
        self._portfolio_observer = PortfolioObserver(self.journal)
        self._portfolios.remember(portfolio_faults(self.journal.earlier))
        self._observer = Observer(self.journal, self.judge, self.outages)
        self._attendants: list[Attendant] = [lambda _: self._observer.look()]
        if self.journal.has_file:
            self.watch.keep_deadlines(REFRESH)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._threads = (
            Thread(target=self._discover_on, name="discovery", daemon=True),
            Thread(target=self._watch_on, name="watch", daemon=True),
        )
        self._wake_discovery, self._wake_watch = Event(), Event()
        self._discovery_tried = Event()
        self._logged_at: dict[Kind, float] = {}
        self._collect_duration: float | None = None
        self._read_again_at = float("-inf")  # only the watch thread uses it
        self.discovered: Discovered | None = None  # only the discovery thread writes this and the next five attributes
        self._discovery_error = ""
        self._found: frozenset[bytes] = frozenset()
        self._known: frozenset[bytes] = frozenset()
        self._names = Names()
        self._workers: frozenset[bytes] | None = None
        self._planned: frozenset[bytes] = frozenset()  # only the reader's thread writes it: nodes that the plan names
        self._lock = Lock()  # for the next attribute, the current read
        self._current: Future[Snapshot] | None = None
        self.judge.on_changes(self._wake_on_changes)
        self.judge.on_faults(self._log_fault)

    def start(self) -> Self:
        """Start the threads."""
        self.journal.start()
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Stop all threads and close all connections; a current read fails."""
        self._closed.set()
        self._wake_discovery.set()
        self._wake_watch.set()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._source.close()
        self.journal.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def not_ready(self) -> str:
        """The reason why the fleet cannot be read, in one line; empty if names were discovered and Redis answers."""
        if error := self.outages.error(PROBED):
            return error
        if self.discovered is None:
            return self._discovery_error or "node names are not discovered yet"
        return "" if self.outages.ever_answered else "Redis was not asked yet"

    @property
    def names(self) -> Names:
        """The nodes known now."""
        return self._names

    @property
    def info(self) -> ReadInfo:
        """Facts about the last read, discovery and Redis."""
        return ReadInfo(
            self._collect_duration,
            self.discovered,
            self.judge.server,
            self.judge.writes_refused_since() is not None,
            self._source.missing_rights(),
            self.settings.nodes.expected,
        )

    def attend(self, attendant: Attendant, refresh: float) -> None:
        """Watch each node's deadline from now on, and call ``attendant`` after each round of the watch.

        Args:
            attendant: See ``Attendant``.
            refresh: Seconds between two reads of all offline nodes.
        """
        self._attendants.insert(0, attendant)
        self.watch.keep_deadlines(refresh)

    def request(self) -> "Future[Snapshot]":
        """Return the current read, or begin one; the exception of a failed read is a SourceError."""
        with self._lock:
            current = self._current
            if current and not current.done():
                return current
            current = self._current = self._executor.submit(self._read)
        current.add_done_callback(self._let_go)
        return current

    def _let_go(self, done: "Future[Snapshot]") -> None:
        """Drop the reference to a finished read, so that its snapshot does not stay in memory during the next read."""
        with self._lock:
            if self._current is done:
                self._current = None

    def read(self, timeout: float | None = None) -> Snapshot:
        """Read all nodes, or share the current read, and return the snapshot.

        Args:
            timeout: Seconds to wait at most, and never longer than ``--redis.timeout``; None for that time.

        Raises:
            SourceError: Redis could not be read in time.
        """
        limit = self.settings.redis.timeout
        try:
            return self.request().result(limit if timeout is None else min(timeout, limit))
        except TimeoutError:
            raise SourceTimeoutError("Redis did not answer in time") from None

    def look(self) -> Snapshot:
        """Discover names and read the nodes once, in the caller's thread; for a fleet that was not started.

        Raises:
            SourceError: Redis could not be read.
        """
        self._discover(self.settings.discovery.interval)
        snapshot = self._read()
        if not self._planned.difference(self._names.raw):
            return snapshot
        self._discover(self.settings.discovery.interval)  # the plan names nodes whose keys nobody has looked for
        return self._read()

    def _read(self) -> Snapshot:
        start = self._clock()
        deadline = start + self.settings.redis.timeout
        try:
            names = self._discovered_names()
            parts, lists = self._parts(names, deadline)
            portfolios = self._portfolio_series(names, parts, lists, deadline)
            reason = self._portfolios.error
        except SourceError as error:
            self.outages.failed(READ, error, start)
            raise
        finally:
            self._collect_duration = self._clock() - start
        self.outages.succeeded(READ)
        return replace(self._maker.snapshot(names, parts), portfolios=portfolios, portfolios_error=reason)

    def _discovered_names(self) -> Names:
        if not self._discovery_tried.wait(self.settings.redis.timeout) or self.discovered is None:
            raise SourceError(self._discovery_error or "node names are not discovered yet")
        return self._names

    def _portfolio_series(
        self, names: Names, parts: Sequence[Part], lists: Sequence[bytes | None], deadline: float
    ) -> PortfolioSeries | None:
        workers = None if self.judge.excuses_heartbeats() else self._workers
        series = self._portfolios.series(names, parts, lists, workers, parts[-1].wall, deadline)
        if series:
            self.judge.set_leftovers(series.reading.leftovers)
            self._portfolio_observer.see(series.reading)
        planned = self._portfolios.planned_nodes
        if planned is not self._planned:
            if not planned <= self._planned.union(names.raw):
                self._wake_discovery.set()  # nobody has looked for the keys of some of them
            self._planned = planned
        return series

    def _parts(self, names: Names, deadline: float) -> tuple[list[Part], list[bytes | None]]:
        """Read, judge and write all nodes part by part, and return their lists; meanwhile Redis works on the next."""
        parts: list[Part] = []
        lists: list[bytes | None] = []
        start = 0
        for reading in self._whole.parts(names.raw, deadline):
            positions = range(start, start + len(reading.names))
            start = positions.stop
            verdicts = self.judge.judge(reading, of=len(names.raw))
            try:
                part = self._maker.part(names, positions, reading, verdicts)
            except Exception:
                check_values(reading.fields)  # raises what a reply of another shape means
                raise
            parts.append(replace(part, lines=self._lines.write(part)))
            lists += reading.loaded_lists
        if names is not self._names:
            self.judge.keep(self._names.raw)  # discovery dropped nodes during the read, and the read judged them again
        return parts, lists

    def _discover_on(self) -> None:
        interval = self.settings.discovery.interval
        while not self._closed.is_set():
            pause = interval
            try:
                pause = self._discover(interval)
            except SourceError as error:
                self._log_failed_discovery(str(error))
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self.telemetry.fault("discovery", error)
            finally:
                self._discovery_tried.set()
            self._wake_discovery.wait(pause)
            self._wake_discovery.clear()

    def _log_failed_discovery(self, error: str) -> None:
        """Log a new reason why names cannot be discovered; ``outages`` logs an outage of Redis."""
        if error != self._discovery_error and not self.outages.since and not self._closed.is_set():
            log.error("node names cannot be discovered", error=error)
        self._discovery_error = error

    def _discover(self, interval: float) -> float:
        """Discover names once, and return the seconds until the next discovery."""
        start = self._clock()
        awaited = frozenset(self.judge.awaited(start))  # the scan may miss a node that beats again during the scan
        found = self._source.discover(self.settings.redis.timeout)
        # If Redis has lost its data, the judge must know it before names that were not found count as gone.
        seen = self._some.read((), self._clock() + self.settings.redis.timeout)
        self.judge.observe(seen.server, seen.at)
        self.judge.found(found.names, start)
        # A name stays known for one more round, because a restarting node may have had no keys during the scan.
        known = found.names | self._found | awaited | frozenset(self.judge.awaited(self._clock())) | self._planned
        if not found.complete:  # a server that was not scanned may hold keys of any known name
            # What scans find that end at a bound has no end: only the names that are exported stay known.
            known |= frozenset(self._names.raw) if found.cut else self._known
        self._found = found.names
        self._workers = found.workers if found.complete else found.workers | (self._workers or frozenset())
        if known != self._known:
            self._replace_names(known)
        self.discovered = Discovered(self._clock() - start, time.time(), self._names.over_limit)
        self._discovery_error = ""
        self._discovery_tried.set()
        return pause_after(found.busy, interval)

    def _replace_names(self, known: frozenset[bytes]) -> None:
        """Read these nodes from now on. New nodes are judged before a scrape reads them."""
        names = names_of(known, self.settings.collector.max_nodes)
        if new := sorted(frozenset(names.raw).difference(self._names.raw)):
            self.judge.judge(self._some.read(new, self._clock() + self.settings.redis.timeout))
            self._closed.wait(LOOK_AGAIN)
        self._known, self._names = known, names
        self.judge.keep(names.raw)
        if names.over_limit:
            log.error("too many nodes: the last ones by name are left out", left_out=names.over_limit)

    def _watch_on(self) -> None:
        while not self._closed.is_set():
            try:
                refreshed = self._look()
                for attendant in self._attendants:
                    attendant(refreshed)
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self.telemetry.fault("watch", error)
                self._closed.wait(PROBE)
            self._wake_watch.wait(self.watch.wait())
            self._wake_watch.clear()

    def _look(self) -> bool:
        """Let the watch read the nodes that are due, and return whether it read all offline nodes."""
        if not self._probe():
            return False
        if self.outages.error(READ) and self._clock() >= self._read_again_at:
            self._read_again_at = self._clock() + TRY_AGAIN
            self.request()
        try:
            return self.watch.look(self._names.raw)
        except SourceError as error:
            log.debug("the watch could not read nodes", error=str(error))
            return False

    def _probe(self) -> bool:
        """Probe Redis if a probe is due, and return whether Redis answered the last probe."""
        start = self._clock()
        try:
            if self.watch.probe() and self.outages.succeeded(PROBED):
                self._wake_discovery.set()
        except SourceError as error:
            if not self._closed.is_set():
                self.outages.failed(PROBED, error, start)
        return not self.outages.error(PROBED)

    def _wake_on_changes(self, _: object) -> None:
        self._wake_watch.set()

    def _log_fault(self, kind: Kind) -> None:
        now = self._clock()
        if now - self._logged_at.get(kind, float("-inf")) >= LOG_AGAIN:
            self._logged_at[kind] = now
            log.warning("Redis was at fault: nodes without heartbeat get time to beat", fault=kind.value)
        self._wake_discovery.set()
