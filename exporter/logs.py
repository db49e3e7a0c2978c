"""Log lines on standard error: events with key=value, or JSON."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import prometheus_client
import structlog

from exporter.escaping import printable, printable_json
from exporter.settings import Log

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

LINES: Final = 40
"""Lines of one event in a minute, at level info and above."""
LONGEST: Final = 4000
"""Characters of one value in a line."""
MINUTE: Final = 60.0
LEFT_OUT: Final = prometheus_client.Counter(
    "ginkgo_exporter_log_lines_left_out", "Log lines that were counted and not written.", registry=None
)
"""The process has one log, so it has one such counter; ``Telemetry`` registers it."""

log = structlog.get_logger(__name__)


def configure(settings: Log) -> None:
    """Set up logging for the process; log lines of libraries get the same form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _shorten_values,
    ]
    logfmt = structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"], bool_as_flag=False)
    renderers: dict[str, list[Processor]] = {
        "json": [structlog.processors.JSONRenderer(_json)],
        "logfmt": [_escape_values, logfmt],
    }
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers[settings.format]],
        )
    )
    logging.raiseExceptions = False  # without this line, a full disk under the log file prints tracebacks
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for noisy in ("asyncio", "tornado.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class RepeatLimit(logging.Filter):
    """Lets an event pass ``LINES`` times a minute; the next line after the minute tells how many were left out.

    An event is what a line says without its values. Lines at level debug always pass. Its state has one lock.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._lock = clock, Lock()
        self._began = clock()
        self._seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is to be written."""
        if record.levelno < logging.INFO:
            return True
        event = str(record.msg.get("event") if isinstance(record.msg, dict) else record.msg)[:200]
        before: Counter[str] = Counter()
        with self._lock:
            if self._clock() - self._began >= MINUTE:
                before, self._seen, self._began = self._seen, Counter(), self._clock()
            self._seen[event] += 1
            passes = self._seen[event] <= LINES
        for like, count in before.items():
            if count > LINES:
                log.warning("log lines were left out", like=like, count=count - LINES)
        if not passes:
            LEFT_OUT.inc()
        return passes


def shortened(text: str) -> str:
    """Return a value as it is logged: its beginning, and how much is left out."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} characters more)"


def _shorten_values(_: "WrappedLogger", __: str, event: "EventDict") -> "EventDict":
    whole = ("exception", "where")  # the exporter's own texts
    return {k: shortened(v) if isinstance(v, str) and k not in whole else v for k, v in event.items()}


def _json(value: object, **options: Any) -> str:
    return printable_json(value, default=options.get("default"))


def _escape_values(_: "WrappedLogger", __: str, event: "EventDict") -> "EventDict":
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}
