"""The exporter's own metrics that live from scrape to scrape, in a registry of their own."""

import platform
import traceback
from collections.abc import Iterable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, PlatformCollector, ProcessCollector

from exporter import __revision__, __version__
from exporter.contract import FIELDS

_FIELDS: Final = (*FIELDS, "heartbeat", "node_id")
PARTS: Final = ("discovery", "push", "request", "watch")
_MEMORY: Final = 10_000

log = structlog.get_logger(__name__)


class Telemetry:
    """Counts what happens to the exporter, and logs a value that cannot be read once.

    Attributes:
        registry: Where the metrics are; parts of the exporter may add theirs.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self._logged: set[tuple[str, str]] = set()

    def invalid(self, field: str, node_ids: Iterable[str]) -> None:
        """Count values that could not be read, and log each node and field once.

        The memory of what was logged is bounded; past the bound it starts anew.
        """
        counter = self._invalid.labels(field)
        for node_id in node_ids:
            counter.inc()
            if (field, node_id) not in self._logged:
                if len(self._logged) >= _MEMORY:
                    self._logged.clear()
                self._logged.add((field, node_id))
                log.warning("value left out", field=field, node_id=node_id)

    def fault(self, part: str, error: Exception) -> None:
        """Count an error at the edge where a part of the exporter goes on after it; log each kind once.

        Args:
            part: Which part goes on, one of ``PARTS``.
            error: What it caught.
        """
        self._faults.labels(part).inc()
        kind = part, "".join(traceback.format_tb(error.__traceback__))
        if kind not in self._logged:
            self._logged.add(kind)
            log.error("internal error", part=part, error=repr(error), where=kind[1])
