"""A limit on log lines: an event that is repeated is logged some times a minute, then counted and told once."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from threading import Lock, Timer
from typing import Final

import prometheus_client
import structlog

LINES: Final = 40
"""Lines of one event in a minute, at level info and above."""
LONGEST: Final = 4000
"""Characters of one value in a line."""
MINUTE: Final = 60.0
LEFT_OUT: Final = prometheus_client.Counter(
    "ginkgo_exporter_log_lines_left_out", "Log lines that were counted and not written.", registry=None
)
"""The process has one log, so it has one such counter; ``Telemetry`` registers it."""
_KINDS: Final = 500
_TOLD: Final = "log lines were left out"

log = structlog.get_logger(__name__)


class RepeatLimit(logging.Filter):
    """Lets an event pass ``LINES`` times a minute; a line at the minute's end tells how many were left out.

    An event is what a line says without its values. Lines at level debug always pass. Its state has one lock.

    Args:
        clock: Returns monotonic seconds.
        later: Calls a function after some seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        later: "Callable[[float, Callable[[], None]], None] | None" = None,
    ) -> None:
        super().__init__()
        self._clock, self._later = clock, later or _later
        self._lock = Lock()
        self._began = clock()
        self._passed: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is to be written."""
        if record.levelno < logging.INFO:
            return True
        kind = _kind(record)
        with self._lock:
            if self._clock() - self._began >= MINUTE and not self._left_out:
                self._began = self._clock()
                self._passed.clear()
            if kind not in self._passed and len(self._passed) >= _KINDS:
                kind = ""
            self._passed[kind] += 1
            if self._passed[kind] <= LINES:
                return True
            first = not self._left_out
            self._left_out[kind] += 1
        LEFT_OUT.inc()
        if first:
            self._later(MINUTE, self._tell)
        return False

    def _tell(self) -> None:
        with self._lock:
            left_out, self._left_out = self._left_out, Counter()
            self._began = self._clock()
            self._passed.clear()
        for kind, count in left_out.most_common(LINES):
            log.warning(_TOLD, like=kind or "others", count=count)


def _kind(record: logging.LogRecord) -> str:
    message = record.msg
    return str(message.get("event") if isinstance(message, dict) else message)[:200]


def _later(seconds: float, call: Callable[[], None]) -> None:
    timer = Timer(seconds, call)
    timer.daemon = True
    timer.start()


def shortened(text: str) -> str:
    """Return a value as it is logged: its beginning, and how much is left out."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} characters more)"
