"""The table of nodes, which the fleet's and the node's dashboard share, and its queries."""

from grafana_foundation_sdk.builders.table import Panel

from grafana.source.limits import BACKPRESSURE_FLOOR, HEARTBEAT_LATE, QUEUE_FILLING, QUEUE_FULL
from grafana.source.links import OPEN_EVENTS, OPEN_FLEET, OPEN_NODE
from grafana.source.palette import BAD, LATE, MASS_LOST, PLAIN, UNDECIDED, node_states, node_statuses, thresholds
from grafana.source.queries import INSTALLATION, increase_in_range, of_online, once, recorded, select, while_known
from grafana.source.tables import Column, rows


def node_table(title: str, description: str, *matchers: str, height: int, width: int = 24) -> Panel:
    """Return a table with a row for each chosen node, the worst first.

    Nodes in a mass loss come first, then other offline nodes, then undecided ones, then those that miss portfolios,
    then those with the fullest queue.
    An undecided node has a TTL in Prometheus, and no state.
    """
    heartbeat = select("ginkgo_node_last_heartbeat_timestamp_seconds", *matchers)
    undecided = f"0 * {once(select('ginkgo_node_heartbeat_ttl_seconds', *matchers))} + {UNDECIDED}"
    lost_together = f"{MASS_LOST} * {once(select('ginkgo_node_mass_lost', *matchers))}"
    state = f"{lost_together} or {once(select('ginkgo_node_up', *matchers))} or {undecided}"
    planned = once(select("ginkgo_node_planned_portfolios", *matchers))
    loaded = of_online("ginkgo_node_portfolios", *matchers)
    columns = (
        Column("Node", label="node_id", links=[OPEN_NODE, OPEN_EVENTS]),
        Column(
            "State",
            state,
            words=node_states(),
            absent="unknown",
            solid=True,
            width=95,
        ),
        Column("Last heartbeat", f"1000 * {once(heartbeat)}", unit="dateTimeAsIsoNoDateIfToday", width=117),
        Column("Ago", f"round(time() - {once(heartbeat)})", unit="s", decimals=0, width=70),
        Column(
            "TTL",
            once(select("ginkgo_node_heartbeat_ttl_seconds", *matchers)),
            unit="s",
            decimals=0,
            limits=thresholds((-1, BAD), (0.001, LATE), (HEARTBEAT_LATE, PLAIN)),
            width=60,
        ),
        Column("Planned", planned, width=70),
        Column("Loaded", loaded, width=70),
        Column("Missing", f"{planned} - {loaded} > 0", limits=thresholds((1, BAD)), width=75),
        Column(
            "Queue",
            f"{of_online('ginkgo_node_queue_size_max', *matchers)} or {of_online('ginkgo_node_queue_size', *matchers)}",
            limits=thresholds((0, PLAIN), (QUEUE_FILLING, LATE), (QUEUE_FULL, BAD)),
            decimals=0,
            width=65,
        ),
        Column(
            "Events/s",
            while_known(recorded("node:ginkgo_node_events:rate5m", *matchers), *matchers),
            unit="short",
            width=80,
        ),
        Column(
            "Pushback/s",
            while_known(recorded("node:ginkgo_node_backpressure:rate5m", *matchers), *matchers),
            unit="short",
            limits=thresholds((0, PLAIN), (BACKPRESSURE_FLOOR, LATE)),
            width=95,
        ),
        Column(
            "Dropped",
            while_known(increase_in_range(select("ginkgo_node_dropped_events_total", *matchers)), *matchers),
            unit="locale",
            decimals=0,
            limits=thresholds((0, PLAIN), (0.001, BAD)),
            width=75,
        ),
        Column(
            "Status",
            of_online("ginkgo_node_status", *matchers, ignoring="status") + " == 1",
            label="status",
            words=node_statuses(),
            width=85,
        ),
        Column("Installation", label=INSTALLATION, links=[OPEN_FLEET], width=105),
        Column("Job", label="job", width=115),
    )
    return rows(
        title,
        description,
        columns,
        sort=(("State", False), ("Missing", True), ("Queue", True), ("Node", False)),
        absent="No node is known, or Redis cannot be read",
        width=width,
        height=height,
    )
