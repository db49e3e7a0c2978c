"""The rounds of the watch: probe Redis, read the nodes whose state may change, and call the attendants."""

from collections.abc import Callable
from threading import Event, Thread
from typing import Final

import structlog

from exporter.errors import SourceError, SourceTimeoutError
from exporter.fleet.discovery import Discovery
from exporter.liveness.outages import PROBED, READ, Outages
from exporter.liveness.watch import PROBE, Watch
from exporter.telemetry import Telemetry

TRY_AGAIN: Final = 1.0
"""Shortest time between two attempts to read all nodes after a failed read, in seconds. There is a round at least once
a second. The attempts show without a scrape that reads work again."""
PART: Final = "watch"
"""The name of this thread, also where its internal errors are counted."""

log = structlog.get_logger(__name__)

Attendant = Callable[[bool], None]
"""Called after each round of the watch, in its thread. The argument says whether all offline nodes were read."""


class Rounds:
    """Runs the watch in a thread of its own.

    Args:
        watch: Decides which nodes to read.
        discovery: Knows the names, and is woken when Redis answers again.
        outages: Records whether Redis answered.
        telemetry: Counts internal errors.
        request: Begins a read of all nodes.
        closed: Set when the fleet closes; ``wake`` must follow.
        clock: Returns monotonic seconds.

    Attributes:
        attendants: Called after each round, in this order.
    """

    def __init__(  # noqa: PLR0913 - the watch joins all parts of the fleet
        self,
        *,
        watch: Watch,
        discovery: Discovery,
        outages: Outages,
        telemetry: Telemetry,
        request: Callable[[], object],
        closed: Event,
        clock: Callable[[], float],
    ) -> None:
        self.attendants: list[Attendant] = []
        self._watch, self._discovery, self._outages, self._telemetry = watch, discovery, outages, telemetry
        self._request, self._closed, self._clock = request, closed, clock
        self._read_again_at = float("-inf")
        self._woken = Event()
        self._thread = Thread(target=self._run, name=PART, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Begin the next round now, or end the thread if the fleet is closed."""
        self._woken.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                refreshed = self.look()
                for attendant in self.attendants:
                    attendant(refreshed)
                self._woken.wait(self._watch.wait())
                self._woken.clear()
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._telemetry.fault(PART, error)
                self._closed.wait(PROBE)

    def look(self) -> bool:
        """Let the watch read the nodes that are due, and return whether it read all offline nodes."""
        if not self.probe():
            return False
        if self._outages.error(READ) and self._clock() >= self._read_again_at and not self._closed.is_set():
            self._read_again_at = self._clock() + TRY_AGAIN
            self._request()
        try:
            return self._watch.look(self._discovery.names.raw)
        except SourceError as error:
            log.debug("the watch could not read nodes", error=str(error))
            return False

    def probe(self) -> bool:
        """Probe Redis if a probe is due, and return whether Redis answered the last probe."""
        start = self._clock()
        try:
            if self._watch.probe() and self._outages.succeeded(PROBED):
                self._discovery.wake()
        except SourceError as error:
            if not self._closed.is_set():
                hung = isinstance(error, SourceTimeoutError)
                self._outages.failed(PROBED, error, self._watch.silent_since(start) if hung else start)
        return not self._outages.error(PROBED)
