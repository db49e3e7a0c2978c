"""The reference for the exposition: the fleet as an ordinary collector of prometheus_client, and its own writers."""

from collections.abc import Iterator

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.contract import MASS_LOST, NODE_METRICS, PORTFOLIO_METRICS, STATUS, STATUSES
from exporter.exposition.text import Format, own_families
from exporter.snapshot.snapshot import ReadInfo, Snapshot


class NodeCollector(Collector):
    """Collects the families of a snapshot."""

    def __init__(self, snapshot: Snapshot, info: ReadInfo) -> None:
        self._snapshot, self._info = snapshot, info

    def collect(self) -> Iterator[Family]:
        snapshot = self._snapshot
        for metric in (*NODE_METRICS, *(PORTFOLIO_METRICS if snapshot.account else ())):
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=[*filter(None, ("node_id", metric.label))])
            for node_id, text in zip(snapshot.ids, snapshot.texts(metric), strict=True):
                if not text:
                    continue
                if metric is STATUS:
                    for status in STATUSES:
                        family.add_metric((node_id, status), float(text == status.encode()))
                elif metric is MASS_LOST:
                    family.add_metric((node_id, text.decode()), 1.0)
                else:
                    family.add_metric((node_id,), float(text))
            if family.samples:
                yield family
        yield from own_families(snapshot, self._info)


def reference(snapshot: Snapshot, info: ReadInfo, form: Format) -> bytes:
    """Return what prometheus_client writes of a snapshot."""
    write = generate_openmetrics if form is Format.OPENMETRICS else generate_latest
    return bytes(write(NodeCollector(snapshot, info)))
