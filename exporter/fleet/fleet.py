"""Puts the parts of a fleet together for scrapes, page, table and push."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event
from typing import Final, Self

import structlog

from exporter.exposition.portfolios import lines_of
from exporter.fleet.discovery import Discovery
from exporter.fleet.rounds import Attendant, Rounds
from exporter.fleet.shared_read import SharedRead
from exporter.fleet.snapshot_reader import SnapshotReader
from exporter.journal.journal import Journal
from exporter.journal.observer import Observer
from exporter.journal.portfolios import PortfolioObserver
from exporter.journal.restore import portfolio_faults
from exporter.liveness.faults import Kind
from exporter.liveness.judge import Judge
from exporter.liveness.mass_loss import Thresholds
from exporter.liveness.outages import PROBED, Outages
from exporter.liveness.watch import Watch
from exporter.settings import Settings
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.portfolio_stage import PortfolioStage
from exporter.snapshot.read_info import Discovered, ReadInfo
from exporter.snapshot.snapshot import Snapshot
from exporter.source import Source, open_source
from exporter.source.names import Names
from exporter.telemetry import Telemetry

LOG_AGAIN: Final = 60.0
"""Seconds between two log lines about the same kind of fault of Redis."""
REFRESH: Final = 4.0
"""Seconds between two reads of all offline nodes while a journal is written and nothing is pushed."""
_WITHOUT_NEW_NAMES: Final = frozenset((Kind.REFUSED, Kind.PAUSED, Kind.CUT_OFF))
"""Faults during which no new node can write its keys, or none that is read here. They may come every second."""

log = structlog.get_logger(__name__)


class Fleet:
    """Reads all nodes on request, and discovers their names in the background.

    Two threads run from ``start`` to ``close``. One discovers names. The other watches Redis and the
    nodes whose state may change. A third thread reads all nodes on request, one read at a time. A
    request during a read shares this read.

    Attributes:
        settings, telemetry, journal: What the caller passed, or new ones.
        judge: Decides which nodes are alive.
        outages: When Redis could not be read.
        discovery: Knows the nodes' names.
        reader: Reads all nodes once, in the caller's thread.
        watch: Decides which nodes are read beside the scrapes.
        rounds: Runs the watch.
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
        self._clock, self._closed = clock, Event()
        self._source = source or open_source(settings, self.telemetry.spent)
        self.discovery = Discovery(
            settings=settings,
            source=self._source,
            judge=self.judge,
            outages=self.outages,
            telemetry=self.telemetry,
            closed=self._closed,
            clock=clock,
        )
        self.reader = self._snapshot_reader()
        self._shared = SharedRead(self.reader.read, settings.redis.timeout)
        self.watch = Watch(self.judge, self._source.reader(), settings.redis.timeout, clock)
        self.rounds = Rounds(
            watch=self.watch,
            discovery=self.discovery,
            outages=self.outages,
            telemetry=self.telemetry,
            request=self.request,
            closed=self._closed,
            clock=clock,
        )
        observer = Observer(self.journal, self.judge, self.outages)
        self.rounds.attendants.append(lambda _: observer.look())
        if self.journal.has_file:
            self.watch.keep_deadlines(REFRESH)
        self._logged_at: dict[Kind, float] = {}
        self.judge.on_changes(lambda _: self.rounds.wake())
        self.judge.on_faults(self._log_fault)

    def _snapshot_reader(self) -> SnapshotReader:
        settings, invalid = self.settings, self.telemetry.invalid
        portfolios = PortfolioStage(settings, self._source, invalid, lines_of, self._clock, self._closed)
        portfolios.remember(portfolio_faults(self.journal.earlier))
        return SnapshotReader(
            discovery=self.discovery,
            reader=self._source.reader(),
            judge=self.judge,
            maker=SnapshotMaker(settings.heartbeat, self.judge, invalid, stale_gauges=settings.collector.stale_gauges),
            portfolios=portfolios,
            observer=PortfolioObserver(self.journal),
            outages=self.outages,
            timeout=settings.redis.timeout,
            clock=self._clock,
        )

    def start(self) -> Self:
        """Start the threads."""
        self.journal.start()
        self.discovery.start()
        self.rounds.start()
        return self

    def close(self) -> None:
        """Stop all threads and close all connections; a current read fails."""
        self._closed.set()
        self.discovery.wake()
        self.rounds.wake()
        self._shared.close()
        self._source.close()
        self.journal.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def not_ready(self) -> str:
        """The reason why the fleet cannot be read, in one line; empty if names were discovered and Redis answers."""
        if reason := self.outages.error(PROBED) or self.discovery.not_ready:
            return reason
        return "" if self.outages.ever_answered else "Redis was not asked yet"

    @property
    def names(self) -> Names:
        """The nodes known now."""
        return self.discovery.names

    @property
    def discovered(self) -> Discovered | None:
        """The last complete discovery; None before the first."""
        return self.discovery.last

    @property
    def info(self) -> ReadInfo:
        """Facts about the last read, discovery and Redis."""
        return ReadInfo(
            self.reader.duration,
            self.discovered,
            self.judge.server,
            self.judge.writes_refused_since() is not None,
            self._source.missing_rights(),
            self.settings.nodes.expected,
        )

    def planned_portfolios(self, name: bytes) -> int:
        """Return how many portfolios the plan gave to a node at the last read of all nodes; 0 without a plan."""
        return self.reader.planned_portfolios(name)

    def attend(self, attendant: Attendant, refresh: float) -> None:
        """Watch each node's deadline from now on, and call ``attendant`` after each round of the watch.

        Args:
            attendant: See ``rounds.Attendant``.
            refresh: Seconds between two reads of all offline nodes.
        """
        self.rounds.attendants.insert(0, attendant)
        self.watch.keep_deadlines(refresh)

    def request(self) -> "Future[Snapshot]":
        """Return the current read, or begin one; the exception of a failed read is a SourceError."""
        return self._shared.request()

    def read(self, timeout: float | None = None) -> Snapshot:
        """Read all nodes, or share the current read, and return the snapshot.

        Args:
            timeout: Seconds to wait at most, and never longer than ``--redis.timeout``; None for that time.

        Raises:
            SourceError: Redis could not be read in time.
        """
        return self._shared.read(timeout)

    def look(self) -> Snapshot:
        """Discover names and read the nodes once, in the caller's thread; for a fleet that was not started.

        Raises:
            SourceError: Redis could not be read.
        """
        self.discovery.discover()
        snapshot = self.reader.read()
        if not self.discovery.planned.difference(self.names.raw):
            return snapshot
        self.discovery.discover()  # the plan names nodes whose keys nobody has looked for
        return self.reader.read()

    def _log_fault(self, kind: Kind) -> None:
        now = self._clock()
        if now - self._logged_at.get(kind, float("-inf")) >= LOG_AGAIN:
            self._logged_at[kind] = now
            log.warning("Redis was at fault: nodes without heartbeat get time to beat", fault=kind.value)
        if kind not in _WITHOUT_NEW_NAMES:
            self.discovery.wake()
        self.rounds.wake()
