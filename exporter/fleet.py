"""The fleet as it is now: names, reading, judgement and snapshot, put in a row and shared.

Who wants to know asks here: a scrape, the page, the table, the push.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Final, NamedTuple, Self

import structlog

from exporter.errors import SourceError, SourceTimeoutError
from exporter.liveness.judge import LOOK_AGAIN, Judge, Verdicts
from exporter.names import Names, names_of
from exporter.settings import Settings
from exporter.snapshot import Part, Snapshot, SnapshotMaker
from exporter.source import open_source
from exporter.source.discovery import pause_after
from exporter.source.reading import Reader, Reading, Source
from exporter.telemetry import Telemetry

PROBE: Final = 0.25
"""Seconds between two looks at whether Redis answers, and as who."""

COUNTS: Final = 45.0
"""Seconds for which a failure counts if nobody tries again: more than a scrape interval."""
READ, PROBED = "read", "probe"
"""Who may fail: Redis may well say who it is, and not be read in time, or not let its nodes be read."""

Judged = tuple[range, Reading, Verdicts]
"""Which of all nodes, what was read of them, and what is judged of it."""

log = structlog.get_logger(__name__)


class Failing(NamedTuple):
    """That Redis could not be read, in monotonic seconds: since when, and until when it counts."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Discovered:
    """The last complete discovery of node names.

    Attributes:
        duration: Seconds that it took.
        timestamp: Unix time of its end.
        over_limit: Nodes that were left out because there are too many.
    """

    duration: float
    timestamp: float
    over_limit: int


