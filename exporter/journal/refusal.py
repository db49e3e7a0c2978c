"""One refusal of writes, from its first refused write until Redis takes writes again."""

from threading import Lock
from typing import Final

QUIET: Final = 10.0
"""Seconds without a refusal after which one is over. A Redis at its limit refuses some writes and takes others: for the
judge, each beat that it takes ends the refusal, and the next refused write begins another one."""


class Refusal:
    """Joins the refusals of the judge to those that people are told of. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._since: float | None = None
        self._quiet_since: float | None = None
        self._told = False

    def goes_on(self, since: float, *, tell: bool) -> bool:
        """Record that writes are refused since a moment, and return whether to tell that now: once in each refusal."""
        with self._lock:
            if self._since is None:
                self._since, self._told = since, False
            self._quiet_since = None
            new = tell and not self._told
            self._told = self._told or tell
            return new

    def rests(self, now: float) -> float | None:
        """Record that no writes are refused; return when the refusal began that is over with this, if there is one."""
        with self._lock:
            if self._since is None:
                return None
            if self._quiet_since is None:
                self._quiet_since = now
            if now - self._quiet_since < QUIET:
                return None
            ended, self._since = self._since, None
            return ended
