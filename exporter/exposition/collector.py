"""The fleet as an ordinary collector of prometheus_client, for the registry of any program.

It is the reference for ``exporter.exposition.text``, which writes the same series faster, without an
object for each sample.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.registry import Collector

from exporter.contract import NODE_METRICS, STATUS, STATUSES, Metric
from exporter.errors import SourceError
from exporter.exposition.portfolios import node_portfolio_families, portfolio_families
from exporter.snapshot.read_info import ReadInfo
from exporter.snapshot.snapshot import Snapshot
from exporter.source.reading import REFUSALS, RIGHTS

log = structlog.get_logger(__name__)


class Readable(Protocol):
    """The part of ``exporter.fleet.Fleet`` that a collector uses."""

    def read(self) -> Snapshot:
        """Read and return the fleet; raise ``SourceError`` if Redis cannot be read."""

    @property
    def info(self) -> ReadInfo:
        """Facts about the last read, discovery and Redis."""


class NodeCollector(Collector):
    """Reads the fleet at each collection.

    Args:
        fleet: A started ``exporter.fleet.Fleet``.
    """

    def __init__(self, fleet: Readable) -> None:
        self._fleet = fleet
        self._error = ""

    def describe(self) -> Iterable[MetricFamily]:
        """Return families without samples, so that a registry can register the collector without a read of Redis."""
        return (_family(metric) for metric in NODE_METRICS)

    def collect(self) -> Iterator[MetricFamily]:
        """Yield the families of the nodes and the families about the read; only the latter if the read failed."""
        try:
            snapshot = self._fleet.read()
        except SourceError as error:
            snapshot = None
            self._note(str(error))
        if snapshot:
            self._note("")
            yield from node_families(snapshot)
        yield from read_families(snapshot, self._fleet.info)

    def _note(self, error: str) -> None:
        """Log a new reason why the nodes cannot be collected; an empty one is a success."""
        if error != self._error:
            self._error = error
            if error:
                log.error("the nodes cannot be collected", error=error)
            else:
                log.info("the nodes are collected again")


def node_families(snapshot: Snapshot) -> Iterator[MetricFamily]:
    """Yield the per-node families that have samples, in the contract's order."""
    for metric in NODE_METRICS:
        family = _family(metric)
        if metric is STATUS:
            for node_id, reported in zip(snapshot.ids, snapshot.texts(STATUS), strict=True):
                for status in STATUSES if reported else ():
                    family.add_metric((node_id, status), float(reported == status.encode()))
        else:
            for node_id, text in zip(snapshot.ids, snapshot.texts(metric), strict=True):
                if text:
                    family.add_metric((node_id,), float(text))
        if family.samples:
            yield family
    if snapshot.portfolios:
        yield from node_portfolio_families(snapshot.portfolios)


def read_families(snapshot: Snapshot | None, info: ReadInfo) -> Iterator[MetricFamily]:
    """Yield the families about the read, about Redis and about the last discovery.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        info: The facts about the read, Redis and discovery.
    """
    if snapshot:
        nodes = GaugeMetricFamily("ginkgo_nodes", "Nodes by state.", labels=("state",))
        for state, count in snapshot.counts.items():
            nodes.add_metric((state.value,), count)
        yield nodes
        if snapshot.portfolios:
            yield from portfolio_families(snapshot.portfolios.reading)
    up = snapshot is not None and snapshot.complete
    yield GaugeMetricFamily("ginkgo_redis_up", "1 if this scrape read Redis in full, else 0.", value=float(up))
    if snapshot:
        yield from redis_families(info)
    if info.expected is not None:
        yield GaugeMetricFamily(
            "ginkgo_nodes_expected", "Nodes that there should be (--nodes.expected).", value=info.expected
        )
    rights = GaugeMetricFamily(
        "ginkgo_exporter_missing_rights",
        "1 for each command that Redis refuses to the exporter's user, else 0.",
        labels=("command",),
    )
    for command in RIGHTS:
        rights.add_metric((command,), float(command in info.missing_rights))
    yield rights
    if info.collect_duration is not None:
        yield GaugeMetricFamily(
            "ginkgo_exporter_collect_duration_seconds",
            "Time that the last read of Redis took, also one that failed.",
            value=info.collect_duration,
        )
    if discovered := info.discovered:
        yield GaugeMetricFamily(
            "ginkgo_exporter_discovery_duration_seconds",
            "Time that the last complete discovery of node names took.",
            value=discovered.duration,
        )
        yield GaugeMetricFamily(
            "ginkgo_exporter_discovery_timestamp_seconds",
            "Unix time at which the last complete discovery of node names ended.",
            value=discovered.timestamp,
        )
        yield GaugeMetricFamily(
            "ginkgo_exporter_nodes_over_limit",
            "Nodes left out because there are more than --collector.max-nodes.",
            value=discovered.over_limit,
        )


def redis_families(info: ReadInfo) -> Iterator[MetricFamily]:
    """Yield the families about the state of Redis; for a cluster the sum or the worst value of all primaries."""
    servers = list(info.server.members.values()) if info.server else []
    if counted := [server.refused for server in servers if server.refused is not None]:
        refused = CounterMetricFamily(
            "ginkgo_redis_refused_writes",
            "Writes that Redis refused since it started, by error (errorstats of INFO).",
            labels=("error",),
        )
        for error in REFUSALS:
            refused.add_metric((error,), sum(counts.get(error, 0) for counts in counted))
        yield refused
    yield GaugeMetricFamily(
        "ginkgo_redis_writes_refused",
        "1 while Redis is taken to refuse writes, so that no node can beat, else 0.",
        value=float(info.writes_refused),
    )
    if saves := [server.last_save_ok for server in servers if server.last_save_ok is not None]:
        yield GaugeMetricFamily(
            "ginkgo_redis_last_save_ok",
            "1 if Redis's last snapshot succeeded, else 0 (rdb_last_bgsave_status of INFO).",
            value=float(all(saves)),
        )
    # Redis with an eviction policy is full all the time, and takes writes all the same.
    limited = [server for server in servers if not server.evicts]
    if ratios := [server.memory_used_ratio for server in limited if server.memory_used_ratio is not None]:
        yield GaugeMetricFamily(
            "ginkgo_redis_memory_used_ratio",
            "Share of its memory limit that Redis uses (used_memory / maxmemory); "
            "absent without a limit and with an eviction policy.",
            value=max(ratios),
        )


def _family(metric: Metric) -> "CounterMetricFamily | GaugeMetricFamily":
    labels = ("node_id", "status") if metric is STATUS else ("node_id",)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=labels)
