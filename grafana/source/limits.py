"""The limits at which a value turns from well to bad: those of the alert rules, read from their file."""

import re
from pathlib import Path
from typing import Final

import yaml

RULES: Final = Path(__file__).parents[2] / "alerts" / "ginkgo.rules.yml"


def _expressions() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule.get("alert") or rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}


_EXPRESSIONS: Final = _expressions()


def limit(rule: str, place: str) -> float:
    """Return the number that stands in the place of `{}` in the expression of an alert or a recording rule.

    Raises:
        LookupError: The rule is missing, or such a place is not there exactly once.
    """
    before, after = map(re.escape, place.split("{}"))
    found: list[str] = re.findall(rf"{before}([0-9.]+){after}(?![0-9.])", _EXPRESSIONS[rule])
    if len(found) != 1:
        raise LookupError(f"{rule}: {place!r} is there {len(found)} times")
    return float(found[0])


QUEUE_FILLING: Final = limit("GinkgoQueueGrowing", "node:ginkgo_node_queue_size:fullest > {}")
QUEUE_FULL: Final = limit("GinkgoQueueGrowing", ">= {}")
HEARTBEAT_LATE: Final = limit(
    "node:ginkgo_node_heartbeat_ttl_seconds:late", "(ginkgo_node_heartbeat_ttl_seconds > 0) < {}"
)
BACKPRESSURE_FLOOR: Final = limit("GinkgoBackpressureSpike", "[2m]) > {})")
"""Push-backs per second below which the alerts ignore a node's backpressure."""
BACKPRESSURE_SPIKE: Final = limit("GinkgoBackpressureSpike", "> {} * node:ginkgo_node_backpressure:usual_rate5m")
"""How many times its usual backpressure is a spike."""
BACKPRESSURE_SHARE: Final = limit("GinkgoBackpressureHigh", "ratio_rate5m > {}")
STALLED: Final = limit("GinkgoSchedulerStalled", ">= {}")
"""Seconds without a look at the plan after which the scheduler counts as stalled."""
MEMORY_HIGH: Final = limit("GinkgoRedisMemoryHigh", "> {}")
"""Share of Redis's memory limit."""
DISCOVERY_LATE: Final = limit("GinkgoExporterDegraded", "> {} + 100 * ginkgo_exporter_discovery_duration_seconds")
"""Seconds since the last discovery; on a large keyspace they are more."""
HEARTBEAT_TTL: Final = 2 * HEARTBEAT_LATE
"""Seconds that a heartbeat lives. The rules call a heartbeat late at half of them."""
