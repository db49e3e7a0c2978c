"""The fleet's dashboard: whether everything is traded, which nodes are offline, and whether events are lost."""

from typing import Final

from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import portfolios
from grafana.source.frame import FLEET, OUR_ALERTS, begun_alerts, shell
from grafana.source.nodes import node_table
from grafana.source.palette import (
    BACKPRESSURE_FLOOR,
    BAD,
    GREEN,
    LATE,
    PURPLE,
    QUEUE_FILLING,
    QUEUE_FULL,
    SKY,
    WELL,
    node_states,
    push_states,
    redis_states,
    thresholds,
    words,
)
from grafana.source.panels import Column, Query, big_number, lines, rows, states_over_time
from grafana.source.queries import (
    increase_in_range,
    once,
    recorded,
    select,
    while_known,
    worst,
    worst_rate,
    worst_recorded,
    worst_uptime,
)

# A reader cannot tell more bands or lines than these apart on any screen.
BANDS: Final = 20
LINES: Final = 10

_SEVERITIES: Final = {"critical": ("CRITICAL", BAD), "warning": ("warning", LATE), "info": ("info", SKY)}


def dashboard() -> Dashboard:
    """Ginkgo / Fleet."""
    return shell(
        FLEET,
        "Ginkgo / Fleet",
        "Whether every portfolio is traded, which ExecutionNodes are offline and since when, whether events are lost, "
        "which queues are full, and whether the load is balanced.",
        [
            portfolios.everything_traded(),
            portfolios.untraded(),
            portfolios.duplicated(),
            portfolios.without_failover(),
            portfolios.last_look(),
            portfolios.plan_age(),
            _offline(),
            _online(),
            _undecided(),
            _dropped_in_range(),
            _redis(),
            _push(),
            portfolios.faults(),
            portfolios.by_state(),
            _nodes(),
            _alive(),
            _alerts(),
            Row("Load and loss"),
            _events(),
            _busiest(),
            _backpressure(),
            _drops(),
            _queues(),
            _balance(),
            _census(),
            Row("Plan and workers"),
            portfolios.looks(),
            portfolios.plan_changes(),
            portfolios.workers(),
        ],
        annotations=[begun_alerts()],
    )


def _nodes_in(state: str) -> str:
    chosen = select("ginkgo_nodes", f'state="{state}"')
    return f"sum({once(chosen)})"


def _offline() -> stat.Panel:
    return big_number(
        "Offline",
        "Nodes that crashed: their heartbeat is missing and their metrics are still in Redis. A node that "
        "stopped gracefully is not counted. Unknown while Redis cannot be read.",
        _nodes_in("offline"),
        limits=thresholds((0, WELL), (1, BAD)),
    )


def _online() -> stat.Panel:
    return big_number(
        "Online",
        "Nodes with a live heartbeat. Unknown while Redis cannot be read.",
        _nodes_in("online"),
        limits=thresholds((0, BAD), (1, WELL)),
    )


def _undecided() -> stat.Panel:
    return big_number(
        "Undecided",
        "Nodes without a heartbeat that may be dead or alive, because Redis failed, restarted or refuses writes. "
        "A node is offline when it has not beaten for one TTL and one beat in which Redis could be read and took "
        "writes. In a mass loss, dead nodes are undecided for up to 15 s.",
        _nodes_in("undecided"),
        limits=thresholds((0, WELL), (1, LATE)),
    )


def _dropped_in_range() -> stat.Panel:
    lost = f"sum({increase_in_range(select('ginkgo_node_dropped_events_total'))})"
    readable = f"max({select('ginkgo_redis_up')}) == 1"
    return big_number(
        "Events dropped",
        "Events that nodes dropped in the range chosen above because a queue was full. This data is lost. Drops "
        "from before a node's first sample are not counted.",
        f"{lost} > 0 or {lost} and on () {readable}",
        limits=thresholds((0, WELL), (0.001, BAD)),
        unit="locale",
        decimals=0,
    )


def _redis() -> stat.Panel:
    return big_number(
        "Redis",
        "Whether any exporter could read Redis in its last scrape. If no exporter could, all nodes' states are "
        "unknown.",
        f"max({select('ginkgo_redis_up')})",
        limits=thresholds((0, BAD), (1, WELL)),
        words=redis_states(),
        absent="no exporter",
    )


def _push() -> stat.Panel:
    return big_number(
        "Push to Alertmanager",
        "Whether an exporter watches the heartbeats and an Alertmanager accepted its post within the last minute. "
        "Without push, alerts still come through Prometheus's rules, half a minute later.",
        f"max({select('ginkgo_bridge_active')})",
        limits=thresholds((0, BAD), (1, WELL)),
        words=push_states(),
        absent="off or unknown",
    )


