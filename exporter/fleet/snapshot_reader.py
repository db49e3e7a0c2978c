"""One read of all nodes: names, readings, verdicts, values, portfolios and lines become a snapshot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from exporter.errors import SourceError
from exporter.exposition.lines import LineWriter
from exporter.fleet.discovery import Discovery
from exporter.journal.portfolios import PortfolioObserver
from exporter.liveness.judge import Judge
from exporter.liveness.outages import READ, Outages
from exporter.liveness.states import State
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.portfolio_series import PortfolioSeries
from exporter.snapshot.portfolio_stage import PortfolioStage
from exporter.snapshot.snapshot import Part, Snapshot
from exporter.source import Reader
from exporter.source.names import Names

LastKnown = tuple[float | None, Mapping[State, int]]
"""Unix time of the last read that succeeded, None before the first, and how many nodes it found in each state."""


class SnapshotReader:
    """Reads all known nodes once. Only one thread at a time may use it.

    Args:
        discovery: Knows the nodes' names.
        reader: A reader of its own.
        judge: The fleet's judge.
        maker: Makes the snapshot's columns.
        portfolios: Makes the portfolios' series.
        observer: Is shown each ledger.
        outages: Records whether Redis could be read.
        timeout: Seconds that one read may take.
        clock: Returns monotonic seconds.

    Attributes:
        duration: Seconds that the last read took, even if it failed; None before the first read.
        last_known: When the last read succeeded, and what it found.
    """

    def __init__(  # noqa: PLR0913 - the stages of a read
        self,
        *,
        discovery: Discovery,
        reader: Reader,
        judge: Judge,
        maker: SnapshotMaker,
        portfolios: PortfolioStage,
        observer: PortfolioObserver,
        outages: Outages,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self.duration: float | None = None
        self.last_known: LastKnown = None, {}
        self._discovery, self._reader, self._judge = discovery, reader, judge
        self._maker, self._portfolios, self._lines = maker, portfolios, LineWriter()
        self._observer = observer
        self._outages, self._timeout, self._clock = outages, timeout, clock

    def read(self) -> Snapshot:
        """Read all nodes and return the snapshot.

        Raises:
            SourceError: Redis could not be read in time, or the names are not discovered yet.
        """
        start = self._clock()
        deadline = start + self._timeout
        try:
            names = self._discovery.wait()
            parts, lists = self._parts(names, deadline)
            portfolios = self._portfolio_series(names, parts, lists, deadline)
            reason = self._portfolios.error
        except SourceError as error:
            self._outages.failed(READ, error, start)
            raise
        finally:
            self.duration = self._clock() - start
        self._outages.succeeded(READ)
        snapshot = replace(self._maker.snapshot(names, parts), portfolios=portfolios, portfolios_error=reason)
        self.last_known = snapshot.wall, snapshot.counts
        return snapshot

    def _parts(self, names: Names, deadline: float) -> tuple[list[Part], list[bytes | None]]:
        """Read, judge and write all nodes part by part, and return their lists; meanwhile Redis works on the next."""
        parts: list[Part] = []
        lists: list[bytes | None] = []
        start = 0
        for reading in self._reader.parts(names.raw, deadline):
            positions = range(start, start + len(reading.names))
            start = positions.stop
            verdicts = self._judge.judge(reading, of=len(names.raw))
            part = self._maker.part(names, positions, reading, verdicts)
            parts.append(replace(part, lines=self._lines.write(part)))
            lists += reading.loaded_lists
        if names is not self._discovery.names:
            # Discovery dropped nodes during the read, and the read judged them again.
            self._judge.keep(self._discovery.names.raw)
        return parts, lists

    def planned_portfolios(self, name: bytes) -> int:
        """Return how many portfolios the plan gave to a node at the last read; 0 without a plan."""
        return self._portfolios.planned.get(name, 0)

    def _portfolio_series(
        self, names: Names, parts: Sequence[Part], lists: Sequence[bytes | None], deadline: float
    ) -> PortfolioSeries | None:
        workers = None if self._judge.excuses_heartbeats() else self._discovery.workers
        series = self._portfolios.series(names, parts, lists, workers, parts[-1].wall, deadline)
        if series:
            self._observer.see(series.reading)
        if series or not self._portfolios.error:
            self._judge.set_leftovers(series.reading.leftovers if series else None)
        self._discovery.expect(self._portfolios.planned_nodes)
        return series
