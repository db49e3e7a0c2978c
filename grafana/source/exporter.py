"""The exporter's dashboard: it shows whether the monitoring itself works."""

from grafana_foundation_sdk.builders import stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.frame import EXPORTER, firing_alerts, shell
from grafana.source.palette import BAD, LATE, PURPLE, SKY, WELL, push_states, redis_states, thresholds, words
from grafana.source.panels import Query, big_number, lines, states_over_time
from grafana.source.queries import select


def dashboard() -> Dashboard:
    """Ginkgo / Exporter."""
    return shell(
        EXPORTER,
        "Ginkgo / Exporter",
        "Does the monitoring itself work: scrapes, reads of Redis, discovery, invalid values, push to "
        "Alertmanager, and the exporter's own resources.",
        [
            _scraped(),
            _redis(),
            _push(),
            _invalid_in_range(),
            _discovery_age(),
            _rules(),
            _redis_over_time(),
            _version(),
            _durations(),
            _samples(),
            _discovery(),
            _invalid(),
            Row("Push to Alertmanager"),
            _held(),
            _posts(),
            _delay(),
            Row("Process"),
            _cpu(),
            _memory(),
            _files(),
        ],
        annotations=[firing_alerts('node_id=""')],
    )


def _scraped() -> stat.Panel:
    return big_number(
        "Exporters scraped",
        "Exporters that Prometheus reached in its last scrape. If you run more than this number, an exporter is down.",
        f"sum({select('up')})",
        limits=thresholds((0, BAD), (1, WELL)),
        absent="no target",
    )


def _redis() -> stat.Panel:
    return big_number(
        "Exporters reading Redis",
        "Exporters whose last scrape read Redis in full.",
        f"sum({select('ginkgo_redis_up')})",
        limits=thresholds((0, BAD), (1, WELL)),
    )


def _push() -> stat.Panel:
    return big_number(
        "Push",
        "Whether an exporter watches the heartbeats and an Alertmanager accepted its post within the last minute.",
        f"max({select('ginkgo_bridge_active')})",
        limits=thresholds((0, BAD), (1, WELL)),
        words=push_states(),
        absent="off or unknown",
    )


def _invalid_in_range() -> stat.Panel:
    return big_number(
        "Invalid values in this range",
        "Values from Redis that were invalid and were left out. A value counts again at each read. A number above 0 "
        "means that a node writes values that the exporter does not know.",
        f"sum(increase({select('ginkgo_exporter_invalid_values_total')}[$__range]))",
        limits=thresholds((0, WELL), (0.001, LATE)),
        unit="locale",
        decimals=0,
    )


def _discovery_age() -> stat.Panel:
    return big_number(
        "Last discovery",
        "Time since the last complete discovery of node names, of the exporter that is furthest behind. A new "
        "node is unknown until the next discovery. Discoveries are rarer on a large keyspace.",
        f"time() - min({select('ginkgo_exporter_discovery_timestamp_seconds')})",
        limits=thresholds((0, WELL), (120, LATE), (600, BAD)),
        unit="s",
        decimals=0,
    )


def _rules() -> stat.Panel:
    return big_number(
        "Alert rules",
        "Whether Prometheus evaluates the alert rules, whose watchdog always fires. If Prometheus does not, it "
        "sends no alert, and panels that use recorded series are empty.",
        'max(ALERTS{alertname="GinkgoWatchdog", alertstate="firing", severity="none"})',
        limits=thresholds((1, WELL)),
        words=words({"1": ("evaluated", WELL)}),
        absent="not loaded",
    )


def _version() -> stat.Panel:
    return big_number(
        "Exporters by version",
        "How many exporters of each version were scraped. During an update there is more than one version.",
        f"count by (version) ({select('ginkgo_exporter_build_info')})",
        limits=thresholds((0, WELL)),
        legend="{{version}}",
        width=5,
        height=6,
    )