def _nodes() -> table.Panel:
    return node_table(
        "Nodes",
        "Offline nodes come first. 'Last heartbeat' is the time that the node itself wrote; an offline node has "
        "been offline since shortly after it. 'Dropped' counts the range chosen above. An offline node's queue and "
        "portfolios are unknown. A node's name links to its history.",
        height=11,
    )


def _alive() -> statetimeline.Panel:
    return states_over_time(
        "Alive",
        f"Each node's state over the range. A gap means that the state was unknown. With more than {BANDS} nodes, "
        f"the panel shows the {BANDS} nodes that were offline longest.",
        Query(worst_uptime(BANDS), "{{node_id}}"),
        words=node_states(),
        width=15,
        height=10,
    )


def _alerts() -> table.Panel:
    return rows(
        "Firing alerts",
        "Alerts of Prometheus's rules that fire now. The choices at the top do not apply here, so that they hide "
        "no alert.",
        (
            Column("Severity", label="severity", words=words(_SEVERITIES), width=85),
            Column("Alert", label="alertname"),
            Column("Node", label="node_id", width=95),
            Column(
                "Since",
                f"1000 * (ALERTS_FOR_STATE{{{OUR_ALERTS}}} and ignoring (alertstate) "
                f'ALERTS{{{OUR_ALERTS}, alertstate="firing"}})',
                unit="dateTimeAsIsoNoDateIfToday",
                width=85,
            ),
        ),
        sort=(("Severity", False), ("Since", False)),
        absent="No firing alert is recorded",
        width=9,
        height=10,
    )


def _events() -> timeseries.Panel:
    return lines(
        "Events",
        "Events that all nodes together take for routing, per second.",
        Query(f"sum({while_known(recorded('node:ginkgo_node_events:rate5m'))})", "all nodes"),
        unit="cps",
        colours={"all nodes": SKY},
        width=8,
    )


def _busiest() -> timeseries.Panel:
    return lines(
        "Events: the busiest nodes",
        f"Events taken for routing per second, for the {LINES} busiest nodes of the range.",
        Query(worst_recorded(LINES, "node:ginkgo_node_events:rate5m"), "{{node_id}}"),
        unit="cps",
        width=16,
    )


def _backpressure() -> timeseries.Panel:
    return lines(
        "Backpressure: where it jams",
        f"How often a full queue pushed back, per second, for the {LINES} worst nodes of the range. Below the "
        "dashed line no alert on backpressure fires.",
        Query(worst_recorded(LINES, "node:ginkgo_node_backpressure:rate5m"), "{{node_id}}"),
        unit="cps",
        limits=thresholds((BACKPRESSURE_FLOOR, LATE), below="transparent"),
    )


def _drops() -> timeseries.Panel:
    return lines(
        "Events dropped",
        f"Events lost per second, for the {LINES} worst nodes of the range. Any bar is lost data.",
        Query(worst_rate(LINES, "ginkgo_node_dropped_events_total"), "{{node_id}}"),
        unit="cps",
        bars=True,
    )


def _queues() -> timeseries.Panel:
    fullest = recorded("node:ginkgo_node_queue_size:fullest")
    return lines(
        "Queues: the fullest",
        f"The fullest queue among a node's portfolios, for the {LINES} worst nodes of the range. Where single queues "
        "are unknown, it is the average over the node's portfolios. A portfolio's queue holds 1,000 events. The dashed "
        "lines are at 70 % (filling) and 95 % (full).",
        Query(worst(LINES, while_known(fullest), f"max_over_time({fullest}[$__range] @ end())"), "{{node_id}}"),
        unit="short",
        limits=thresholds((QUEUE_FILLING, LATE), (QUEUE_FULL, BAD), below="transparent"),
    )


def _balance() -> timeseries.Panel:
    return lines(
        "Portfolio balance",
        "Portfolios on the fullest, the average and the emptiest online node. If the lines are far apart, the load "
        "is not balanced.",
        Query(recorded("installation:ginkgo_node_portfolios:max"), "most"),
        Query(recorded("installation:ginkgo_node_portfolios:avg"), "average"),
        Query(recorded("installation:ginkgo_node_portfolios:min"), "fewest"),
        unit="short",
        width=6,
        colours={"most": LATE, "average": SKY, "fewest": PURPLE},
        steps=True,
    )


def _census() -> timeseries.Panel:
    return lines(
        "Nodes by state",
        "How many nodes are known, by state. A forgotten node was offline for longer than --nodes.forget-after.",
        Query(f"sum by (state) ({recorded('installation:ginkgo_nodes:max')})", "{{state}}"),
        unit="short",
        width=6,
        colours={"online": SKY, "offline": BAD, "undecided": LATE, "forgotten": GREEN},
        steps=True,
        decimals=0,
    )
