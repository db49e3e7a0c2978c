"""Puts the parts of a fleet together for scrapes, page, table and push."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Event
from typing import Final, Self

from exporter.fleet.discovery import Discovery
from exporter.fleet.reader import FleetReader, LastKnown
from exporter.fleet.watch import PROBED, Attendant, Watch
from exporter.journal.journal import Journal
from exporter.liveness import Change, Judge, Kind, Rules, Thresholds, View
from exporter.liveness.chance import CANNOT_BE_READ, CUT, PAUSED, REFUSED, TAKES_WRITES
from exporter.settings import Settings
from exporter.snapshot.snapshot import Discovered, ReadInfo, Snapshot
from exporter.source import Source, open_source
from exporter.source.names import Names
from exporter.telemetry import Telemetry

_WITHOUT_NEW_NAMES: Final = (REFUSED, PAUSED, CUT, TAKES_WRITES, CANNOT_BE_READ)
"""Changes after which no new node can have written its keys. They may come every second."""


class Fleet:
    """Reads all nodes on request, and discovers their names in the background.

    Two threads run from ``start`` to ``close``. One discovers names. The other, the watch, looks at Redis and the nodes
    whose state may change. A third thread reads all nodes on request, one read at a time.

    Attributes:
        settings, telemetry, journal: What the caller passed, or new ones.
        judge: Decides which nodes are alive.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry | None = None,
        source: Source | None = None,
        clock: Callable[[], float] = time.monotonic,
        journal: Journal | None = None,
    ) -> None:
        self.settings, self.telemetry = settings, telemetry or Telemetry()
        self.journal = journal or Journal(None, self.telemetry, monotonic=clock)
        nodes, mass_loss = settings.nodes, settings.mass_loss
        rules = Rules(
            settings.heartbeat.ttl,
            settings.heartbeat.beat,
            nodes.forget_after,
            nodes.forget_rehomed_after,
            Thresholds(mass_loss.nodes, mass_loss.ratio, mass_loss.many),
        )
        self.judge = Judge(rules, self.journal.earlier_changes(), epoch=time.time() - clock())
        self._clock, self._closed = clock, Event()
        self._source = source or open_source(settings, self.telemetry.spent)
        self._discovery = Discovery(
            settings=settings,
            source=self._source,
            judge=self.judge,
            telemetry=self.telemetry,
            closed=self._closed,
            clock=clock,
        )
        self._watch = Watch(
            self.judge,
            self._source.reader(),
            self.request,
            telemetry=self.telemetry,
            closed=self._closed,
            timeout=settings.redis.timeout,
            clock=clock,
        )
        self._reader = FleetReader(
            settings,
            self.telemetry,
            self._source,
            judge=self.judge,
            discovery=self._discovery,
            watch=self._watch,
            journal=self.journal,
            closed=self._closed,
            clock=clock,
        )
        self.judge.wake = self._watch.wake
        self.attend(self._hear_of_redis, full=False)
        self.attend(self.journal.see, full=self.journal.has_file)

    def start(self) -> Self:
        """Start the threads."""
        self.journal.start()
        self._discovery.start()
        self._watch.start()
        return self

    def close(self) -> None:
        """Stop all threads and close all connections; a current read fails."""
        self._closed.set()
        self._discovery.wake()
        self._watch.wake()
        self._reader.close()
        self._source.close()
        self.journal.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def not_ready(self) -> str:
        """The reason why the fleet cannot be read, in one line; empty if names were discovered and Redis answers."""
        pace = self.judge.pace()
        if reason := pace.errors.get(PROBED) or self._discovery.not_ready:
            return reason
        return "" if pace.answered > float("-inf") else "Redis was not asked yet"

    @property
    def names(self) -> Names:
        """The nodes known now."""
        return self._discovery.names

    @property
    def discovered(self) -> Discovered | None:
        """The last complete discovery; None before the first."""
        return self._discovery.last

    @property
    def last_known(self) -> LastKnown:
        """When the last read of all nodes succeeded, and what it found."""
        return self._reader.last_known

    @property
    def info(self) -> ReadInfo:
        """Facts about the last read, discovery and Redis."""
        view = self.view()
        return ReadInfo(
            self._reader.duration,
            self.discovered,
            view.server,
            view.refused_since is not None,
            self._source.missing_rights(),
            self.settings.nodes.expected,
        )

    def view(self) -> View:
        """Return what the judge knows of nodes and Redis, at one moment."""
        return self.judge.view()

    def planned_portfolios(self, name: bytes) -> int:
        """Return how many portfolios the plan gave to a node at the last read of all nodes; 0 without a plan."""
        return self._reader.portfolios.planned.get(name, 0)

    def attend(self, attendant: Attendant, *, full: bool = True) -> None:
        """Call ``attendant`` with all changes from now on, before the earlier ones; see ``watch.Attendant``.

        Args:
            attendant: The attendant.
            full: Whether to look at each node when its heartbeat should have ended, and to read all every half TTL.
        """
        self._watch.attendants.insert(0, attendant)
        self._watch.full = self._watch.full or full

    def request(self) -> "Future[Snapshot]":
        """Return the current read, or begin one; the exception of a failed read is a SourceError."""
        return self._reader.request()

    def read(self, timeout: float | None = None) -> Snapshot:
        """Read all nodes, or share the current read, and return the snapshot.

        Args:
            timeout: Seconds to wait at most, and never longer than ``--redis.timeout``; None for that time.

        Raises:
            SourceError: Redis could not be read in time.
        """
        return self._reader.wait(timeout)

    def look(self) -> Snapshot:
        """Discover names and read all nodes once, in the caller's thread. For a fleet that is not started.

        Raises:
            SourceError: Redis could not be scanned or read.
        """
        self._discovery.discover()
        snapshot = self._reader.read()
        if self._discovery.planned <= frozenset(self.names.raw):
            return snapshot
        self._discovery.discover()  # the plan names nodes whose keys nobody has looked for
        return self._reader.read()

    def _hear_of_redis(self, changes: Sequence[Change], _: View) -> None:
        """Look for names after the changes of Redis that may have brought new ones."""
        if any(change.kind is Kind.REDIS and change.after not in _WITHOUT_NEW_NAMES for change in changes):
            self._discovery.wake()
