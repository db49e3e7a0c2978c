"""The outages in which Redis could not be read: their start, their cause, and their share of the last two minutes."""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final

import structlog

from exporter.errors import SourceError

READ, PROBED = "read", "probe"
"""The two operations that can fail. A probe can succeed while reads of nodes time out or are refused."""
WINDOW: Final = 120.0
"""Length of the window over which outages are added up, in seconds."""
_MOST_CAUSES: Final = 5
"""Largest number of causes of one outage that are logged."""

OnOutage = Callable[[str, float], None]
"""Called with the cause of an outage that begins, or with an empty text when it ends, and with the monotonic time of
its begin."""

log = structlog.get_logger(__name__)


class Outages:
    """Remembers failures to read Redis. One lock guards its state.

    Args:
        clock: Returns monotonic seconds.

    Attributes:
        ever_answered: Whether Redis has answered at least once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.ever_answered = False
        self._clock = clock
        self._lock = Lock()
        self._errors: dict[str, str] = {}
        self._since: float | None = None
        self._logged: set[str] = set()
        self._past: deque[tuple[float, float]] = deque()
        self._on_change: list[OnOutage] = []

    def on_change(self, listener: OnOutage) -> None:
        """Call ``listener`` with every begin and end of an outage from now on, in the thread that saw it."""
        self._on_change.append(listener)

    def failed(self, what: str, error: SourceError, began: float) -> None:
        """Record a failure. The first failure of an outage is logged, and each new cause.

        Args:
            what: The operation that failed: ``READ`` or ``PROBED``.
            error: The cause.
            began: When the operation began, in monotonic seconds.
        """
        with self._lock:
            first, cause = self._since is None, str(error)
            if self._since is None:
                # An operation of the last outage may fail late: its seconds count already.
                self._since = began = max(began, self._past[-1][1]) if self._past else began
                self._logged.clear()
            self._errors[what] = cause
            new = cause not in self._logged and len(self._logged) < _MOST_CAUSES
            if new:
                self._logged.add(cause)
        if new:
            log.error("Redis cannot be read" if first else "Redis still cannot be read", error=cause)
        if first:
            for on_change in self._on_change:
                on_change(cause, began)

    def succeeded(self, what: str) -> bool:
        """Record a success of ``READ`` or ``PROBED``.

        Returns:
            True for the first success at all, and for the first success of this operation after a failure.
        """
        now = self._clock()
        with self._lock:
            first = not self.ever_answered
            failed = self._errors.pop(what, None) is not None
            self.ever_answered = True
            began, over = self._since, self._since is not None and not self._errors
            if began is not None and over:
                self._past.append((began, now))
                self._since = None
            while self._past and self._past[0][1] < now - WINDOW:
                self._past.popleft()
        if over or first:
            log.info("Redis answers")
        if began is not None and over:
            for on_change in self._on_change:
                on_change("", began)
        return failed or first

    def error(self, what: str) -> str:
        """Return why the last ``READ`` or ``PROBED`` failed; empty if it succeeded."""
        return self._errors.get(what, "")

    @property
    def since(self) -> float | None:
        """Monotonic time at which the outage that lasts began; None without an outage."""
        return self._since

    def seconds(self) -> float:
        """Return for how many of the last ``WINDOW`` seconds Redis could not be read."""
        now = self._clock()
        with self._lock:
            outages = [*self._past, *([(self._since, now)] if self._since is not None else [])]
        return sum(end - max(start, now - WINDOW) for start, end in outages if end > now - WINDOW)
