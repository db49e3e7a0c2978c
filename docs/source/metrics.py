"""The tables of metrics, one for each part of the exporter that the metrics tell of."""

from collections.abc import Iterator
from functools import cache
from typing import Final

from prometheus_client.metrics_core import Metric as MetricFamily

from exporter.contract import NODE_METRICS, NUMBERS, PORTFOLIO_METRICS, STATUS, WORKER_PREFIXES
from exporter.exposition.text import own_families
from exporter.fleet import Fleet
from exporter.portfolios.account import Account, History
from exporter.portfolios.ledger import ledger_of
from exporter.push.bridge import Bridge
from exporter.settings import load
from exporter.snapshot.snapshot import Discovered, Part, Past, ReadInfo, Snapshot
from exporter.source.reading import Names, Server

GROUPS: Final = {
    "nodes": ("ginkgo_node_",),
    "portfolios": ("ginkgo_portfolio", "ginkgo_plan", "ginkgo_workers"),
    "push": ("ginkgo_bridge_",),
    "exporter": ("ginkgo_exporter_", "ginkgo_journal_"),
    "fleet": ("ginkgo_",),
}
"""The beginnings of the metrics' names in each table. A metric belongs to the first table that fits."""

_UNITS: Final = {"timestamp_seconds": "Unix time", "seconds": "seconds", "bytes": "bytes", "ratio": "0 to 1"}
"""The unit that the end of a metric's name stands for."""


def metrics_table(group: str) -> str:
    """Return the metrics of a group as a Markdown table."""
    lines = ["| metric | type | labels | unit | meaning |", "|---|---|---|---|---|"]
    for name, kind, labels, text in _metrics():
        if _group(name) == group:
            unit = next((unit for end, unit in _UNITS.items() if name.removesuffix("_total").endswith(end)), "")
            cells = (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), unit, text)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fields_table() -> str:
    """Return the fields of a node's hash that become metrics as a Markdown table."""
    rows = (f"| `{each.field}` | `{each.name}` | `{each.key}` | {each.help} |" for each in (*NUMBERS, STATUS))
    return "\n".join(("| field | metric | key in `/api/v1/nodes` | meaning |", "|---|---|---|---|", *rows))


@cache
def metric_names() -> frozenset[str]:
    """Return the names of all metrics of the exporter's own."""
    return frozenset(name for name, *_ in _metrics())


def _group(name: str) -> str:
    return next(group for group, starts in GROUPS.items() if name.startswith(starts))


def _metrics() -> Iterator[tuple[str, str, list[str], str]]:
    """Yield name, type, labels and help of each metric."""
    for metric in (*NODE_METRICS, *PORTFOLIO_METRICS):
        yield metric.name, metric.kind, [*filter(None, ("node_id", metric.label))], metric.help
    for family in _own_families():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield name, family.type, sorted(labels), family.documentation


def _own_families() -> Iterator[MetricFamily]:
    nothing = Past(0.0, (), {})
    nobody = Snapshot([Part(Names(), range(0), (), {})], _account(), "", nothing, nothing, 30.0)
    server = Server("run", "master", refused={}, last_save_ok=True, memory_used_ratio=0.5)
    yield from own_families(nobody, ReadInfo(0.0, Discovered(0.0, 0.0, 0), server, expected=1))
    fleet = Fleet(load({"alertmanager.url": ["http://alertmanager:9093"]}))
    Bridge(fleet)
    for family in fleet.telemetry.registry.collect():
        if family.name.startswith("ginkgo_"):
            yield family


def _account() -> Account:
    account = History(1, {}).note(ledger_of({b"p": b"n"}, ()), 0.0)
    return account._replace(plan_changed_at=0.0, idle=0.0, workers=dict.fromkeys(WORKER_PREFIXES, 0))
