"""The node's dashboard: it shows what one node or a few did over the range, and when they crossed a limit."""

from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.builders import statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models.dashboard import Dashboard

from exporter.contract import NUMBERS
from grafana.source import overview, portfolios
from grafana.source.annotations import deaths, firing_alerts, mass_losses, node_restarts, plan_changes
from grafana.source.frame import shell
from grafana.source.graphs import lines, states_over_time
from grafana.source.limits import (
    BACKPRESSURE_FLOOR,
    BACKPRESSURE_SHARE,
    BACKPRESSURE_SPIKE,
    HEARTBEAT_LATE,
    HEARTBEAT_TTL,
    QUEUE_FILLING,
    QUEUE_FULL,
)
from grafana.source.links import EVENTS, NODE, NODE_RUNBOOK, STATUS_PAGE
from grafana.source.nodes import node_table
from grafana.source.palette import BAD, LATE, node_states, numbered_statuses, thresholds
from grafana.source.queries import (
    NODE_LEGEND,
    once,
    select,
    worst,
    worst_gauge,
    worst_rate,
    worst_recorded,
    worst_uptime,
)
from grafana.source.targets import Query

LINES: Final = 10

_DRAWN: Final = {"portfolio_count", "queue_size", "total_events", "backpressure_count", "dropped_events"}
"""The fields that have a panel of their own."""
_UNITS: Final = {"count": "short", "percent": "percentunit", "memory": "bytes"}
_CHOSEN: Final = 'node_id=~"$node"'
_ONLY_SOME: Final = f" With more than {LINES} chosen nodes, the panel shows the {LINES} highest."


def dashboard() -> Dashboard:
    """Ginkgo / Node."""
    return shell(
        NODE,
        "Ginkgo / Node",
        "One ExecutionNode, or several: heartbeat, queues, events, backpressure, drops, portfolios and resources. "
        "Restarts and alerts are marked.",
        [
            overview.redis(height=5),
            _nodes(),
            portfolios.faults(_CHOSEN, width=14, height=7, of_node=True),
            _portfolios(),
            _alive(),
            _status(),
            _heartbeat(),
            _queue(),
            _events(),
            _backpressure(),
            _backpressure_share(),
            _drops(),
            Row("Load and resources"),
            _positions(),
            *_others(),
        ],
        with_node=True,
        annotations=[firing_alerts(_CHOSEN), deaths(_CHOSEN), node_restarts(_CHOSEN), mass_losses(), plan_changes()],
        pages=[STATUS_PAGE, EVENTS, NODE_RUNBOOK],
    )


def _gauge(name: str) -> Query:
    return Query(worst_gauge(LINES, name, _CHOSEN), NODE_LEGEND)


def _rate(name: str) -> Query:
    return Query(worst_rate(LINES, name, _CHOSEN), NODE_LEGEND)


def _nodes() -> table.Panel:
    return node_table(
        "Now",
        "The chosen nodes at the end of the range. The worst nodes come first. An offline node's queue and portfolios "
        "are unknown.",
        _CHOSEN,
        width=20,
        height=5,
    )


def _alive() -> statetimeline.Panel:
    return states_over_time(
        "Alive",
        "Whether the node had a live heartbeat. A gap means that its state was unknown."
        f" With more than {LINES} chosen nodes, the panel shows the {LINES} nodes that were offline longest.",
        Query(worst_uptime(LINES, _CHOSEN), NODE_LEGEND),
        words=node_states(),
        width=12,
        height=8,
    )


def _status() -> statetimeline.Panel:
    # A state timeline needs one number for each state; the mapping turns the number into the word again.
    running = select("ginkgo_node_status", _CHOSEN, 'status="RUNNING"')
    not_running = f"1 - {once(f'avg_over_time({running}[$__range] @ end())', 'status')}"
    paused, stopped = (select("ginkgo_node_status", _CHOSEN, f'status="{status}"') for status in ("PAUSED", "STOPPED"))
    number = f"1 + {once(f'{paused} or 2 * {stopped}', 'status')}"
    return states_over_time(
        "Reported status",
        "The status that each node reports. Older nodes report no status. An offline node's last status is not "
        f"shown. With more than {LINES} chosen nodes, the panel shows the {LINES} nodes that were paused or stopped "
        "longest.",
        Query(worst(LINES, number, not_running), NODE_LEGEND),
        words=numbered_statuses(),
        width=12,
        height=8,
        absent="These nodes report no status",
    )


def _heartbeat() -> timeseries.Panel:
    ttl = select("ginkgo_node_heartbeat_ttl_seconds", _CHOSEN)
    lowest = once(f"min_over_time({ttl}[$__range] @ end())")
    return lines(
        "Heartbeat: time left to live",
        "Seconds until the heartbeat expires. A healthy node draws a saw-tooth between 20 and "
        f"{HEARTBEAT_TTL:.0f}. Below {HEARTBEAT_LATE:.0f} it missed a beat; at 0 it is offline. Scrapes see a few "
        f"points of each tooth. With more than {LINES} chosen nodes, the panel shows the {LINES} nodes that came "
        "closest to 0.",
        Query(once(worst(LINES, ttl, f"-1 * {lowest}")), NODE_LEGEND),
        unit="s",
        limits=thresholds((0, BAD), (HEARTBEAT_LATE, LATE), below="transparent"),
        floor=-1,
        ceiling=HEARTBEAT_TTL,
    )


