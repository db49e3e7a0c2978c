"""The exporter's own metrics, which last longer than a scrape, in a registry of their own."""

import platform
import time
import traceback
from collections.abc import Callable, Collection
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, PlatformCollector, ProcessCollector

from exporter import __revision__, __version__
from exporter.contract import FIELDS, PORTFOLIO_FIELDS
from exporter.invalid_values import InvalidValueLog
from exporter.log_limit import LEFT_OUT

_FIELDS: Final = (*FIELDS, *PORTFOLIO_FIELDS, "heartbeat", "node_id")
BUDGETS: Final = ("answers", "connections", "discovery", "passwords", "replies")
"""The budgets that bound the effect of other programs' input; ``SECURITY.md`` describes each of them."""
_TELL_AGAIN: Final = 60.0
"""Seconds between two log lines about the same budget."""
PARTS: Final = ("discovery", "journal", "push", "request", "watch")

log = structlog.get_logger(__name__)


class Telemetry:
    """Counts invalid values and internal errors, and logs each kind once.

    Args:
        invalid_values: Logs invalid values.
        clock: Returns monotonic seconds.

    Attributes:
        registry: The registry of these metrics; parts of the exporter may add theirs.
        answers_waiting: The bytes that wait to be sent, to be set by the server.
    """

    def __init__(
        self, invalid_values: InvalidValueLog | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registry = CollectorRegistry()
        self._invalid_values = invalid_values or InvalidValueLog()
        self.registry.register(LEFT_OUT)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        Gauge(
            "ginkgo_exporter_build_info",
            "Which exporter this is; always 1.",
            ("version", "revision", "python_version"),
            registry=self.registry,
        ).labels(__version__, __revision__, platform.python_version()).set(1)
        self._invalid = Counter(
            "ginkgo_exporter_invalid_values",
            "Values that were left out because they could not be read, by the field that held them.",
            ("field",),
            registry=self.registry,
        )
        for field in _FIELDS:
            self._invalid.labels(field)
        self._faults = Counter(
            "ginkgo_exporter_internal_errors",
            "Errors in the exporter itself, by the part of it that went on after one.",
            ("part",),
            registry=self.registry,
        )
        for part in PARTS:
            self._faults.labels(part)
        self._spent = Counter(
            "ginkgo_exporter_budget_spent",
            "How often a budget was spent, by what it bounds: something was refused, cut off or left out.",
            ("budget",),
            registry=self.registry,
        )
        for budget in BUDGETS:
            self._spent.labels(budget)
        self.answers_waiting = Gauge(
            "ginkgo_exporter_answers_waiting_bytes",
            "Bytes of answers that wait to be sent to clients.",
            registry=self.registry,
        )
        self._clock = clock
        self._told: dict[str, float] = {}
        self._logged: set[tuple[str, str]] = set()  # the internal errors; the number of places in the code bounds them

    def invalid(self, field: str, node_ids: Collection[str]) -> None:
        """Count invalid values, and log each node and field once.

        Args:
            field: The field of the values: a field of the contract, ``heartbeat`` or ``node_id``.
            node_ids: The nodes' ids as text; one item for each value.
        """
        self._invalid.labels(field).inc(len(node_ids))
        self._invalid_values.add(field, node_ids)

    def spent(self, budget: str, effect: str) -> None:
        """Count that a budget was spent; log it once a minute at most.

        Args:
            budget: What it bounds, one of ``BUDGETS``.
            effect: What was done about it, in a few words.
        """
        self._spent.labels(budget).inc()
        now = self._clock()
        if now - self._told.get(budget, float("-inf")) >= _TELL_AGAIN:
            self._told[budget] = now
            log.warning("a budget is spent", budget=budget, effect=effect)

    def fault(self, part: str, error: Exception) -> None:
        """Count an unexpected error after which a part of the exporter goes on; log each kind of error once.

        Args:
            part: The part that caught the error, one of ``PARTS``.
            error: The error.
        """
        self._faults.labels(part).inc()
        kind = part, "".join(traceback.format_tb(error.__traceback__))
        if kind not in self._logged:
            self._logged.add(kind)
            log.error("internal error", part=part, error=repr(error), where=kind[1])
