"""The exporter's own families: about the read, about Redis, about discovery, and about the ledger."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from exporter.portfolios.account import Account
from exporter.portfolios.ledger import PortfolioState, Reason
from exporter.snapshot.snapshot import ReadInfo, Snapshot
from exporter.source.names import shown_id
from exporter.source.reading import REFUSALS


def own_families(snapshot: Snapshot | None, info: ReadInfo) -> Iterator[Family]:
    """Yield the families about the read, about the ledger, about Redis and about the last discovery.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        info: The facts about the read, Redis and discovery.
    """
    if snapshot:
        yield _counts("ginkgo_nodes", "Nodes by state.", "state", snapshot.counts)
        if snapshot.account:
            yield from _portfolio_families(snapshot.account)
    yield from _gauge(
        "ginkgo_redis_up",
        "1 if this scrape read Redis in full, else 0.",
        snapshot is not None and snapshot.complete,
    )
    if snapshot:
        yield from _redis_families(info)
    yield from _gauge("ginkgo_nodes_expected", "Nodes that there should be (--nodes.expected).", info.expected)
    yield from _gauge(
        "ginkgo_exporter_collect_duration_seconds",
        "Time that the last read of Redis took, also one that failed.",
        info.collect_duration,
    )
    duration, timestamp, over_limit = info.discovered or (None, None, None)
    yield from _gauge(
        "ginkgo_exporter_discovery_duration_seconds",
        "Time that the last complete discovery of node names took.",
        duration,
    )
    yield from _gauge(
        "ginkgo_exporter_discovery_timestamp_seconds",
        "Unix time at which the last complete discovery of node names ended.",
        timestamp,
    )
    yield from _gauge(
        "ginkgo_exporter_nodes_over_limit",
        "Nodes left out because there are more than --collector.max-nodes.",
        over_limit,
    )


def _redis_families(info: ReadInfo) -> Iterator[Family]:
    """Yield the families about the state of Redis; for a cluster the sum or the worst value of all primaries."""
    servers = list(info.server.members.values()) if info.server else []
    if counted := [server.refused for server in servers if server.refused is not None]:
        yield _counts(
            "ginkgo_redis_refused_writes",
            "Writes that Redis refused since it started, by error (errorstats of INFO).",
            "error",
            {error: sum(counts.get(error, 0) for counts in counted) for error in REFUSALS},
            CounterMetricFamily,
        )
    yield from _gauge(
        "ginkgo_redis_writes_refused",
        "1 while Redis is taken to refuse writes, so that no node can beat, else 0.",
        info.writes_refused,
    )
    yield from _gauge(
        "ginkgo_redis_last_save_ok",
        "1 if Redis's last snapshot succeeded, else 0 (rdb_last_bgsave_status of INFO).",
        min((server.last_save_ok for server in servers if server.last_save_ok is not None), default=None),
    )
    # Redis with an eviction policy is full all the time, and takes writes all the same.
    used = (server.memory_used_ratio for server in servers if not server.evicts)
    yield from _gauge(
        "ginkgo_redis_memory_used_ratio",
        "Share of its memory limit that Redis uses (used_memory / maxmemory); "
        "absent without a limit and with an eviction policy.",
        max(filter(None, used), default=None),
    )


def _portfolio_families(account: Account) -> Iterator[Family]:
    """Yield the families of the ledger, of the plan and of the workers."""
    counts = account.ledger.counts
    yield _counts(
        "ginkgo_portfolios",
        "Portfolios by state (plan and loaded lists).",
        "state",
        {state: counts[state] for state in PortfolioState},
    )
    yield _counts(
        "ginkgo_portfolios_untraded",
        "Portfolios that no online node has loaded, by reason.",
        "reason",
        {reason: counts[reason] for reason in Reason},
    )
    yield from _gauge(
        "ginkgo_portfolios_untraded_positions",
        "Open positions that no node manages: those of untraded portfolios (field position_count of their states).",
        account.untraded_positions,
    )
    since = GaugeMetricFamily(
        "ginkgo_portfolio_fault_since_timestamp_seconds",
        "Unix time since which a portfolio is untraded, misplaced, duplicated or unplanned;"
        " the longest-lasting --portfolios.max-listed only.",
        labels=("portfolio_id", "node_id", "state"),
    )
    # Two ids may show alike, and they share one series.
    listed = {(shown_id(each.id), shown_id(each.node), each.state): account.since[each.id] for each in account.listed}
    for labels, began in listed.items():
        since.add_metric(labels, began)
    if listed:
        yield since
    yield from _gauge(
        "ginkgo_portfolio_faults_unlisted",
        "Portfolios at fault that have no series of their own, since there are more than --portfolios.max-listed.",
        len(account.since) - len(account.listed),
    )
    yield CounterMetricFamily(
        "ginkgo_portfolios_dropped",
        "Portfolios that left the plan while no online node had them loaded.",
        value=account.dropped,
    )
    yield CounterMetricFamily(
        "ginkgo_plan_changes", "Reads that found another plan than the read before.", value=account.plan_changes
    )
    yield from _gauge(
        "ginkgo_plan_last_change_timestamp_seconds",
        "Unix time of the last read that found another plan; absent before the first change.",
        account.plan_changed_at,
    )
    yield from _gauge(
        "ginkgo_plan_idle_seconds",
        "Time since the scheduler last looked at the plan (OBJECT IDLETIME); absent where Redis cannot tell.",
        account.idle,
    )
    if account.workers is not None:
        yield _counts(
            "ginkgo_workers",
            "Workers with a living heartbeat, by component; absent during a fault of Redis.",
            "component",
            account.workers,
        )


def _gauge(name: str, text: str, value: float | None) -> Iterator[Family]:
    """Yield a family of one sample, unless its value is unknown."""
    if value is not None:
        yield GaugeMetricFamily(name, text, value=value)


def _counts(
    name: str, text: str, label: str, counts: Mapping[Any, float], kind: Any = GaugeMetricFamily
) -> GaugeMetricFamily:
    family: GaugeMetricFamily = kind(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((str(value),), count)
    return family