class Fleet:
    """Reads all nodes when asked, and looks for their names in between.

    Attributes:
        discovered: The last complete discovery; None before the first.

    Two threads run from ``start`` to ``close``: one discovers names, one sees
    whether Redis answers, so that what is missing after a fault of Redis's is not
    taken for a death. Reads run one at a time in a third, and whoever asks while
    one is under way shares it.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry | None = None, source: Source | None = None) -> None:
        self.settings = settings
        self.telemetry = telemetry or Telemetry()
        self.judge = Judge(settings.heartbeat.ttl, settings.heartbeat.beat, settings.nodes.forget_after)
        self._source = source or open_source(settings)
        self._maker = SnapshotMaker(
            settings.heartbeat.timezone,
            settings.heartbeat.ttl,
            self.judge.last_beat,
            self.telemetry.invalid,
            stale_gauges=settings.collector.stale_gauges,
        )
        self._whole, self._some = self._source.reader(), self._source.reader()
        self._seen_by_discovery = self._source.reader()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._threads = (
            Thread(target=self._discover_for_ever, name="discovery", daemon=True),
            Thread(target=self._probe_for_ever, name="probe", daemon=True),
        )
        self._closed = Event()
        self._wake_discovery = Event()
        self._discovery_tried = Event()
        self.discovered: Discovered | None = None  # this and the next three are the discovery thread's to write
        self._found: frozenset[bytes] = frozenset()
        self._known: frozenset[bytes] = frozenset()
        self._names = Names()
        self._lock = Lock()  # of what follows
        self._current: Future[Snapshot] | None = None
        self._answers = False
        self._failing: dict[str, Failing] = {}

    def start(self) -> Self:
        """Begin to look for names and for Redis."""
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Stop all threads and close all connections; a read under way is let go."""
        self._closed.set()
        self._wake_discovery.set()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._source.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> bool:
        """Whether names were discovered, and Redis answers now."""
        return self.discovered is not None and self._answers and PROBED not in self._failing

    @property
    def names(self) -> Names:
        """The nodes known now."""
        return self._names

    @property
    def unreadable_since(self) -> float | None:
        """Monotonic time since which Redis cannot be read, or does not answer; None while it can."""
        with self._lock:
            failing = self._failing.values()
            return min((each.since for each in failing if each.until > time.monotonic()), default=None)

    def reader(self) -> Reader:
        """Return a reader of the fleet's Redis for another thread."""
        return self._source.reader()

    def request(self) -> "Future[Snapshot]":
        """Return the read that is under way, or begin one; its exception is a SourceError."""
        with self._lock:
            current = self._current
            if current and not current.done():
                return current
            current = self._current = self._executor.submit(self._read)
        current.add_done_callback(self._let_go)
        return current

    def _let_go(self, done: "Future[Snapshot]") -> None:
        """Leave a snapshot to those who asked for it: the next one need not fit into memory beside it."""
        with self._lock:
            if self._current is done:
                self._current = None

    def read(self, timeout: float | None = None) -> Snapshot:
        """Return the fleet as it is now.

        Args:
            timeout: Seconds to wait at most; ``--redis.timeout`` if it is None.

        Raises:
            SourceError: Redis could not be read in full in time.
        """
        limit = self.settings.redis.timeout
        try:
            return self.request().result(limit if timeout is None else min(timeout, limit))
        except TimeoutError:
            raise SourceTimeoutError("Redis did not answer in time") from None

    def look(self) -> Snapshot:
        """Look for names and read them once, here and now; for who has not started the fleet.

        Raises:
            SourceError: Redis could not be read in full.
        """
        self._discover(self.settings.discovery.interval)
        return self._read()

    def _read(self) -> Snapshot:
        start = time.monotonic()
        deadline = start + self.settings.redis.timeout
        if not self._discovery_tried.wait(self.settings.redis.timeout) or self.discovered is None:
            raise SourceError("node names are not discovered yet")
        names = self._names
        try:
            parts = self._parts(names, deadline)
        except SourceError as error:
            self._failed(READ, error)
            raise
        finally:
            if names is not self._names:
                self.judge.keep(self._names.raw)  # some were judged that discovery had dropped meanwhile
        self._answered(READ)
        return self._maker.snapshot(names, parts, time.monotonic() - start)

    def _parts(self, names: Names, deadline: float) -> list[Part]:
        """Read, judge and write all nodes part by part: meanwhile Redis works on the next part."""
        parts: dict[int, Part] = {}  # by where they begin
        unsure: list[Judged] = []
        start = 0
        for reading in self._whole.parts(names.raw, deadline):
            positions = range(start, start + len(reading.names))
            start = positions.stop
            verdicts = self.judge.judge(reading)
            if verdicts.unsure():
                unsure.append((positions, reading, verdicts))
            else:
                parts[positions.start] = self._maker.part(names, positions, reading, verdicts)
        for positions, reading, verdicts in self._look_again(unsure, deadline):
            parts[positions.start] = self._maker.part(names, positions, reading, verdicts)
        return [parts[start] for start in sorted(parts)]

    def _look_again(self, unsure: Sequence[Judged], deadline: float) -> Iterator[Judged]:
        """Yield parts of a reading, and what is judged of them, once all nodes that are unsure were read once more."""
        if not unsure:
            return
        self._closed.wait(LOOK_AGAIN)
        parts = [(part, part[2].unsure()) for part in unsure]
        names = [reading.names[position] for (_, reading, _), who in parts for position in who]
        second = self._some.read(names, deadline)
        again = self.judge.judge(second, sure=True)
        start = 0
        for (positions, reading, verdicts), who in parts:
            seen = range(start, start + len(who))
            start = seen.stop
            yield positions, reading.amended(who, second.part(seen)), verdicts.amended(who, again.part(seen))

    def _discover_for_ever(self) -> None:
        interval = self.settings.discovery.interval
        while not self._closed.is_set():
            pause = interval
            try:
                pause = self._discover(interval)
            except SourceError as error:
                log.debug("discovery failed", error=str(error))
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self.telemetry.fault("discovery", error)
            self._wake_discovery.wait(pause)
            self._wake_discovery.clear()

    def _discover(self, interval: float) -> float:
        """Look for names once, and return the seconds to leave Redis alone."""
        start = time.monotonic()
        try:
            found = self._source.discover(self.settings.redis.timeout)
        except Exception:
            self._discovery_tried.set()
            raise
        # A Redis that has lost its data must be known for one before names are taken for gone.
        seen = self._seen_by_discovery.read((), time.monotonic() + self.settings.redis.timeout)
        self.judge.answered(seen.server, seen.at)
        # A name stays for one more round: a restarting node may have had no keys as the scan came by.
        known = found.names | self._found | frozenset(self.judge.awaited())
        self._found = found.names
        if known != self._known:
            self._known = known
            self._names = names_of(known, self.settings.collector.max_nodes)
            self.judge.keep(self._names.raw)
            if self._names.over_limit:
                log.error("too many nodes: the last ones by name are left out", left_out=self._names.over_limit)
        self.discovered = Discovered(time.monotonic() - start, time.time(), self._names.over_limit)
        self._discovery_tried.set()
        return pause_after(found.busy, interval)

    def _probe_for_ever(self) -> None:
        reader = self._source.reader()
        while not self._closed.wait(PROBE):
            try:
                reading = reader.read((), time.monotonic() + self.settings.redis.timeout)
                if self.judge.answered(reading.server, reading.at):
                    log.info("Redis came back as another, or after a while: nodes get time to beat")
                    self._wake_discovery.set()
                self._answered(PROBED)
            except SourceError as error:
                self._failed(PROBED, error)
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self.telemetry.fault("probe", error)

    def _answered(self, by: str) -> None:
        with self._lock:
            back = self._failing.pop(by, None) is not None or not self._answers
            self._answers = True
            well = not self._failing
        if back and well:
            log.info("Redis answers")
        if back and by == PROBED:
            self._wake_discovery.set()

    def _failed(self, by: str, error: SourceError) -> None:
        now = time.monotonic()
        with self._lock:
            was_well = not self._failing
            since = self._failing[by].since if by in self._failing else now
            self._failing[by] = Failing(since, now + COUNTS)
        if was_well and not self._closed.is_set():
            log.error("Redis cannot be read", error=str(error))
