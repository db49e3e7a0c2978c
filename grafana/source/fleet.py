"""The fleet's dashboard: whether everything is traded, which nodes are offline, and whether events are lost."""

from typing import Final

from grafana_foundation_sdk.builders import statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import availability, overview, portfolios
from grafana.source.annotations import deaths, exporter_restarts, firing_alerts, mass_losses, plan_changes
from grafana.source.frame import shell
from grafana.source.graphs import lines, states_over_time
from grafana.source.limits import BACKPRESSURE_FLOOR, QUEUE_FILLING, QUEUE_FULL
from grafana.source.links import EVENTS, FLEET, OPEN_ALERTED_NODE, OPEN_FLEET, OPEN_RUNBOOK, RUNBOOKS, STATUS_PAGE
from grafana.source.nodes import node_table
from grafana.source.palette import BAD, LATE, PURPLE, SKY, STATE_COLOURS, node_states, thresholds, words
from grafana.source.queries import (
    HERE,
    INSTALLATION,
    NODE_LEGEND,
    OUR_ALERTS,
    alerts,
    recorded,
    total,
    while_known,
    worst,
    worst_rate,
    worst_recorded,
    worst_uptime,
)
from grafana.source.tables import Column, rows
from grafana.source.targets import Query

# A reader cannot tell more bands or lines than these apart on any screen.
BANDS: Final = 20
LINES: Final = 10


# A table sorts by the label's text, so the text of the least severity is replaced by one that sorts last.
_LEAST: Final = "z-info"
_SEVERITIES: Final = {"critical": ("CRITICAL", BAD), "warning": ("warning", LATE), _LEAST: ("info", SKY)}


def dashboard() -> Dashboard:
    """Ginkgo / Fleet."""
    return shell(
        FLEET,
        "Ginkgo / Fleet",
        "Whether everything is all right, whether every portfolio is traded, which ExecutionNodes are offline and "
        "since when, whether events are lost, which queues are full, and whether the load is balanced.",
        [
            overview.all_right(),
            overview.everything_traded(),
            overview.offline(),
            overview.online(),
            overview.redis(),
            overview.untraded(),
            overview.at_risk(),
            overview.duplicated(),
            overview.without_failover(),
            overview.last_look(),
            overview.undecided(),
            overview.dropped_in_range(),
            _nodes(),
            portfolios.faults(),
            portfolios.by_state(),
            _alive(),
            _alerts(),
            Row("Availability of trading"),
            *availability.tiles(),
            Row("Load and loss"),
            _events(),
            _busiest(),
            _backpressure(),
            _drops(),
            _queues(),
            _balance(),
            _census(),
            Row("Plan and workers"),
            portfolios.plan_age(),
            portfolios.looks(),
            portfolios.plan_changes(),
            portfolios.workers(),
        ],
        annotations=[firing_alerts(), deaths(), mass_losses(), plan_changes(), exporter_restarts()],
        pages=[STATUS_PAGE, EVENTS, RUNBOOKS],
        variables=[availability.market_hours()],
    )


def _nodes() -> table.Panel:
    return node_table(
        "Nodes",
        "The worst nodes come first: offline, undecided, then those that miss planned portfolios, then those with the "
        "fullest queue. 'Last heartbeat' is the time that the node itself wrote; an offline node has been offline "
        "since shortly after it. 'Missing' is planned less loaded. 'Queue' is the fullest queue of its portfolios. "
        "'Pushback' is how often a full queue pushed back. 'Dropped' counts the range chosen above. An offline node's "
        "queue and portfolios are unknown. A node's name links to its history and its events.",
        height=9,
    )


def _alive() -> statetimeline.Panel:
    return states_over_time(
        "Alive",
        f"Each node's state over the range. A gap means that the state was unknown. With more than {BANDS} nodes, "
        f"the panel shows the {BANDS} nodes that were offline longest.",
        Query(worst_uptime(BANDS), NODE_LEGEND),
        words=node_states(),
        width=15,
        height=10,
    )


