"""The exporter dashboard's panels on what the exporter sends and keeps: pushed alerts, the journal."""

from grafana_foundation_sdk.builders import stat, timeseries

from grafana.source.graphs import lines
from grafana.source.palette import BAD, LATE, PURPLE, SKY, WELL, push_states, thresholds
from grafana.source.queries import (
    HERE,
    counter_rate,
    highest,
    lowest,
    once,
    select,
    total,
)
from grafana.source.targets import Query
from grafana.source.tiles import counted, tile


def push() -> stat.Panel:
    """Return whether alerts are pushed."""
    return tile(
        "Push",
        "Whether an exporter watches the heartbeats and an Alertmanager accepted its post within the last minute. "
        "Without push, alerts still come through Prometheus's rules, half a minute later.",
        lowest(once(select("ginkgo_bridge_active"))),
        limits=thresholds((0, BAD), (1, WELL)),
        words=push_states(),
        absent="off or unknown",
    )


def held() -> timeseries.Panel:
    """Return the alerts that are pushed."""
    return lines(
        "Alerts pushed",
        "Alerts that the exporter now pushes to Alertmanager.",
        Query(highest(select("ginkgo_bridge_alerts"), "alertname"), f"{{{{alertname}}}}{HERE}"),
        unit="short",
        absent="Push is off, or nothing is known",
        width=8,
    )


def posts() -> timeseries.Panel:
    """Return the posts to Alertmanager."""
    return lines(
        "Posts",
        "Posts per second by Alertmanager, and those that failed. If no alert fires, the exporter posts an empty list"
        " every 15 s.",
        Query(total(counter_rate("ginkgo_bridge_posts_total"), "alertmanager"), f"all {{{{alertmanager}}}}{HERE}"),
        Query(
            total(counter_rate("ginkgo_bridge_posts_failed_total"), "alertmanager"),
            f"failed {{{{alertmanager}}}}{HERE}",
        ),
        unit="cps",
        absent="Push is off, or nothing is known",
        width=8,
    )


def delay() -> timeseries.Panel:
    """Return how long it takes until a death is posted."""
    buckets = total(counter_rate("ginkgo_bridge_detection_delay_seconds_bucket"), "le")
    return lines(
        "From expiry to accepted post",
        "Time from the expiry of a heartbeat until an Alertmanager accepted the alert. Empty if no node crashed.",
        Query(f"histogram_quantile(0.5, {buckets})", f"half within{HERE}"),
        Query(f"histogram_quantile(0.99, {buckets})", f"99 % within{HERE}"),
        unit="s",
        colours={"half": SKY, "99": PURPLE},
        absent="No crash was pushed in this range, or push is off",
        width=8,
    )


def journal() -> stat.Panel:
    """Return whether the journal is written."""
    return counted(
        "Journal not written",
        "Times in this range that an exporter could not write its journal's file. Events are then in memory only. "
        "It is 0 as well without --journal.file.",
        "ginkgo_journal_write_errors_total",
    )


def events() -> timeseries.Panel:
    """Return the events of the journal."""
    return lines(
        "Journal's events",
        "Events per minute, by kind: changes of nodes, portfolios, Redis, push, the scheduler and exporters.",
        Query(
            f"60 * {highest(counter_rate('ginkgo_journal_events_total'), 'kind')}",
            f"{{{{kind}}}}{HERE}",
        ),
        unit="short",
        colours={"node": SKY, "portfolio": PURPLE, "redis": BAD, "mass_loss": LATE},
        bars=True,
        width=8,
    )
