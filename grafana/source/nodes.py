"""The table of nodes, which the fleet's and the node's dashboard share, and its queries."""

from grafana_foundation_sdk.builders.table import Panel

from grafana.source.frame import OPEN_NODE
from grafana.source.palette import (
    BACKPRESSURE_FLOOR,
    BAD,
    HEARTBEAT_LATE,
    LATE,
    PLAIN,
    QUEUE_FILLING,
    QUEUE_FULL,
    node_states,
    node_statuses,
    thresholds,
)
from grafana.source.panels import Column, rows
from grafana.source.queries import increase_in_range, once, recorded, select, while_known


def node_table(title: str, description: str, *matchers: str, height: int) -> Panel:
    """Return a table with a row for each chosen node: offline nodes first, with each node's last known values."""
    heartbeat = select("ginkgo_node_last_heartbeat_timestamp_seconds", *matchers)
    up = once(select("ginkgo_node_up", *matchers))
    columns = (
        Column("Node", label="node_id", link=OPEN_NODE),
        Column(
            "State",
            up,
            words=node_states(),
            absent="unknown",
            solid=True,
            width=90,
        ),
        Column("Last heartbeat", f"1000 * {once(heartbeat)}", unit="dateTimeAsIsoNoDateIfToday", width=120),
        Column("Ago", f"round(time() - {once(heartbeat)})", unit="s", decimals=0, width=85),
        Column(
            "TTL",
            once(select("ginkgo_node_heartbeat_ttl_seconds", *matchers)),
            unit="s",
            decimals=0,
            limits=thresholds((-1, BAD), (0.001, LATE), (HEARTBEAT_LATE, PLAIN)),
            width=70,
        ),
        Column("Planned", once(select("ginkgo_node_planned_portfolios", *matchers)), width=80),
        Column("Loaded", once(select("ginkgo_node_portfolios", *matchers)), width=75),
        Column(
            "Queue",
            once(select("ginkgo_node_queue_size", *matchers)),
            limits=thresholds((0, PLAIN), (QUEUE_FILLING, LATE), (QUEUE_FULL, BAD)),
            decimals=0,
            width=75,
        ),
        Column(
            "Events/s",
            while_known(recorded("node:ginkgo_node_events:rate5m", *matchers), *matchers),
            unit="short",
            width=90,
        ),
        Column(
            "Backpressure/s",
            while_known(recorded("node:ginkgo_node_backpressure:rate5m", *matchers), *matchers),
            unit="short",
            limits=thresholds((0, PLAIN), (BACKPRESSURE_FLOOR, LATE)),
            width=130,
        ),
        Column(
            "Dropped",
            while_known(increase_in_range(select("ginkgo_node_dropped_events_total", *matchers)), *matchers),
            unit="locale",
            decimals=0,
            limits=thresholds((0, PLAIN), (0.001, BAD)),
            width=85,
        ),
        Column(
            "Status",
            once(select("ginkgo_node_status", *matchers) + " == 1"),
            label="status",
            words=node_statuses(),
            width=110,
        ),
        Column("Job", label="job", width=130),
    )
    return rows(
        title,
        description,
        columns,
        sort=(("State", False), ("Node", False)),
        absent="No node is known, or Redis cannot be read",
        height=height,
    )
