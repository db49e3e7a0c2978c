"""A snapshot's per-node series, in text 0.0.4 or OpenMetrics; knows no Redis and no HTTP.

What it returns reads back as what prometheus_client writes for
``exporter.exposition.collector.NodeCollector``.
"""

from collections.abc import Collection, Iterator
from enum import Enum

from exporter.contract import NODE_METRICS, Metric
from exporter.snapshot.snapshot import Snapshot


class Format(Enum):
    """The text formats of Prometheus."""

    TEXT = "text 0.0.4"
    OPENMETRICS = "OpenMetrics 1.0"


def exposition(snapshot: Snapshot, form: Format, wanted: Collection[str] = ()) -> Iterator[bytes]:
    """Yield the per-node series of a snapshot piece by piece; families without any are left out.

    Args:
        snapshot: What to write.
        form: How to write it.
        wanted: Names of families or samples to write; all if it is empty.
    """
    for metric in NODE_METRICS:
        if wanted and metric.name not in wanted and metric.family not in wanted:
            continue
        if lines := [part.lines[metric.name] for part in snapshot.parts if part.lines[metric.name]]:
            yield _header(metric, form)
            yield from lines


def _header(metric: Metric, form: Format) -> bytes:
    name = metric.family if form is Format.OPENMETRICS else metric.name
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    if form is Format.OPENMETRICS:
        text = text.replace('"', '\\"')
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n".encode()
