"""The ledger as metric families of prometheus_client, and the lines of what is exported of portfolios for each node."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as MetricFamily

from exporter.contract import PORTFOLIO_METRICS
from exporter.exposition.lines import node_label
from exporter.portfolios.reads import PortfolioReading
from exporter.snapshot.portfolio_series import NodeValues, PortfolioSeries
from exporter.snapshot.values import format_number
from exporter.source.names import shown_id


def lines_of(name: str, values: NodeValues) -> bytes:
    """Return the lines of a family, in the order of its values."""
    start = name.encode()
    return b"".join(
        b"%b{%b} %b\n" % (start, node_label(node), format_number(number)) for node, number in values.items()
    )


def node_portfolio_families(series: PortfolioSeries) -> Iterator[MetricFamily]:
    """Yield the per-node families of portfolios that have samples, in the contract's order."""
    for metric in PORTFOLIO_METRICS:
        family = GaugeMetricFamily(metric.name, metric.help, labels=("node_id",))
        for node_id, number in series.values[metric.name].items():
            family.add_metric((node_id,), number)
        if family.samples:
            yield family


def portfolio_families(reading: PortfolioReading) -> Iterator[MetricFamily]:
    """Yield the families of the ledger, of the plan and of the workers."""
    account = reading.account
    portfolios = GaugeMetricFamily(
        "ginkgo_portfolios", "Portfolios by state (plan and loaded lists).", labels=("state",)
    )
    for state, count in account.ledger.counts.items():
        portfolios.add_metric((state.value,), count)
    yield portfolios
    untraded = GaugeMetricFamily(
        "ginkgo_portfolios_untraded", "Portfolios that no online node has loaded, by reason.", labels=("reason",)
    )
    for reason, count in account.ledger.reasons.items():
        untraded.add_metric((reason.value,), count)
    yield untraded
    yield from _fault_families(reading)
    yield CounterMetricFamily(
        "ginkgo_portfolios_dropped",
        "Portfolios that left the plan while no online node had them loaded.",
        value=account.dropped,
    )
    yield CounterMetricFamily(
        "ginkgo_plan_changes", "Reads that found another plan than the read before.", value=account.plan_changes
    )
    if account.plan_changed_at is not None:
        yield GaugeMetricFamily(
            "ginkgo_plan_last_change_timestamp_seconds",
            "Unix time of the last read that found another plan; absent before the first change.",
            value=account.plan_changed_at,
        )
    if reading.idle is not None:
        yield GaugeMetricFamily(
            "ginkgo_plan_idle_seconds",
            "Time since the scheduler last looked at the plan (OBJECT IDLETIME); absent where Redis cannot tell.",
            value=reading.idle,
        )
    if reading.workers is not None:
        workers = GaugeMetricFamily(
            "ginkgo_workers",
            "Workers with a living heartbeat, by component; absent during a fault of Redis.",
            labels=("component",),
        )
        for component, count in reading.workers.items():
            workers.add_metric((component,), count)
        yield workers


def _fault_families(reading: PortfolioReading) -> Iterator[MetricFamily]:
    account = reading.account
    since = GaugeMetricFamily(
        "ginkgo_portfolio_fault_since_timestamp_seconds",
        "Unix time since which a portfolio is untraded, misplaced, duplicated or unplanned;"
        " the longest-lasting --portfolios.max-listed only.",
        labels=("portfolio_id", "node_id", "state"),
    )
    listed: set[tuple[str, ...]] = set()
    for fault in account.listed:
        labels = shown_id(fault.portfolio.id), shown_id(fault.portfolio.node), fault.portfolio.state.value
        if labels not in listed:  # two ids may show alike
            listed.add(labels)
            since.add_metric(labels, fault.since)
    if since.samples:
        yield since
    yield GaugeMetricFamily(
        "ginkgo_portfolio_faults_unlisted",
        "Portfolios at fault that have no series of their own, since there are more than --portfolios.max-listed.",
        value=account.unlisted + len(account.listed) - len(listed),
    )
