"""The node's dashboard: what one node, or a few, did over the range, and where it crossed a limit."""

from typing import Final

from grafana_foundation_sdk.builders import statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.frame import NODE, firing_alerts, restarts, shell
from grafana.source.nodes import node_table
from grafana.source.palette import (
    BACKPRESSURE_FLOOR,
    BACKPRESSURE_SHARE,
    BACKPRESSURE_SPIKE,
    BAD,
    HEARTBEAT_LATE,
    HEARTBEAT_TTL,
    LATE,
    QUEUE_FILLING,
    QUEUE_FULL,
    node_states,
    numbered_statuses,
    thresholds,
)
from grafana.source.panels import Query, lines, states_over_time
from grafana.source.queries import (
    once,
    select,
    worst,
    worst_gauge,
    worst_rate,
    worst_recorded,
    worst_uptime,
)

LINES: Final = 10

_CHOSEN: Final = 'node_id=~"$node"'
_ONLY_SOME: Final = f" Of more than {LINES} chosen nodes, the {LINES} highest."


def dashboard() -> Dashboard:
    """Ginkgo / Node."""
    return shell(
        NODE,
        "Ginkgo / Node",
        "One ExecutionNode, or several: heartbeat, queue, events, backpressure, drops and resources, with "
        "restarts and alerts marked.",
        [
            _nodes(),
            _alive(),
            _status(),
            _heartbeat(),
            _queue(),
            _events(),
            _backpressure(),
            _backpressure_share(),
            _drops(),
            Row("Load and resources"),
            _portfolios(),
            _cpu(),
            _memory(),
        ],
        with_node=True,
        annotations=[firing_alerts(_CHOSEN), restarts(_CHOSEN)],
    )


def _gauge(name: str) -> Query:
    return Query(worst_gauge(LINES, name, _CHOSEN), "{{node_id}}")


def _rate(name: str) -> Query:
    return Query(worst_rate(LINES, name, _CHOSEN), "{{node_id}}")


def _nodes() -> table.Panel:
    return node_table(
        "Now",
        "What is known of the chosen nodes at the end of the range; offline ones first. An offline node's "
        "queue and portfolios are not known.",
        _CHOSEN,
        height=7,
    )


def _alive() -> statetimeline.Panel:
    return states_over_time(
        "Alive",
        "Whether a live heartbeat was seen; a hole means that nothing was known." + _ONLY_SOME,
        Query(worst_uptime(LINES, _CHOSEN), "{{node_id}}"),
        words=node_states(),
        width=12,
        height=8,
    )


def _status() -> statetimeline.Panel:
    # A state timeline wants one number a state; the mapping turns it back into the word.
    others = select("ginkgo_node_status", _CHOSEN, 'status!="RUNNING"')
    not_running = once(f"avg_over_time({others}[$__range] @ end())", "status")
    paused, stopped = (
        worst(LINES, once(select("ginkgo_node_status", _CHOSEN, f'status="{status}"'), "status"), not_running)
        for status in ("PAUSED", "STOPPED")
    )
    return states_over_time(
        "Reported status",
        "What the nodes say of themselves. Older nodes report nothing; an offline node's last word is not "
        f"kept. Of more than {LINES} chosen nodes, the {LINES} that were longest not running.",
        Query(f"1 + ({paused}) + 2 * ({stopped})", "{{node_id}}"),
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
        f"{HEARTBEAT_TTL}; under {HEARTBEAT_LATE} it missed a beat, at 0 it is offline. Scrapes see a few "
        f"points of each tooth. Of more than {LINES} chosen nodes, the {LINES} that came closest to 0.",
        Query(worst(LINES, once(ttl), f"-1 * {lowest}"), "{{node_id}}"),
        unit="s",
        limits=thresholds((0, BAD), (HEARTBEAT_LATE, LATE), below="transparent"),
        floor=-1,
        ceiling=HEARTBEAT_TTL,
    )


def _queue() -> timeseries.Panel:
    return lines(
        "Queue",
        "Average queue length over the node's portfolios. Lines at 70 % (filling) and 95 % (full) of the "
        "1,000 events that a queue holds." + _ONLY_SOME,
        _gauge("ginkgo_node_queue_size"),
        unit="short",
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
        "How often a full queue pushed back, per second, and the level above which it is a spike: "
        f"{BACKPRESSURE_SPIKE} times the node's own average of the hour before and its rate at the same time "
        "yesterday, and more than the line." + _ONLY_SOME,
        Query(worst_recorded(LINES, "node:ginkgo_node_backpressure:rate5m", _CHOSEN), "{{node_id}}"),
        Query(f"{BACKPRESSURE_SPIKE} * ({usual})", "{{node_id}}: spike above"),
        unit="cps",
        limits=thresholds((BACKPRESSURE_FLOOR, LATE), below="transparent"),
    )


def _backpressure_share() -> timeseries.Panel:
    return lines(
        "Backpressure per event",
        "Counted per portfolio, so it can exceed 100 %. Over the line for ten minutes, it is steady, and an "
        "alert. No events, no value." + _ONLY_SOME,
        Query(
            worst_recorded(LINES, "node:ginkgo_node_backpressure_per_events:ratio_rate5m", _CHOSEN),
            "{{node_id}}",
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
        "Portfolios loaded." + _ONLY_SOME,
        _gauge("ginkgo_node_portfolios"),
        unit="short",
        width=8,
        steps=True,
        decimals=0,
    )


def _cpu() -> timeseries.Panel:
    return lines(
        "CPU",
        "CPU use as the node reports it. Many nodes write a constant 0: then this line says nothing." + _ONLY_SOME,
        _gauge("ginkgo_node_cpu_usage_ratio"),
        unit="percentunit",
        width=8,
    )


def _memory() -> timeseries.Panel:
    return lines(
        "Memory",
        "Memory as the node reports it. Many nodes write a constant 0: then this line says nothing." + _ONLY_SOME,
        _gauge("ginkgo_node_memory_usage_bytes"),
        unit="bytes",
        width=8,
    )
