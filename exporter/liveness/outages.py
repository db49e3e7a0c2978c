"""When Redis could not be read: since when, why, and for how much of the last two minutes."""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final

import structlog

from exporter.errors import SourceError

READ, PROBED = "read", "probe"
"""What failed. Redis may say which server it is, and yet not be read in time, or refuse to let its nodes be read."""
WINDOW: Final = 120.0
"""Seconds over which outages are added up."""

log = structlog.get_logger(__name__)


class Outages:
    """Remembers failures to read Redis. Its state has one lock.

    Args:
        clock: Returns monotonic seconds.

    Attributes:
        answered: Whether Redis ever answered.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.answered = False
        self._clock = clock
        self._lock = Lock()
        self._errors: dict[str, str] = {}
        self._since: float | None = None
        self._past: deque[tuple[float, float]] = deque()

    def failed(self, what: str, error: SourceError, began: float) -> None:
        """Take note of a failure; the first of an outage is logged.

        Args:
            what: ``READ`` or ``PROBED``.
            error: Why.
            began: When the attempt began, in monotonic seconds.
        """
        with self._lock:
            first = self._since is None
            if self._since is None:
                self._since = began
            self._errors[what] = str(error)
        if first:
            log.error("Redis cannot be read", error=str(error))

    def succeeded(self, what: str) -> bool:
        """Take note of a success, and return whether it is the first one, or the first one after a failure."""
        now = self._clock()
        with self._lock:
            first = not self.answered
            failed = self._errors.pop(what, None) is not None
            self.answered = True
            over = self._since is not None and not self._errors
            if self._since is not None and over:
                self._past.append((self._since, now))
                self._since = None
            while self._past and self._past[0][1] < now - WINDOW:
                self._past.popleft()
        if over or first:
            log.info("Redis answers")
        return failed or first

    def error(self, what: str) -> str:
        """Return why the last attempt failed; empty if it did not."""
        return self._errors.get(what, "")

    @property
    def since(self) -> float | None:
        """Monotonic time since which Redis cannot be read, or does not answer; None while it can."""
        return self._since

    def seconds(self) -> float:
        """Return for how many of the last ``WINDOW`` seconds Redis could not be read."""
        now = self._clock()
        with self._lock:
            outages = [*self._past, *([(self._since, now)] if self._since is not None else [])]
        return sum(end - max(start, now - WINDOW) for start, end in outages if end > now - WINDOW)
