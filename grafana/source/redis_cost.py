"""The exporter dashboard's panels on Redis: how long reads take, what they cost, and whether Redis takes writes."""

from grafana_foundation_sdk.builders import statetimeline, timeseries

from grafana.source.graphs import lines, states_over_time
from grafana.source.limits import DISCOVERY_LATE, MEMORY_HIGH
from grafana.source.palette import BAD, LATE, PURPLE, redis_states, thresholds
from grafana.source.queries import (
    HERE,
    INSTANCE_LEGEND,
    counter_rate,
    highest,
    select,
)
from grafana.source.targets import Query


def redis_over_time() -> statetimeline.Panel:
    """Return since when each exporter can read Redis."""
    return states_over_time(
        "Redis readable",
        "Whether each exporter's scrapes could read Redis. A gap means that the exporter was not scraped.",
        Query(select("ginkgo_redis_up"), INSTANCE_LEGEND),
        words=redis_states(),
        width=14,
        height=6,
    )


def durations() -> timeseries.Panel:
    """Return the durations of scrapes and reads."""
    return lines(
        "Scrape and read times",
        "Duration of a scrape as Prometheus measured it, and (dashed) the part of it in which the exporter read Redis.",
        Query(select("scrape_duration_seconds"), f"scrape {INSTANCE_LEGEND}"),
        Query(select("ginkgo_exporter_collect_duration_seconds"), f"read {INSTANCE_LEGEND}"),
        unit="s",
        dashed=["read"],
    )


def cost() -> timeseries.Panel:
    """Return the share of the time in which scrapes read."""
    return lines(
        "Cost to Redis",
        "Share of the time in which scrapes read from Redis: an upper bound of Redis's own work, since it includes the "
        "network. Discovery and the watch for the push come on top; discovery takes at most 2 % of Redis's time.",
        Query(f"sum_over_time({select('ginkgo_exporter_collect_duration_seconds')}[5m]) / 300", INSTANCE_LEGEND),
        unit="percentunit",
    )


def refused() -> timeseries.Panel:
    """Return the writes that Redis refuses."""
    return lines(
        "Writes that Redis refused",
        "Refused writes per second, by Redis's own count and by error. While Redis refuses writes, no node can beat.",
        Query(
            highest(counter_rate("ginkgo_redis_refused_writes_total"), "error"),
            f"{{{{error}}}}{HERE}",
        ),
        unit="cps",
        colours={"MISCONF": BAD, "OOM": LATE, "NOREPLICAS": PURPLE},
        bars=True,
        absent="Nothing is known, or Redis is older than 6.2",
        width=6,
    )


def redis_memory() -> timeseries.Panel:
    """Return the share of its memory that Redis uses."""
    return lines(
        "Redis's memory",
        "Share of its memory limit that Redis uses. At 100 % it refuses writes. Absent without a limit, and with an "
        "eviction policy. An alert fires above the dashed line.",
        Query(highest(select("ginkgo_redis_memory_used_ratio")), f"used{HERE}"),
        unit="percentunit",
        limits=thresholds((MEMORY_HIGH, LATE), below="transparent"),
        ceiling=1,
        absent="Redis has no memory limit, or nothing is known",
        width=6,
    )


def discovery() -> timeseries.Panel:
    """Return the durations of discoveries."""
    return lines(
        "Discovery",
        "Duration of the last complete discovery of node names. It grows with the number of all keys in Redis, not "
        "with the number of nodes.",
        Query(select("ginkgo_exporter_discovery_duration_seconds"), INSTANCE_LEGEND),
        unit="s",
        width=6,
    )


def discovery_age() -> timeseries.Panel:
    """Return the time since the last discovery."""
    found = select("ginkgo_exporter_discovery_timestamp_seconds")
    return lines(
        "Time since the last discovery",
        "A new node is unknown until the next discovery. The highest value of the last minute is shown. Discoveries "
        "are rarer on a large keyspace. An alert fires above the dashed line, and later on a large keyspace.",
        Query(f"max_over_time((time() - {found})[$__rate_interval:15s])", INSTANCE_LEGEND),
        unit="s",
        limits=thresholds((DISCOVERY_LATE, LATE), below="transparent"),
        width=6,
    )
