"""Log lines on standard error: events with key=value, or JSON."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import prometheus_client
import structlog

from exporter.escaping import printable
from exporter.settings import Log

LINES: Final = 40
"""Lines of one event in a minute, at level info and above."""
LONGEST: Final = 10_000
"""Characters of one value in a line."""
MINUTE: Final = 60.0
LEFT_OUT: Final = prometheus_client.Counter(
    "ginkgo_exporter_log_lines_left_out", "Log lines that were counted and not written.", registry=None
)
"""The process has one log, so it has one such counter; ``Telemetry`` registers it."""

log = structlog.get_logger(__name__)


def configure(settings: Log) -> None:
    """Set up logging for the process; log lines of libraries get the same form."""
    shared = (
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _safe,
    )
    json = structlog.processors.JSONRenderer()
    logfmt = structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"], bool_as_flag=False)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatLimit())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                json if settings.format == "json" else logfmt,
            ],
        )
    )
    logging.raiseExceptions = False  # without this line, a full disk under the log file prints tracebacks
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for noisy in ("asyncio", "tornado.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class RepeatLimit(logging.Filter):
    """Lets an event pass ``LINES`` times a minute; one line tells that others like it are left out.

    An event is what a line says without its values. Lines at level debug always pass.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._began = clock, clock()
        self._seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is to be written."""
        if record.levelno < logging.INFO:
            return True
        event = str(record.msg.get("event") if isinstance(record.msg, dict) else record.msg)[:200]
        if self._clock() - self._began >= MINUTE:
            self._seen, self._began = Counter(), self._clock()
        count = self._seen[event] = self._seen[event] + 1
        if count == LINES + 1:
            log.warning("log lines are left out until the end of the minute", like=event)
        if count > LINES:
            LEFT_OUT.inc()
        return count <= LINES


def _safe(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut long values, and escape characters that a terminal would obey or hide."""
    for key, value in event.items():
        if isinstance(value, str):
            rest = len(value) - LONGEST
            event[key] = printable(value[:LONGEST]) + (f"… ({rest} characters more)" if rest > 0 else "")
    return event
