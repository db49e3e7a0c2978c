"""A simulated exporter: the real judge, ledger, snapshot and exposition, on a simulated Redis."""

from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import Final

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.registry import Collector

from exporter.exposition.collector import read_families
from exporter.exposition.lines import LineWriter
from exporter.exposition.portfolios import lines_of
from exporter.exposition.text import Format, exposition
from exporter.journal.journal import Journal
from exporter.liveness.judge import Judge, Verdicts
from exporter.liveness.watch import Watch
from exporter.settings import Heartbeat, load
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.portfolio_stage import PortfolioStage
from exporter.snapshot.read_info import Discovered, ReadInfo
from exporter.snapshot.snapshot import Snapshot
from exporter.source.names import Names, names_of
from exporter.source.reading import Reading
from exporter.telemetry import Telemetry
from lab.simulated.connection import SimulatedSource
from lab.simulated.redis_server import TTL, SimulatedRedis
from lab.simulated.timeline import Timeline

LOOK: Final = 1.0
"""Seconds between two probes of Redis. The real exporter probes four times as often, with the same verdicts."""
DISCOVERY: Final = 10.0


class Liveness:
    """The real judge and the real watch. No other class of the simulation uses them directly."""

    def __init__(self, redis: SimulatedRedis, timeline: Timeline) -> None:
        self.judge = Judge(TTL, TTL / 3)
        self._redis, self._timeline = redis, timeline
        self._watch = Watch(self.judge, redis, timeout=5.0, clock=lambda: timeline.now)  # type: ignore[arg-type] # it reads whole

    def look(self, names: Names) -> None:
        """Probe Redis, and read the nodes whose state may change."""
        if self._watch.probe():
            self._watch.look(names.raw)

    def known(self, found: frozenset[bytes], before: Names) -> frozenset[bytes]:
        """Return the nodes found and the nodes that the judge still waits for; new nodes are judged once."""
        now = self._timeline.now
        self.judge.observe(self._redis.server(), now)
        self.judge.found(found, now)
        known = found | frozenset(self.judge.awaited(now))
        if new := sorted(known.difference(before.raw)):
            self.judge.judge(self._redis.read(new, now))
        self.judge.keep(known)
        return known

    def read(self, names: Names) -> tuple[Reading, Verdicts]:
        """Read and judge nodes."""
        reading = self._redis.read(names.raw, self._timeline.now)
        return reading, self.judge.judge(reading)

    def info(self, discovered: Discovered | None, expected: int | None) -> ReadInfo:
        """Return the data of a read beside the nodes' values."""
        refused = self.judge.writes_refused_since() is not None
        return ReadInfo(0.01, discovered, self.judge.server, refused, expected=expected)


class _Pause(Event):
    """Lets simulated time pass instead of waiting."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline

    def wait(self, timeout: float | None = None) -> bool:
        self._timeline.let_pass(timeout or 0.0)
        return False


def _telemetry() -> Telemetry:
    """Return metrics without those of the process: they cost a fifth of a simulated scrape, and no rule reads them."""
    telemetry = Telemetry()
    for collector in list(telemetry.registry._collector_to_names):
        if isinstance(collector, GCCollector | PlatformCollector | ProcessCollector):
            telemetry.registry.unregister(collector)
    return telemetry


class SimulatedExporter:
    """One exporter: it probes Redis, discovers names and answers scrapes.

    Args:
        redis: The Redis that it reads.
        timeline: The simulated time.
        max_nodes: ``--collector.max-nodes``.
        expected: ``--nodes.expected``.
        stale_gauges: ``--collector.stale-gauges``.
        max_listed: ``--portfolios.max-listed``.
    """

    def __init__(  # noqa: PLR0913 - a declaration in keywords
        self,
        redis: SimulatedRedis,
        timeline: Timeline,
        *,
        max_nodes: int = 100_000,
        expected: int | None = None,
        stale_gauges: bool = False,
        max_listed: int = 100,
    ) -> None:
        self._redis, self._timeline, self._stale_gauges = redis, timeline, stale_gauges
        self._max_nodes, self._expected = max_nodes, expected
        self._settings = load({"portfolios.max-listed": str(max_listed)})
        self.running = False
        self.reads_redis = True
        self.discovers = True
        timeline.every(LOOK, timeline.now, self._look)
        timeline.every(DISCOVERY, timeline.now, self._discover)
        self.start()

    def start(self) -> None:
        """Start as a new process, without any memory of nodes."""
        self.running = True
        self.telemetry = _telemetry()
        self.journal = Journal(None, self.telemetry)
        self._liveness = Liveness(self._redis, self._timeline)
        self._maker = SnapshotMaker(
            Heartbeat(ttl=TTL),
            self._liveness.judge,
            self.telemetry.invalid,
            stale_gauges=self._stale_gauges,
        )
        self._portfolios = PortfolioStage(
            self._settings,
            SimulatedSource(self._redis),  # type: ignore[arg-type] # it has all that is asked of a source
            self.telemetry.invalid,
            lines_of,
            lambda: self._timeline.now,
            _Pause(self._timeline),
        )
        self._workers: frozenset[bytes] = frozenset()
        self._lines = LineWriter()
        self._found: frozenset[bytes] = frozenset()
        self._known: frozenset[bytes] = frozenset()
        self._names = Names()
        self._discovered: Discovered | None = None
        self._discover()

    def scrape(self) -> str | None:
        """Return the metrics that it exports now; None if it is down."""
        if not self.running:
            return None
        snapshot = self._snapshot() if self._readable and self._discovered else None
        info = self._liveness.info(self._discovered, self._expected)
        own = _Families([*read_families(snapshot, info), *self._own_errors()])
        pieces = [*(exposition(snapshot, Format.TEXT) if snapshot else ()), generate_latest(own)]
        return b"".join(pieces).decode()

    @property
    def _readable(self) -> bool:
        return self.running and self.reads_redis and not self._redis.down

    def _look(self) -> None:
        if self._readable:
            self._liveness.look(self._names)

    def _discover(self) -> None:
        if self._readable and self.discovers:
            found = self._redis.names()
            known = self._liveness.known(found | self._found | self._portfolios.planned_nodes, self._names)
            self._found = found
            self._workers = self._redis.platform.worker_names()
            if known != self._known:
                self._known = known
                self._names = names_of(known, self._max_nodes)
            self._discovered = Discovered(0.01, self._timeline.now, self._names.over_limit)

    def _snapshot(self) -> Snapshot:
        names = self._names
        reading, verdicts = self._liveness.read(names)
        part = self._maker.part(names, range(len(names.raw)), reading, verdicts)
        workers = None if self._liveness.judge.excuses_heartbeats() else self._workers
        portfolios = self._portfolios.series(
            names, [part], reading.loaded_lists, workers, reading.wall, self._timeline.now + 5.0
        )
        if not self._portfolios.planned_nodes <= frozenset(names.raw):
            self._timeline.at(self._timeline.now, self._discover)
        parts = [replace(part, lines=self._lines.write(part))]
        return replace(self._maker.snapshot(names, parts), portfolios=portfolios)

    def _own_errors(self) -> Iterator[MetricFamily]:
        errors = ("ginkgo_exporter_internal_errors", "ginkgo_journal_write_errors")
        return (family for family in self.telemetry.registry.collect() if family.name in errors)


class _Families(Collector):
    def __init__(self, families: list[MetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[MetricFamily]:
        yield from self._families
