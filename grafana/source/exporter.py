"""The exporter's dashboard: it shows whether the monitoring itself works."""

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import bridge, overview, redis_cost
from grafana.source.annotations import exporter_restarts, firing_alerts, mass_losses
from grafana.source.frame import shell
from grafana.source.graphs import lines
from grafana.source.links import EVENTS, EXPORTER, RUNBOOKS, STATUS_PAGE
from grafana.source.palette import BAD, WELL, thresholds, words
from grafana.source.queries import (
    HERE,
    INSTALLATION,
    INSTANCE_LEGEND,
    alerts,
    counter_rate,
    highest,
    select,
    total,
)
from grafana.source.targets import Query
from grafana.source.tiles import Source, counted, tile


def dashboard() -> Dashboard:
    """Ginkgo / Exporter."""
    return shell(
        EXPORTER,
        "Ginkgo / Exporter",
        "Does the monitoring itself work: scrapes, reads of Redis and their cost, discovery, invalid values, push to "
        "Alertmanager, the journal, and the exporter's own resources.",
        [
            _scraped(),
            overview.redis(),
            bridge.push(),
            _rules(),
            bridge.journal(),
            _invalid_in_range(),
            redis_cost.redis_over_time(),
            overview.all_right("Is all well in the fleet?", width=5, height=6),
            _version(),
            redis_cost.durations(),
            redis_cost.cost(),
            Row("Redis"),
            redis_cost.refused(),
            redis_cost.redis_memory(),
            redis_cost.discovery(),
            redis_cost.discovery_age(),
            Row("Push to Alertmanager"),
            bridge.held(),
            bridge.posts(),
            bridge.delay(),
            Row("Journal and values"),
            bridge.events(),
            _invalid(),
            _samples(),
            Row("Process"),
            _cpu(),
            _memory(),
            _files(),
        ],
        annotations=[firing_alerts('node_id=""'), exporter_restarts(), mass_losses()],
        pages=[STATUS_PAGE, EVENTS, RUNBOOKS],
    )


def _scraped() -> stat.Panel:
    answering = f"{total(select('up'))} > 0"
    return tile(
        "Exporters scraped",
        "Exporters that Prometheus reached in its last scrape. If you run more than this number, an exporter is down.",
        answering,
        limits=thresholds((1, WELL)),
        absent="no target",
        source=Source.EXPORTER,
        away=BAD,
    )


def _rules() -> stat.Panel:
    watchdog = alerts("ALERTS", 'alertname="GinkgoWatchdog"', 'alertstate="firing"', 'severity="none"')
    return tile(
        "Alert rules",
        "Whether Prometheus evaluates the alert rules, whose watchdog always fires. If Prometheus does not, it "
        "sends no alert, and panels that use recorded series are empty.",
        highest(watchdog),
        limits=thresholds((1, WELL)),
        words=words({"1": ("evaluated", WELL)}),
        absent="not loaded",
    )


def _invalid_in_range() -> stat.Panel:
    return counted(
        "Invalid values in this range",
        "Values from Redis that were invalid and were left out. A value counts again at each read. A number above 0 "
        "means that a node writes values that the exporter does not know.",
        "ginkgo_exporter_invalid_values_total",
    )


def _version() -> stat.Panel:
    return tile(
        "Exporters by version",
        "How many exporters of each version were scraped. During an update there is more than one version.",
        f"count by ({INSTALLATION}, version) ({select('ginkgo_exporter_build_info')})",
        limits=thresholds((0, WELL)),
        legend=f"{{{{version}}}}{HERE}",
        width=5,
        height=6,
    )


def _samples() -> timeseries.Panel:
    return lines(
        "Samples per scrape",
        "Samples that a scrape returned. When Redis cannot be read, only the exporter's own samples are left.",
        Query(select("scrape_samples_scraped"), INSTANCE_LEGEND),
        unit="short",
        width=8,
    )


def _invalid() -> timeseries.Panel:
    return lines(
        "Invalid values",
        "Invalid values that were left out, per second and field.",
        Query(
            f"{total(counter_rate('ginkgo_exporter_invalid_values_total'), 'field')} > 0",
            f"{{{{field}}}}{HERE}",
        ),
        unit="cps",
        width=8,
        bars=True,
        absent="No invalid value was read, or nothing is known",
    )


def _cpu() -> timeseries.Panel:
    return lines(
        "CPU",
        "CPU use of the exporter's process, as a share of one core.",
        Query(counter_rate("process_cpu_seconds_total"), INSTANCE_LEGEND),
        unit="percentunit",
        width=8,
    )


def _memory() -> timeseries.Panel:
    return lines(
        "Memory",
        "Resident memory of the exporter's process.",
        Query(select("process_resident_memory_bytes"), INSTANCE_LEGEND),
        unit="bytes",
        width=8,
    )


def _files() -> timeseries.Panel:
    return lines(
        "Open files",
        "Open file descriptors of the exporter's process, connections included. At the process's limit the exporter "
        "accepts no more connections.",
        Query(select("process_open_fds"), INSTANCE_LEGEND),
        unit="short",
        width=8,
    )
