"""Log lines on standard error: events with key=value, or JSON."""

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from exporter.escaping import printable, printable_json
from exporter.log_limit import RepeatLimit, shortened
from exporter.settings import Log

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


def configure(log: Log) -> None:
    """Set up logging for the process; log lines of libraries get the same form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _shorten_values,
    ]
    renderers: list[Processor] = (
        [structlog.processors.JSONRenderer(_json)]
        if log.format == "json"
        else [
            _escape_values,
            structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"], bool_as_flag=False),
        ]
    )
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.raiseExceptions = False  # without this line, a full disk under the log file prints tracebacks
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(log.level.upper())
    for noisy in ("asyncio", "tornado.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def use_standard_logging() -> None:
    """Pass events to Python's ``logging``, for programs that use this package and have no structlog of their own.

    Without it structlog would print them to standard output. A program that configures structlog, before or after
    this call, is not disturbed.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.processors.format_exc_info,
                _shorten_values,
                _escape_values,
                structlog.processors.LogfmtRenderer(key_order=["event"], bool_as_flag=False),
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
        )


def _shorten_values(_: "WrappedLogger", __: str, event: "EventDict") -> "EventDict":
    whole = ("exception", "where")  # the exporter's own texts
    return {k: shortened(v) if isinstance(v, str) and k not in whole else v for k, v in event.items()}


def _json(value: object, **options: Any) -> str:
    return printable_json(value, default=options.get("default"))


def _escape_values(_: "WrappedLogger", __: str, event: "EventDict") -> "EventDict":
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}