def _redis_over_time() -> statetimeline.Panel:
    return states_over_time(
        "Redis readable",
        "Whether each exporter's scrapes could read Redis. A gap means that the exporter was not scraped.",
        Query(select("ginkgo_redis_up"), "{{instance}}"),
        words=redis_states(),
        width=19,
        height=6,
    )


def _durations() -> timeseries.Panel:
    return lines(
        "Scrape and read times",
        "Duration of a scrape as Prometheus measured it, and the part of it in which the exporter read Redis.",
        Query(select("scrape_duration_seconds"), "scrape {{instance}}"),
        Query(select("ginkgo_exporter_collect_duration_seconds"), "read {{instance}}"),
        unit="s",
    )


def _samples() -> timeseries.Panel:
    return lines(
        "Samples per scrape",
        "Samples that a scrape returned. When Redis cannot be read, only the exporter's own samples are left.",
        Query(select("scrape_samples_scraped"), "{{instance}}"),
        unit="short",
    )


def _discovery() -> timeseries.Panel:
    return lines(
        "Discovery",
        "Duration of the last complete discovery of node names. It grows with the number of all keys in Redis, not "
        "with the number of nodes.",
        Query(select("ginkgo_exporter_discovery_duration_seconds"), "{{instance}}"),
        unit="s",
    )


def _invalid() -> timeseries.Panel:
    return lines(
        "Invalid values",
        "Invalid values that were left out, per second and field.",
        Query(
            f"sum by (field) (rate({select('ginkgo_exporter_invalid_values_total')}[$__rate_interval])) > 0",
            "{{field}}",
        ),
        unit="cps",
        bars=True,
        absent="No invalid value was read, or nothing is known",
    )


def _held() -> timeseries.Panel:
    return lines(
        "Alerts pushed",
        "Alerts that the exporter now pushes to Alertmanager.",
        Query(f"max by (alertname) ({select('ginkgo_bridge_alerts')})", "{{alertname}}"),
        unit="short",
        absent="Push is off, or nothing is known",
        width=8,
    )


def _posts() -> timeseries.Panel:
    return lines(
        "Posts",
        "Posts per second by Alertmanager and result. If no alert fires, the exporter posts an empty list every 15 s.",
        Query(
            f"sum by (alertmanager, result) (rate({select('ginkgo_bridge_posts_total')}[$__rate_interval]))",
            "{{result}} {{alertmanager}}",
        ),
        unit="cps",
        absent="Push is off, or nothing is known",
        width=8,
    )


def _delay() -> timeseries.Panel:
    buckets = f"sum by (le) (rate({select('ginkgo_bridge_detection_delay_seconds_bucket')}[$__rate_interval]))"
    return lines(
        "From expiry to accepted post",
        "Time from the expiry of a heartbeat until an Alertmanager accepted the alert. Empty if no node crashed.",
        Query(f"histogram_quantile(0.5, {buckets})", "half within"),
        Query(f"histogram_quantile(0.99, {buckets})", "99 % within"),
        unit="s",
        colours={"half within": SKY, "99 % within": PURPLE},
        absent="No crash was pushed in this range, or push is off",
        width=8,
    )


def _cpu() -> timeseries.Panel:
    return lines(
        "CPU",
        "CPU use of the exporter's process, as a share of one core.",
        Query(f"rate({select('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}"),
        unit="percentunit",
        width=8,
    )


def _memory() -> timeseries.Panel:
    return lines(
        "Memory",
        "Resident memory of the exporter's process.",
        Query(select("process_resident_memory_bytes"), "{{instance}}"),
        unit="bytes",
        width=8,
    )


def _files() -> timeseries.Panel:
    return lines(
        "Open files",
        "Open file descriptors of the exporter's process, connections included. At the process's limit the exporter "
        "accepts no more connections.",
        Query(select("process_open_fds"), "{{instance}}"),
        unit="short",
        width=8,
    )
