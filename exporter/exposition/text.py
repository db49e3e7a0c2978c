"""Writes the per-node series of a snapshot as text 0.0.4 or OpenMetrics.

A parser reads from it the same series as from prometheus_client's text for
``exporter.exposition.collector.NodeCollector``.
"""

from collections.abc import Collection, Iterator
from enum import Enum

from exporter.contract import NODE_METRICS, PORTFOLIO_METRICS, Metric
from exporter.snapshot.snapshot import Snapshot


class Format(Enum):
    """The text formats of Prometheus."""

    TEXT = "text 0.0.4"
    OPENMETRICS = "OpenMetrics 1.0"


def exposition(snapshot: Snapshot, form: Format, wanted: Collection[str] = ()) -> Iterator[bytes]:
    """Yield the per-node series of a snapshot in pieces, without families that have no series.

    Args:
        snapshot: The snapshot; ``exporter.exposition.lines`` has written the lines of its parts.
        form: The text format.
        wanted: The names of families or samples to write; empty for all families.
    """
    for metric in NODE_METRICS:
        if _is_wanted(metric, wanted) and (
            lines := [part.lines[metric.name] for part in snapshot.parts if part.lines[metric.name]]
        ):
            yield _header(metric, form)
            yield from lines
    for metric in PORTFOLIO_METRICS if snapshot.portfolios else ():
        if _is_wanted(metric, wanted) and snapshot.portfolios and (text := snapshot.portfolios.lines[metric.name]):
            yield _header(metric, form)
            yield text


def _is_wanted(metric: Metric, wanted: Collection[str]) -> bool:
    return not wanted or metric.name in wanted or metric.family in wanted


def _header(metric: Metric, form: Format) -> bytes:
    name = metric.family if form is Format.OPENMETRICS else metric.name
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    if form is Format.OPENMETRICS:
        text = text.replace('"', '\\"')
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n".encode()
