"""The table of nodes, which the fleet's and the node's dashboard share, and its queries."""

from grafana_foundation_sdk.builders.table import Panel

from grafana.source.limits import BACKPRESSURE_FLOOR, HEARTBEAT_LATE, QUEUE_FILLING, QUEUE_FULL
from grafana.source.links import OPEN_EVENTS, OPEN_FLEET, OPEN_NODE
from grafana.source.palette import BAD, LATE, PLAIN, UNDECIDED, node_states, node_statuses, thresholds
from grafana.source.queries import INSTALLATION, increase_in_range, of_online, once, recorded, select, while_known
from grafana.source.tables import Column, rows


def node_table(title: str, description: str, *matchers: str, height: int) -> Panel:
    """Return a table with a row for each chosen node, the worst first: offline, undecided, then by the fullest queue.

    An undecided node has a TTL in Prometheus, and no state.
    """
    heartbeat = select("ginkgo_node_last_heartbeat_timestamp_seconds", *matchers)
    undecided = f"0 * {once(select('ginkgo_node_heartbeat_ttl_seconds', *matchers))} + {UNDECIDED}"
    up = f"{once(select('ginkgo_node_up', *matchers))} or {undecided}"
    columns = (
        Column("Node", label="node_id", links=[OPEN_NODE, OPEN_EVENTS]),
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
        Column("Loaded", of_online("ginkgo_node_portfolios", *matchers), width=75),
        Column(
            "Queue",
            f"{of_online('ginkgo_node_queue_size_max', *matchers)} or {of_online('ginkgo_node_queue_size', *matchers)}",
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
            of_online("ginkgo_node_status", *matchers, ignoring="status") + " == 1",
            label="status",
            words=node_statuses(),
            width=110,
        ),
        Column("Installation", label=INSTALLATION, links=[OPEN_FLEET], width=110),
        Column("Job", label="job", width=130),
    )
    return rows(
        title,
        description,
        columns,
        sort=(("State", False), ("Queue", True), ("Node", False)),
        absent="No node is known, or Redis cannot be read",
        height=height,
    )