def _queue() -> timeseries.Panel:
    return lines(
        "Queue",
        "The fullest queue among the node's portfolios, and (dashed) the average over them: one full queue of five "
        f"makes an average of 200. The dashed lines are at {QUEUE_FILLING:.0f} (filling) and {QUEUE_FULL:.0f} (full). "
        "A queue holds 1,000 events. Older nodes do not say which portfolios they have: their fullest queue is unknown."
        + _ONLY_SOME,
        Query(worst_gauge(LINES, "ginkgo_node_queue_size_max", _CHOSEN), f"fullest {NODE_LEGEND}"),
        Query(worst_gauge(LINES, "ginkgo_node_queue_size", _CHOSEN), f"average {NODE_LEGEND}"),
        unit="short",
        dashed=["average"],
        limits=thresholds((QUEUE_FILLING, LATE), (QUEUE_FULL, BAD), below="transparent"),
    )


def _events() -> timeseries.Panel:
    return lines(
        "Events",
        "Events taken for routing per second, before their queue." + _ONLY_SOME,
        _rate("ginkgo_node_events_total"),
        unit="cps",
    )


def _backpressure() -> timeseries.Panel:
    usual = worst_recorded(LINES, "node:ginkgo_node_backpressure:usual_rate5m", _CHOSEN)
    return lines(
        "Backpressure",
        "How often a full queue pushed back, per second. A spike is more than the dashed line, more than "
        f"{BACKPRESSURE_SPIKE:.0f} times the node's own average of the hour before, and more than "
        f"{BACKPRESSURE_SPIKE:.0f} times its rate at the same time yesterday." + _ONLY_SOME,
        Query(worst_recorded(LINES, "node:ginkgo_node_backpressure:rate5m", _CHOSEN), NODE_LEGEND),
        Query(f"{BACKPRESSURE_SPIKE:.0f} * ({usual})", f"spike above {NODE_LEGEND}"),
        unit="cps",
        dashed=["spike above"],
        limits=thresholds((BACKPRESSURE_FLOOR, LATE), below="transparent"),
    )


def _backpressure_share() -> timeseries.Panel:
    return lines(
        "Backpressure per event",
        "Push-backs per event. They are counted per portfolio, so the value can exceed 100 %. An alert fires when it "
        "is above the dashed line for ten minutes. A node without events has no value." + _ONLY_SOME,
        Query(
            worst_recorded(LINES, "node:ginkgo_node_backpressure_per_events:ratio_rate5m", _CHOSEN),
            NODE_LEGEND,
        ),
        unit="percentunit",
        limits=thresholds((BACKPRESSURE_SHARE, LATE), below="transparent"),
    )


def _drops() -> timeseries.Panel:
    return lines(
        "Events dropped",
        "Events lost per second. Any bar is lost data." + _ONLY_SOME,
        _rate("ginkgo_node_dropped_events_total"),
        unit="cps",
        bars=True,
    )


def _portfolios() -> timeseries.Panel:
    return lines(
        "Portfolios",
        "Portfolios that the node has loaded, and (dashed) portfolios that the plan gives to it. If the lines differ "
        "for longer than a failover of about 70 s, the table beside says why." + _ONLY_SOME,
        Query(worst_gauge(LINES, "ginkgo_node_portfolios", _CHOSEN), f"loaded {NODE_LEGEND}"),
        Query(_worst_planned(), f"planned {NODE_LEGEND}"),
        unit="short",
        dashed=["planned"],
        width=10,
        height=7,
        steps=True,
        decimals=0,
    )


def _worst_planned() -> str:
    # The plan also gives portfolios to nodes that are not online.
    planned = select("ginkgo_node_planned_portfolios", _CHOSEN)
    return once(worst(LINES, planned, once(f"max_over_time({planned}[$__range] @ end())")))


def _positions() -> timeseries.Panel:
    return lines(
        "Positions",
        "Positions of the node's portfolios, together." + _ONLY_SOME,
        _gauge("ginkgo_node_positions"),
        unit="short",
        width=8,
        steps=True,
        decimals=0,
    )


def _others() -> Iterator[timeseries.Panel]:
    """Yield a plain panel for each other number. With the positions before them, they stand three in a row."""
    others = [metric for metric in NUMBERS if metric.field not in _DRAWN]
    for place, metric in enumerate(others, 1):
        query, unit = (_rate, "cps") if metric.kind == "counter" else (_gauge, _UNITS[metric.show])
        yield lines(
            metric.title or metric.key,
            f"{metric.help} A node that does not measure it writes 0.{_ONLY_SOME}",
            query(metric.name),
            unit=unit,
            width=24 // min(3, 1 + len(others) - place // 3 * 3),
        )
