"""The exporter's own metrics, which last longer than a scrape, in a registry of their own."""

import platform
import time
import traceback
from collections.abc import Callable, Collection
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from exporter import __revision__, __version__
from exporter.contract import FIELDS, STATE_FIELD
from exporter.logs import LEFT_OUT, LINES

_FIELDS: Final = (*FIELDS, STATE_FIELD, "heartbeat", "node_id")
BUDGETS: Final = ("answers", "connections", "discovery", "passwords", "replies")
"""The budgets that bound the effect of other programs' input; ``SECURITY.md`` describes each of them."""
_TELL_AGAIN: Final = 60.0
"""Seconds between two log lines about the same budget."""
PARTS: Final = ("discovery", "journal", "push", "read", "request", "watch")
REMEMBERED: Final = 100_000
"""Invalid values that are remembered, by field and node, some 65 bytes each. Others are counted and not logged."""

log = structlog.get_logger(__name__)


class Telemetry:
    """Counts invalid values, spent budgets and internal errors, and logs each kind once.

    Args:
        clock: Returns monotonic seconds.

    Attributes:
        registry: The registry of these metrics; parts of the exporter may add theirs.
        answers_waiting: The bytes that wait to be sent, to be set by the server.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(LEFT_OUT)
        ProcessCollector(registry=self.registry)
        Gauge(
            "ginkgo_exporter_build_info",
            "Which exporter this is; always 1.",
            ("version", "revision", "python_version"),
            registry=self.registry,
        ).labels(__version__, __revision__, platform.python_version()).set(1)
        self._invalid = self._counter(
            "ginkgo_exporter_invalid_values",
            "Values that were left out because they could not be read, by the field that held them.",
            "field",
            _FIELDS,
        )
        self._faults = self._counter(
            "ginkgo_exporter_internal_errors",
            "Errors in the exporter itself, by the part of it that went on after one.",
            "part",
            PARTS,
        )
        self._spent = self._counter(
            "ginkgo_exporter_budget_spent",
            "How often a budget was spent, by what it bounds: something was refused, cut off or left out.",
            "budget",
            BUDGETS,
        )
        self.answers_waiting = Gauge(
            "ginkgo_exporter_answers_waiting_bytes",
            "Bytes of answers that wait to be sent to clients.",
            registry=self.registry,
        )
        self._clock = clock
        self._told: dict[str, float] = {}  # when each budget was last told
        self._faulty: set[str] = set()  # where internal errors were; the number of places in the code bounds them
        self._known: set[int] = set()  # hashes: an id may have any length, and a collision costs no more than a line

    def _counter(self, name: str, meaning: str, label: str, values: Collection[str]) -> Counter:
        """Return a counter that is 0 for each value of its label from the start."""
        counter = Counter(name, meaning, (label,), registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def invalid(self, field: str, node_ids: Collection[str]) -> None:
        """Count invalid values, and log each node and field once, ``LINES`` of them at a time.

        Args:
            field: The field of the values: a field of the contract, ``heartbeat`` or ``node_id``.
            node_ids: The nodes' ids as text; one item for each value.
        """
        self._invalid.labels(field).inc(len(node_ids))
        new = {hash((field, node_id)): node_id for node_id in node_ids}
        for pair in [pair for pair in new if pair not in self._known][:LINES]:
            if len(self._known) < REMEMBERED:
                self._known.add(pair)
                log.warning("invalid value dropped", field=field, node_id=new[pair])

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
        where = "".join(traceback.format_tb(error.__traceback__))
        if where not in self._faulty:
            self._faulty.add(where)
            log.error("internal error", part=part, error=repr(error), where=where)
