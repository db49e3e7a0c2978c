"""Writes the README's tables of metrics and flags from the code: ``python docs/tables.py README.md …``."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.metrics_core import Metric as MetricFamily

from exporter.contract import NODE_METRICS, PORTFOLIO_METRICS, STATUS, WORKER_PREFIXES
from exporter.exposition.collector import read_families
from exporter.exposition.portfolios import portfolio_families
from exporter.fleet import Fleet
from exporter.portfolios.history import History
from exporter.portfolios.ledger import ledger_of
from exporter.portfolios.reads import PortfolioReading
from exporter.push.bridge import Bridge
from exporter.settings import all_settings, load
from exporter.snapshot.read_info import Discovered, ReadInfo
from exporter.snapshot.snapshot import COUNTED, Part, Snapshot
from exporter.source.names import Names
from exporter.source.reading import Server


def metrics_table() -> str:
    """Return the metrics as a Markdown table."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in NODE_METRICS:
        labels = "`node_id`, `status`" if metric is STATUS else "`node_id`"
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    lines += [f"| `{metric.name}` | {metric.kind} | `node_id` | {metric.help} |" for metric in PORTFOLIO_METRICS]
    lines += [_row(family) for family in _own_families()]
    return "\n".join(lines)


def flags_table() -> str:
    """Return the flags as a Markdown table."""
    lines = ["| flag | default | |", "|---|---|---|"]
    for setting in all_settings():
        default = setting.default if setting.default in ("none", "off", "on") else f"`{setting.default}`"
        text = setting.info.description or ""
        if setting.choices:
            text += ": " + ", ".join(f"`{choice}`" for choice in setting.choices)
        lines.append(f"| `{setting.flag}` | {default} | {text} |")
    return "\n".join(lines)


def _own_families() -> Iterator[MetricFamily]:
    nobody = Snapshot([Part(Names(), range(0), (), {}, dict.fromkeys(COUNTED, 0), 0.0)])
    server = Server("run", "master", refused={}, last_save_ok=True, memory_used_ratio=0.5)
    yield from portfolio_families(_portfolios())
    yield from read_families(nobody, ReadInfo(0.0, Discovered(0.0, 0.0, 0), server, expected=1))
    fleet = Fleet(load({"alertmanager.url": ["http://alertmanager:9093"]}))
    Bridge(fleet)
    for family in fleet.telemetry.registry.collect():
        if family.name.startswith("ginkgo_"):
            yield family


def _portfolios() -> PortfolioReading:
    history = History(1)
    history.note(ledger_of({}, ()), 0.0)
    account = history.note(ledger_of({b"p": b"n"}, ()), 0.0)
    return PortfolioReading(account, {}, 0.0, dict.fromkeys(WORKER_PREFIXES, 0))


def _row(family: MetricFamily) -> str:
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |"


TABLES: dict[str, Callable[[], str]] = {"metrics": metrics_table, "flags": flags_table}


def filled_in(text: str) -> str:
    """Return a document with its tables replaced, each between its two marks."""
    for name, table in TABLES.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = marks.sub(lambda match, table=table: f"{match[1]}\n{table()}\n\n{match[2]}", text)
    return text


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(filled_in(path.read_text(encoding="utf-8")), encoding="utf-8")
