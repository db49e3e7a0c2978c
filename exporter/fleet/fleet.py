"""The fleet for scrapes, page, table and push: puts the parts together, and reads all nodes on request."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import Self

import structlog

from exporter.contract import WORKER_PREFIXES
from exporter.errors import SourceError, SourceTimeoutError, SourceTooLargeError
from exporter.exposition.text import LineWriter
from exporter.fleet.watch import IN_FULL, PROBED, READ, Attendant, Discovery, Watch
from exporter.journal.journal import Journal
from exporter.liveness import Change, Judge, Kind, State, View
from exporter.liveness.chance import CANNOT_BE_READ
from exporter.liveness.judge import HELD
from exporter.portfolios.account import Account, PortfolioReader
from exporter.settings import Settings
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.snapshot import Part, ReadInfo, Snapshot
from exporter.source import Source, open_source
from exporter.source.reading import LISTS, Names, Reading
from exporter.telemetry import Telemetry

log = structlog.get_logger(__name__)


class Fleet:
    """Reads all nodes on request, and discovers their names in the background.

    Two threads run from ``start`` to ``close``. One discovers names. The other, the watch, looks at Redis and the nodes
    whose state may change. A third thread reads all nodes on request, one read at a time. A request during a read
    shares this read.

    Attributes:
        settings, telemetry, journal: What the caller passed, or new ones.
        judge: Decides which nodes are alive.
        discovery: Keeps the names of the nodes.
        last_known: Unix time of the last read of all nodes that succeeded, None before the first; and how many nodes
            it found in each state.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry | None = None,
        source: Source | None = None,
        clock: Callable[[], float] = time.monotonic,
        journal: Journal | None = None,
    ) -> None:
        telemetry = self.telemetry = telemetry or Telemetry()
        self.settings, self.journal = settings, journal or Journal(None, telemetry, monotonic=clock)
        self.last_known: tuple[float | None, Mapping[State, int]] = None, {}
        self.judge = Judge(settings, self.journal.earlier_changes())
        self._clock, self._closed, self._timeout = clock, Event(), settings.redis.timeout
        source = self._source = source or open_source(settings, telemetry.spent)
        self._nodes = source.reader()
        self._portfolios = PortfolioReader(settings, source, telemetry.invalid, self.journal.record.faults())
        self._maker = SnapshotMaker(
            settings.heartbeat, telemetry.invalid, LineWriter().write, stale_gauges=settings.collector.stale_gauges
        )
        shared = telemetry, self._closed, clock
        self.discovery = Discovery(settings, source, self.judge, *shared)
        self._watch = Watch(self.judge, source.reader(), self.request, self._timeout, *shared)
        self.judge.wake = self._watch.wake
        self._duration: float | None = None
        self._saw_drops = 0.0
        self._problem = ""  # why the portfolios could not be read last
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._lock = Lock()  # for the next attribute, the current read
        self._current: Future[Snapshot] | None = None
        self.attend(self._hear_of_redis, full=False)
        self.attend(self.journal.see, full=self.journal.file is not None)

    def start(self) -> Self:
        """Start the threads."""
        self.journal.start()
        self.discovery.start()
        self._watch.start()
        return self

    def close(self) -> None:
        """Stop all threads and close all connections; a current read fails."""
        self._closed.set()
        self.discovery.wake()
        self._watch.wake()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._source.close()
        self.journal.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is known ----------------------------------------------------------------------------

    @property
    def not_ready(self) -> str:
        """The reason why the fleet cannot be read, in one line; empty if names were discovered and Redis answers."""
        view = self.view()
        return view.errors.get(PROBED) or self.discovery.not_ready or ("" if view.server else "Redis was not asked yet")

    @property
    def info(self) -> ReadInfo:
        """Facts about the last read, discovery and Redis."""
        view = self.view()
        return ReadInfo(
            self._duration,
            self.discovery.last,
            view.server,
            view.refused_since is not None,
            self.settings.nodes.expected,
        )

    def view(self) -> View:
        """Return what the judge knows of nodes and Redis, at one moment."""
        return self.judge.view()

    def attend(self, attendant: Attendant, *, full: bool = True) -> None:
        """Call ``attendant`` with all changes from now on, before the earlier ones; see ``watch.Attendant``.

        Args:
            attendant: The attendant.
            full: Whether to look at each node when its heartbeat should have ended, and to read all every half TTL.
        """
        self._watch.attendants.insert(0, attendant)
        self._watch.full = self._watch.full or full

    def _hear_of_redis(self, changes: Sequence[Change], _: View) -> None:
        """Look for names after each change of Redis that may have brought new ones."""
        if any(change.kind is Kind.REDIS and change.after != CANNOT_BE_READ for change in changes):
            self.discovery.wake()

    # --- reads of all nodes -----------------------------------------------------------------------

    def request(self) -> "Future[Snapshot]":
        """Return the current read, or begin one; the exception of a failed read is a SourceError."""
        with self._lock:
            self._current = self._current or self._executor.submit(self._read_shared)
            return self._current

    def _read_shared(self) -> Snapshot:
        try:
            return self.read_here()
        except SourceError:
            raise
        except Exception as error:
            self.telemetry.fault("read", error)  # perhaps nobody asks for the result
            raise
        finally:  # the snapshot must not stay in memory during the next read
            with self._lock:
                self._current = None

    def read(self) -> Snapshot:
        """Read all nodes, or share the current read, and return the snapshot.

        Raises:
            SourceError: Redis could not be read in time.
        """
        try:
            return self.request().result(self._timeout)
        except TimeoutError:
            raise SourceTimeoutError("Redis did not answer in time") from None

    def look(self) -> Snapshot:
        """Discover names and read all nodes once, in the caller's thread. For a fleet that is not started.

        Raises:
            SourceError: Redis could not be scanned or read.
        """
        self.discovery.discover()
        return self.read_here()

    def read_here(self) -> Snapshot:
        """Read all nodes in the caller's thread, one at a time, and return the snapshot.

        Raises:
            SourceError: Redis could not be read in time, or the names are not discovered yet.
        """
        start = self._watch.read_at = self._clock()
        try:
            names = self.discovery.wait()
            parts, account, problem = self._parts(names, start + self._timeout)
            decides = not problem or not self._watch.is_alive()  # a command that reads once cannot wait for a ledger
            if decides and self.judge.let_go(account.leftovers if account else None, parts[-1].at):
                # The first ledger has decided on old hashes.
                parts, account, problem = self._parts(names, start + self._timeout)
        except SourceError as error:
            self.judge.failed(READ, str(error), start)
            raise
        finally:
            self._duration = self._clock() - start
        self.judge.succeeded(READ, self._clock())
        if problem not in ("", self._problem):
            log.warning("the portfolios cannot be read", because=problem)
        self._problem = problem
        snapshot = self._maker.snapshot(names, parts, account, problem)
        if snapshot.complete:
            self.judge.succeeded(IN_FULL, self._clock())
        else:
            self.judge.failed(IN_FULL, "a primary of the cluster cannot be read", start)
        if start - self._saw_drops >= self.settings.heartbeat.beat:  # nodes write what they dropped once in a beat
            self._saw_drops = start
            self.journal.see_drops(snapshot.dropping)
        if account:
            self.journal.see_read(account)
            if account.workers is not None and len(account.workers) < len(WORKER_PREFIXES):
                self.discovery.wake()  # a worker's heartbeat has ended: it may have a successor
        self.discovery.expect(self._portfolios.planned)
        self.last_known = snapshot.wall, snapshot.counts
        return snapshot

    def _parts(self, names: Names, deadline: float) -> tuple[list[Part], Account | None, str]:
        """Read, judge and write all nodes part by part; meanwhile Redis works on the next part.

        Returns:
            The parts, the account of the portfolios if there is one, and why it cannot be made.

        Raises:
            SourceError: Redis could not be read in time, or gave values that are no texts.
        """
        parts: list[Part] = []
        lists: list[bytes | None] = []
        unread, held = set[int](), dict[int, Reading]()
        for reading in self._nodes.parts(names.raw, deadline):
            start = len(lists)
            verdicts = self.judge.look(reading)
            if any(node.why == HELD for node in verdicts.absent.values()):
                held[len(parts)] = reading
            try:
                parts.append(self._maker.part(names, start, reading, verdicts))
            except TypeError:
                reading.check_fields()  # tells what it means if a value is no text
                raise
            lists += reading.fields[LISTS]
            unread.update(start + position for position in reading.unread)
        for number, reading in held.items():  # the later parts have shown who else is late
            verdicts = self.judge.verdicts(reading, parts[number].absent)
            parts[number] = self._maker.part(names, parts[number].positions.start, reading, verdicts)
        states = [state for part in parts for state in part.states]
        workers = self.discovery.workers if self.view().calm else None
        try:
            return (
                parts,
                self._portfolios.read(names.raw, states, lists, frozenset(unread), workers, parts[-1].wall, deadline),
                "",
            )
        except SourceError as error:
            if isinstance(error, SourceTooLargeError):
                self.telemetry.spent("replies", f"the portfolios are not read: {error}")
            return parts, None, str(error)
