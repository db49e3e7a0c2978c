"""The one table of what a node writes and what is exported of it.

Reader, exposition, page, table, API and documentation all take their names, types and texts from here. A new metric of
nodes is one line in ``NUMBERS``.
"""

import math
import re
from typing import Final, Literal, NamedTuple

STATUSES: Final = ("RUNNING", "PAUSED", "STOPPED")
"""The values that a node's ``status`` field may have, in the order they are exported."""

STATUS_FIELD: Final = "status"

LOADED_FIELD: Final = "loaded_portfolio_ids"
"""The field that lists the portfolios that a node has loaded. It is never a label: its length has no bound."""

STATE_FIELD: Final = "portfolio_state"
"""Stands for the numbers in the state of a portfolio where invalid values are counted."""

WORKER_PREFIXES: Final = {
    "task_timer": "heartbeat:task_timer:",
    "data_worker": "heartbeat:data_worker:",
    "backtest_worker": "backtest:worker:",
}
"""What the names of the heartbeats of the platform's other components begin with."""

MEGABYTE: Final = 1_048_576
"""Bytes in one MB of ``memory_usage``."""


class Metric(NamedTuple):
    """One exported family with the label ``node_id``.

    Attributes:
        name: The name of its samples.
        kind: Its Prometheus type.
        help: Its HELP text, naming the source.
        json: Its key in ``/api/v1/nodes``; empty for the name of its field. Without a field it is not listed there.
        field: The field of the node's hash that it comes from, if it does.
        title: The heading of its column on page and table; empty if it has none. In small letters it names the column.
        short: A shorter heading for narrow tables; empty to use the title.
        show: How people read its value.
        multiply: Factor from the field's unit to the metric's.
        divide: Divisor from the field's unit to the metric's.
        label: A second label; empty without one.
    """

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    json: str = ""
    field: str | None = None
    title: str = ""
    short: str = ""
    show: Literal["count", "percent", "memory"] = "count"
    multiply: int = 1
    divide: int = 1
    label: str = ""

    @property
    def family(self) -> str:
        """The family's name, as OpenMetrics has it: a counter's without ``_total``."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    @property
    def key(self) -> str:
        """Its key in ``/api/v1/nodes``; empty if it is not listed there."""
        return self.json or self.field or ""


UP: Final = Metric(
    "ginkgo_node_up",
    "gauge",
    "1 if the node's heartbeat is alive, 0 if the node is offline (from the TTL of its heartbeat).",
)
HEARTBEAT_TTL: Final = Metric(
    "ginkgo_node_heartbeat_ttl_seconds",
    "gauge",
    "Time left to the node's heartbeat (its PTTL); 0 when it is missing, -1 when it never expires.",
    json="heartbeat_ttl_seconds",
)
LAST_HEARTBEAT: Final = Metric(
    "ginkgo_node_last_heartbeat_timestamp_seconds",
    "gauge",
    "Unix time that the node wrote into its last heartbeat (the heartbeat's value).",
    json="last_heartbeat",
)
STATUS: Final = Metric(
    "ginkgo_node_status",
    "gauge",
    "1 for the status that the node reports, 0 for the other known ones (field status).",
    field=STATUS_FIELD,
    label="status",
)
MASS_LOST: Final = Metric(
    "ginkgo_node_mass_lost",
    "gauge",
    "1 for nodes that are lost together in a mass loss; absent for all others (from the ends of their heartbeats).",
    label="loss",
)
EVENTS: Final = Metric(
    "ginkgo_node_events_total",
    "counter",
    "Events that the node took for routing since it started (field total_events).",
    json="events",
    field="total_events",
    title="Events",
)
BACKPRESSURE: Final = Metric(
    "ginkgo_node_backpressure_total",
    "counter",
    "Times that a full queue pushed back since the node started (field backpressure_count).",
    json="backpressure",
    field="backpressure_count",
    title="Backpressure",
    short="Backpr.",
)
DROPPED: Final = Metric(
    "ginkgo_node_dropped_events_total",
    "counter",
    "Events that the node dropped since it started (field dropped_events).",
    field="dropped_events",
    title="Drops",
)

NUMBERS: Final = (
    Metric(
        "ginkgo_node_portfolios",
        "gauge",
        "Portfolios that the node has loaded (field portfolio_count).",
        json="portfolios",
        field="portfolio_count",
        title="Portfolios",
        short="Portf.",
    ),
    Metric(
        "ginkgo_node_queue_size",
        "gauge",
        "Average queue length over the node's portfolios (field queue_size).",
        field="queue_size",
        title="Queue",
    ),
    Metric(
        "ginkgo_node_cpu_usage_ratio",
        "gauge",
        "CPU use of the node as a ratio, 1 being 100 percent (field cpu_usage, in percent).",
        json="cpu_usage_ratio",
        field="cpu_usage",
        title="CPU",
        show="percent",
        divide=100,
    ),
    Metric(
        "ginkgo_node_memory_usage_bytes",
        "gauge",
        "Memory that the node uses (field memory_usage, in MB of 1048576 bytes).",
        json="memory_usage_bytes",
        field="memory_usage",
        title="Memory",
        show="memory",
        multiply=MEGABYTE,
    ),
    EVENTS,
    BACKPRESSURE,
    DROPPED,
)
"""The metrics read from a numeric field of a node's hash."""

GAUGES: Final = tuple(metric for metric in NUMBERS if metric.kind == "gauge")

COLUMN_NAMES: Final = (
    *("state", "node", "heartbeat", "since"),
    *(metric.title.lower() for metric in NUMBERS if metric.title),
    *("events/s", "status"),
)
"""The columns of page and table, by which nodes can be sorted. ``exporter.snapshot.rows`` fills them."""

NODE_METRICS: Final = (UP, MASS_LOST, HEARTBEAT_TTL, LAST_HEARTBEAT, *NUMBERS, STATUS)
"""All per-node families, in the order they are exported."""

PLANNED_PORTFOLIOS: Final = Metric(
    "ginkgo_node_planned_portfolios",
    "gauge",
    "Portfolios that the plan gives to the node, dead or alive (hash schedule:plan).",
)
QUEUE_SIZE_MAX: Final = Metric(
    "ginkgo_node_queue_size_max",
    "gauge",
    "The fullest queue among the portfolios that an online node has loaded (field queue_size of their states).",
)
POSITIONS: Final = Metric(
    "ginkgo_node_positions",
    "gauge",
    "Positions of the portfolios that an online node has loaded (field position_count of their states).",
)
PORTFOLIO_METRICS: Final = (PLANNED_PORTFOLIOS, QUEUE_SIZE_MAX, POSITIONS)
"""The per-node families that exist only where a plan or a loaded list exists, in the order they are exported."""

FIELDS: Final = (*(metric.field for metric in NUMBERS if metric.field), STATUS_FIELD, LOADED_FIELD)
"""The hash fields that are read, in the order of a reading's columns."""

_NUMBER: Final = re.compile(rb"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def parse_number(text: bytes) -> float | None:
    """Return the number that a text means; None if the text is no ASCII decimal, infinite or negative."""
    number = float(text) if _NUMBER.fullmatch(text) else -1.0
    return number if 0 <= number < math.inf else None
