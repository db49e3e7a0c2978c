"""What a node measures: the fields that it writes, and the values that the exporter must show for them."""

import json
import random
from typing import Any, NamedTuple

from exporter.contract import LOADED_FIELD, MEGABYTE, STATUSES

LOADED = "loaded"
"""The key of the portfolios that the node lists as loaded, among the shown values; None if it does not list them."""

_LONGEST_QUEUE = 1000
_MOST_POSITIONS = 20


class PortfolioValues(NamedTuple):
    """The values that a node writes of one portfolio.

    Attributes:
        queue_size: Events in its queue.
        position_count: Its open positions.
        node_id: The node.
    """

    queue_size: int
    position_count: int
    node_id: str

    @classmethod
    def random(cls, rng: random.Random, node_id: str) -> "PortfolioValues":
        """Return random values of a node's portfolio."""
        return cls(rng.randrange(_LONGEST_QUEUE), rng.randrange(_MOST_POSITIONS), node_id)


def measure(
    rng: random.Random, counters: tuple[int, int, int], loaded: frozenset[str], *, newer: bool
) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the fields that a node writes, and the values that the exporter must show for them.

    Args:
        rng: Source of random values.
        counters: The node's events, times of backpressure and dropped events.
        loaded: The portfolios that the node has loaded.
        newer: Whether the node writes its status and its list of portfolios.
    """
    events, pushed_back, dropped = counters
    queue, tenths, megabytes = rng.randrange(2000), rng.randrange(1000), rng.randrange(1024)
    status = rng.choice(STATUSES) if newer else None
    shown = {
        "portfolios": len(loaded),
        "queue_size": queue,
        "cpu_usage_ratio": tenths / 1000,
        "memory_usage_bytes": megabytes * MEGABYTE,
        "events": events,
        "backpressure": pushed_back,
        "dropped_events": dropped,
        "status": status,
        LOADED: loaded if newer else None,
    }
    fields = {
        "portfolio_count": len(loaded),
        "queue_size": queue,
        "cpu_usage": f"{tenths / 10:.1f}",
        "memory_usage": megabytes,
        "total_events": events,
        "backpressure_count": pushed_back,
        "dropped_events": dropped,
    }
    if newer:
        fields |= {"status": status, LOADED_FIELD: json.dumps(sorted(loaded))}
    return fields, shown
