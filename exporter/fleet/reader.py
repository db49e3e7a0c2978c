"""Reads all nodes: names, readings, verdicts, portfolios and lines become a snapshot, which callers share."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock

from exporter.errors import SourceError, SourceTimeoutError
from exporter.exposition.lines import LineWriter
from exporter.fleet.discovery import Discovery
from exporter.fleet.watch import READ, Watch
from exporter.journal.journal import Journal
from exporter.liveness import Judge, State
from exporter.portfolios.account import Account
from exporter.portfolios.reader import PortfolioReader
from exporter.settings import Settings
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.snapshot import Part, Snapshot
from exporter.source import Source
from exporter.source.names import Names
from exporter.telemetry import Telemetry

LastKnown = tuple[float | None, Mapping[State, int]]
"""Unix time of the last read that succeeded, None before the first, and how many nodes it found in each state."""


class FleetReader:
    """Reads all known nodes in a thread of its own, one read at a time. A request during a read shares this read.

    Args:
        settings: The settings.
        telemetry: Counts invalid values.
        source: The Redis installation.
        judge: The fleet's judge.
        discovery: Knows the nodes' names.
        watch: Is told of each read.
        journal: Is shown each account of the portfolios, and knows the faults of an earlier run.
        closed: Set when the fleet closes.
        clock: Returns monotonic seconds.

    Attributes:
        duration: Seconds that the last read took, even if it failed; None before the first read.
        last_known: When the last read succeeded, and what it found.
        portfolios: Makes the account of the portfolios.
    """

    def __init__(  # noqa: PLR0913 - the stages of a read
        self,
        settings: Settings,
        telemetry: Telemetry,
        source: Source,
        *,
        judge: Judge,
        discovery: Discovery,
        watch: Watch,
        journal: Journal,
        closed: Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.duration: float | None = None
        self.last_known: LastKnown = None, {}
        earlier = journal.earlier_faults()
        self.portfolios = PortfolioReader(
            settings, source, telemetry.invalid, earlier=earlier, clock=clock, closed=closed
        )
        self._maker = SnapshotMaker(
            settings.heartbeat,
            telemetry.invalid,
            LineWriter().write,
            stale_gauges=settings.collector.stale_gauges,
        )
        self._reader, self._judge, self._discovery, self._watch = source.reader(), judge, discovery, watch
        self._journal, self._timeout, self._clock = journal, settings.redis.timeout, clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._lock = Lock()  # for the next attribute, the current read
        self._current: Future[Snapshot] | None = None

    def request(self) -> "Future[Snapshot]":
        """Return the current read, or begin one; the exception of a failed read is a SourceError."""
        with self._lock:
            if self._current and not self._current.done():
                return self._current
            current = self._current = self._executor.submit(self.read)
        current.add_done_callback(self._let_go)
        return current

    def wait(self, timeout: float | None) -> Snapshot:
        """Begin or share a read and return its snapshot; ``timeout`` in seconds, None for the longest time.

        Raises:
            SourceError: Redis could not be read in time.
        """
        try:
            return self.request().result(self._timeout if timeout is None else min(timeout, self._timeout))
        except TimeoutError:
            raise SourceTimeoutError("Redis did not answer in time") from None

    def close(self) -> None:
        """Begin no more reads; a current read ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def read(self) -> Snapshot:
        """Read all nodes in the caller's thread, and return the snapshot.

        Raises:
            SourceError: Redis could not be read in time, or the names are not discovered yet.
        """
        start = self._watch.read_at = self._clock()
        deadline = start + self._timeout
        try:
            names = self._discovery.wait()
            parts, lists, unread = self._parts(names, deadline)
            account, problem = self._account(names, parts, lists, unread, deadline)
            if not problem and self._judge.let_go(account.leftovers if account else None, parts[-1].at):
                parts, lists, unread = self._parts(names, deadline)  # the first ledger has decided on old hashes
                account, problem = self._account(names, parts, lists, unread, deadline)
        except SourceError as error:
            self._judge.failed(READ, str(error), start)
            raise
        finally:
            self.duration = self._clock() - start
        self._judge.succeeded(READ, self._clock())
        snapshot = self._maker.snapshot(names, parts, account, problem)
        drops = {name: rising.dropped.rise for name, rising in snapshot.rising.items() if rising.dropped}
        self._journal.see_read(account, drops)
        self._discovery.expect(self.portfolios.planned_nodes)
        self.last_known = snapshot.wall, snapshot.counts
        return snapshot

    def _parts(self, names: Names, deadline: float) -> tuple[list[Part], list[bytes | None], frozenset[int]]:
        """Read, judge and write all nodes part by part; meanwhile Redis works on the next part.

        Returns:
            The parts, what each node says it has loaded, and the positions of the nodes that could not be read.
        """
        parts: list[Part] = []
        lists: list[bytes | None] = []
        unread: list[int] = []
        for reading in self._reader.parts(names.raw, deadline):
            start = len(lists)
            parts.append(self._maker.part(names, start, reading, self._judge.look(reading)))
            lists += reading.loaded_lists
            unread += (start + position for position in reading.unread)
        return parts, lists, frozenset(unread)

    def _account(
        self,
        names: Names,
        parts: Sequence[Part],
        lists: Sequence[bytes | None],
        unread: frozenset[int],
        deadline: float,
    ) -> tuple[Account | None, str]:
        """Return the account of the portfolios, or why it cannot be made."""
        states = [state for part in parts for state in part.states]
        workers = None if self._judge.view().excused else self._discovery.workers
        searched, wall = self._discovery.began, parts[-1].wall
        try:
            read = self.portfolios.read(names.raw, states, lists, unread, workers, searched, wall, deadline)
        except SourceError as error:
            return None, str(error)
        return read, ""

    def _let_go(self, done: "Future[Snapshot]") -> None:
        """Drop the reference to a finished read, so that its snapshot does not stay in memory during the next read."""
        with self._lock:
            if self._current is done:
                self._current = None