def _alerts() -> table.Panel:
    firing = alerts("ALERTS", OUR_ALERTS, 'alertstate="firing"')
    since = f"{alerts('ALERTS_FOR_STATE', OUR_ALERTS)} and ignoring (alertstate) {firing}"
    return rows(
        "Firing alerts",
        "Alerts of Prometheus's rules that fire now for the chosen installations and jobs. An alert without such a "
        "label is always shown. An alert's name links to its runbook.",
        (
            Column("Severity", label="severity", words=words(_SEVERITIES), width=85),
            Column("Alert", label="alertname", links=[OPEN_RUNBOOK]),
            Column("Node", label="node_id", links=[OPEN_ALERTED_NODE], width=95),
            Column("Installation", label=INSTALLATION, links=[OPEN_FLEET], width=105),
            Column(
                "Since",
                f'label_replace(1000 * ({since}), "severity", "{_LEAST}", "severity", "info")',
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
        Query(total(while_known(recorded("node:ginkgo_node_events:rate5m"))), f"all nodes{HERE}"),
        unit="cps",
        colours={"all nodes": SKY},
        width=8,
    )


def _busiest() -> timeseries.Panel:
    return lines(
        "Events: the busiest nodes",
        f"Events taken for routing per second, for the {LINES} busiest nodes of the range.",
        Query(worst_recorded(LINES, "node:ginkgo_node_events:rate5m"), NODE_LEGEND),
        unit="cps",
        width=16,
    )


def _backpressure() -> timeseries.Panel:
    return lines(
        "Backpressure: where it jams",
        f"How often a full queue pushed back, per second, for the {LINES} worst nodes of the range. Below the "
        "dashed line no alert on backpressure fires.",
        Query(worst_recorded(LINES, "node:ginkgo_node_backpressure:rate5m"), NODE_LEGEND),
        unit="cps",
        limits=thresholds((BACKPRESSURE_FLOOR, LATE), below="transparent"),
    )


def _drops() -> timeseries.Panel:
    return lines(
        "Events dropped",
        f"Events lost per second, for the {LINES} worst nodes of the range. Any bar is lost data.",
        Query(worst_rate(LINES, "ginkgo_node_dropped_events_total"), NODE_LEGEND),
        unit="cps",
        bars=True,
    )


def _queues() -> timeseries.Panel:
    fullest = recorded("node:ginkgo_node_queue_size:fullest")
    return lines(
        "Queues: the fullest",
        f"The fullest queue among a node's portfolios, for the {LINES} worst nodes of the range. Where single queues "
        "are unknown, it is the average over the node's portfolios. A portfolio's queue holds 1,000 events. The dashed "
        f"lines are at {QUEUE_FILLING:.0f} (filling) and {QUEUE_FULL:.0f} (full).",
        Query(while_known(worst(LINES, fullest, f"max_over_time({fullest}[$__range] @ end())")), NODE_LEGEND),
        unit="short",
        limits=thresholds((QUEUE_FILLING, LATE), (QUEUE_FULL, BAD), below="transparent"),
    )


def _balance() -> timeseries.Panel:
    return lines(
        "Portfolio balance",
        "Portfolios on the fullest, the average and the emptiest online node. If the lines are far apart, the load "
        "is not balanced.",
        Query(recorded("installation:ginkgo_node_portfolios:max"), f"most{HERE}"),
        Query(recorded("installation:ginkgo_node_portfolios:avg"), f"average{HERE}"),
        Query(recorded("installation:ginkgo_node_portfolios:min"), f"fewest{HERE}"),
        unit="short",
        width=6,
        colours={"most": LATE, "average": SKY, "fewest": PURPLE},
        steps=True,
    )


def _census() -> timeseries.Panel:
    return lines(
        "Nodes by state",
        "How many nodes are known, by state. A forgotten node was offline for longer than --nodes.forget-after.",
        Query(total(recorded("installation:ginkgo_nodes:max"), "state"), f"{{{{state}}}}{HERE}"),
        unit="none",
        width=6,
        colours={state: STATE_COLOURS[state] for state in ("online", "offline", "undecided", "forgotten")},
        steps=True,
        decimals=0,
    )
