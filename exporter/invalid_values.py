"""The log of invalid values: one line per node and field, with a limit on lines per minute and on memory."""

import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final

import structlog

LINES_PER_MINUTE: Final = 40
"""Invalid values that are logged in a minute; the others are counted."""
REMEMBERED: Final = 100_000
"""Pairs of node and field that are remembered per period, some 65 bytes each; two periods are in memory."""
PERIOD: Final = 3600.0
"""Seconds. A pair that was valid, or missing, for a whole period is forgotten."""
_MINUTE: Final = 60.0

log = structlog.get_logger(__name__)


class InvalidValueLog:
    """Logs each pair of node and field once, however many scrapes find it invalid.

    A pair is remembered from one period to the next while scrapes find it invalid, so the
    pairs of a node that is gone leave the memory by themselves. A pair that does not fit into
    the memory is never logged, because the next scrape would log it again.

    Its state has one lock.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        # Hashes of pairs: an id may have any length, and a collision costs no more than a line.
        self._recent: set[int] = set()
        self._before: set[int] = set()
        self._period_began = self._minute_began = clock()
        self._lines = self._not_logged = 0

    def add(self, field: str, node_ids: Iterable[str]) -> None:
        """Log the pairs that are new; once a minute, log how many new pairs were not logged."""
        with self._lock:
            self._begin(self._clock())
            for node_id in node_ids:
                if self._is_new(hash((field, node_id))):
                    self._lines += 1
                    log.warning("invalid value dropped", field=field, node_id=node_id)

    def _begin(self, now: float) -> None:
        """Begin another minute and another period if it is time."""
        if now - self._minute_began >= _MINUTE:
            if self._not_logged:
                log.warning("more invalid values dropped", not_logged=self._not_logged)
            self._minute_began = now
            self._lines = self._not_logged = 0
        if now - self._period_began >= PERIOD:
            self._period_began = now
            self._before, self._recent = self._recent, set()

    def _is_new(self, pair: int) -> bool:
        """Remember a pair, and return whether to log it."""
        if pair in self._recent:
            return False
        fits = len(self._recent) < REMEMBERED
        if fits:
            self._recent.add(pair)
        if pair in self._before:
            return False
        if fits and self._lines < LINES_PER_MINUTE:
            return True
        self._not_logged += 1
        return False
