"""Writes a snapshot and the exporter's own families as text 0.0.4 or OpenMetrics.

A parser reads from it the same series as from what prometheus_client writes of the same families. prometheus_client
itself would take a second for 10,000 nodes, and twice the time for the fifty samples of a small fleet.

A column of values is written by one ``%``: a template has one line for each node, with a place for the node's value,
and one ``replace`` puts in the name of the family. docs/explanation/performance.md says what this buys.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import chain, compress
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from exporter.contract import MASS_LOST, NODE_METRICS, PORTFOLIO_METRICS, STATUS, STATUSES
from exporter.portfolios.account import Account
from exporter.portfolios.ledger import PortfolioState, Reason
from exporter.snapshot.maker import Column
from exporter.snapshot.snapshot import ReadInfo, Snapshot
from exporter.source.reading import REFUSALS, Names, Server, shown_id

_NAME: Final = b"\xff"
"""The place of the family's name in a template. UTF-8 has no such byte, so no label contains it."""
_TEMPLATES: Final = 16
"""Templates that are kept for each part, on average. Each belongs to a set of nodes with a value: usually all of them,
or all online ones."""

_LINE: Final = [b"%b{%b} %%b\n"]
_LINES: Final = {
    STATUS.name: [b'%%b{%%b,status="%b"} %%%%b\n' % status.encode() for status in STATUSES],
    MASS_LOST.name: [b'%b{%b,loss="%%b"} 1\n'],
}
"""The lines of a node in families where it has more than ``_LINE``; the value comes last."""
_FLAGS: Final = {status.encode(): [b"%d" % (other == status) for other in STATUSES] for status in STATUSES}
"""The values of a node's status lines, by the status that it reports."""


class Format(Enum):
    """The text formats of Prometheus: text 0.0.4 and OpenMetrics, by their content types."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def exposition(
    snapshot: Snapshot | None, families: Iterable[Family], form: Format, wanted: frozenset[str] = frozenset()
) -> Iterator[bytes]:
    """Yield the per-node series of a snapshot in pieces, without families that have no series; then the own families.

    Args:
        snapshot: The snapshot; None without nodes.
        families: The exporter's own families.
        form: The text format.
        wanted: The names of the families to write, or of one of their samples; empty for all families.
    """
    parts = snapshot.parts if snapshot else ()
    for metric in (*NODE_METRICS, *PORTFOLIO_METRICS):
        if wanted and wanted.isdisjoint((metric.name, metric.family)):
            continue
        if lines := [part.lines[metric.name] for part in parts if part.lines.get(metric.name)]:
            yield _header(metric.family, metric.kind, metric.help, form)
            yield from lines
    for family in families:
        if not wanted or not wanted.isdisjoint((family.name, *(sample.name for sample in family.samples))):
            yield _header(family.name, family.type, family.documentation, form)
            yield b"".join(map(_line, family.samples))
    if form is Format.OPENMETRICS:
        yield b"# EOF\n"


def _header(name: str, kind: str, text: str, form: Format) -> bytes:
    """Return the head of a family. No HELP text holds a character that needs an escape."""
    if kind == "counter" and form is Format.TEXT:
        name = f"{name}_total"
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()


def _line(sample: Sample) -> bytes:
    labels = b",".join(b'%b="%b"' % (key.encode(), escaped(text)) for key, text in sorted(sample.labels.items()))
    name = sample.name.encode() + (b"{%b}" % labels if labels else b"")
    return b"%b %b\n" % (name, floatToGoString(sample.value).encode())


class LineWriter:
    """Writes columns. While the names stay the same it keeps templates, and the lines of values that stay the same.

    Only one thread at a time may use it.
    """

    def __init__(self) -> None:
        self._names, self._labels = Names(), list[bytes]()
        self._templates: dict[object, bytes] = {}
        self._last: dict[object, tuple[bytes, bytes]] = {}  # the text of each column, and its lines

    def write(self, names: Names, positions: range, columns: Mapping[str, Column]) -> Mapping[str, bytes]:
        """Return the lines of some columns by metric name; empty if no node has a value.

        Args:
            names: All nodes of the reading.
            positions: The positions of the columns' nodes among them.
            columns: The values of these nodes, by metric name.
        """
        if names is not self._names:
            self._names, self._templates, self._last = names, {}, {}
            self._labels = [b'node_id="%b"' % escaped(node_id).replace(b"%", b"%%") for node_id in names.shown]
        return {name: self._lines(name, positions, column) for name, column in columns.items()}

    def _lines(self, name: str, positions: range, column: Column) -> bytes:
        texts, text, whole = column
        if len(text) == len(texts):  # it holds nothing but the ends of lines
            return b""
        before, lines = self._last.get((name, positions.start), (b"", b""))
        # The name of a loss may hold an end of a line, so equal texts prove nothing there.
        if text == before and name != MASS_LOST.name:
            return lines
        form = name if name in _LINES else ""
        values: Iterable[bytes | None] = texts if whole else filter(None, texts)
        if form == STATUS.name:
            values = chain.from_iterable(map(_FLAGS.__getitem__, filter(None, texts)))
        elif form:
            values = [escaped(each.decode()) for each in texts if each]
        key = positions, form, whole or tuple(map(bool, texts))
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) * len(texts) >= _TEMPLATES * len(self._labels):
                self._templates.clear()
            labels = compress(self._labels[positions.start : positions.stop], texts)
            places = [line % (_NAME, label) for label in labels for line in _LINES.get(form, _LINE)]
            template = self._templates[key] = b"".join(places)
        lines = (template % tuple(values)).replace(_NAME, name.encode())
        self._last[name, positions.start] = text, lines
        return lines


def escaped(text: str) -> bytes:
    """Return the value of a label, escaped for the text formats."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').encode()


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
    yield from _gauges(
        ("ginkgo_redis_up", "1 if this scrape read Redis in full, else 0.", snapshot is not None and snapshot.complete)
    )
    if snapshot and info.server:
        yield from _redis_families(info.server, writes_refused=info.writes_refused)
    duration, timestamp, over_limit = info.discovered or (None, None, None)
    yield from _gauges(
        ("ginkgo_nodes_expected", "Nodes that there should be (--nodes.expected).", info.expected),
        (
            "ginkgo_exporter_collect_duration_seconds",
            "Time that the last read of Redis took, also one that failed.",
            info.collect_duration,
        ),
        (
            "ginkgo_exporter_discovery_duration_seconds",
            "Time that the last complete discovery of node names took.",
            duration,
        ),
        (
            "ginkgo_exporter_discovery_timestamp_seconds",
            "Unix time at which the last complete discovery of node names ended.",
            timestamp,
        ),
        (
            "ginkgo_exporter_nodes_over_limit",
            "Nodes left out because there are more than --collector.max-nodes.",
            over_limit,
        ),
    )


def _redis_families(server: Server, *, writes_refused: bool) -> Iterator[Family]:
    """Yield the families about the state of Redis; for a cluster the sum or the worst value of all primaries."""
    servers = list(server.members.values())
    counted = [each.refused for each in servers if each.refused is not None]
    if len(counted) == len(server.addresses):  # the sum of fewer would be a counter that falls
        yield _counts(
            "ginkgo_redis_refused_writes",
            "Writes that Redis refused since it started, by error (errorstats of INFO).",
            "error",
            {error: sum(counts.get(error, 0) for counts in counted) for error in REFUSALS},
            CounterMetricFamily,
        )
    # Redis with an eviction policy is full all the time, and takes writes all the same.
    used = (each.memory_used_ratio for each in servers if not each.evicts)
    yield from _gauges(
        (
            "ginkgo_redis_writes_refused",
            "1 while Redis is taken to refuse writes, so that no node can beat, else 0.",
            writes_refused,
        ),
        (
            "ginkgo_redis_last_save_ok",
            "1 if Redis's last snapshot succeeded, else 0 (rdb_last_bgsave_status of INFO).",
            min((each.last_save_ok for each in servers if each.last_save_ok is not None), default=None),
        ),
        (
            "ginkgo_redis_memory_used_ratio",
            (
                "Share of its memory limit that Redis uses (used_memory / maxmemory); "
                "absent without a limit and with an eviction policy."
            ),
            max(filter(None, used), default=None),
        ),
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
    yield from _gauges(
        (
            "ginkgo_portfolios_untraded_positions",
            "Open positions that no node manages: those of untraded portfolios (field position_count of their states).",
            account.untraded_positions,
        ),
        (
            "ginkgo_portfolio_faults_unlisted",
            "Portfolios at fault that have no series of their own, since there are more than --portfolios.max-listed.",
            len(account.since) - len(account.listed),
        ),
        (
            "ginkgo_plan_last_change_timestamp_seconds",
            "Unix time of the last read that found another plan; absent before the first change.",
            account.plan_changed_at,
        ),
        (
            "ginkgo_plan_idle_seconds",
            "Time since the scheduler last looked at the plan (OBJECT IDLETIME); absent where Redis cannot tell.",
            account.idle,
        ),
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
    yield CounterMetricFamily(
        "ginkgo_portfolios_dropped",
        "Portfolios that left the plan while no online node had them loaded.",
        value=account.dropped,
    )
    yield CounterMetricFamily(
        "ginkgo_plan_changes", "Reads that found another plan than the read before.", value=account.plan_changes
    )
    if account.workers is not None:
        yield _counts(
            "ginkgo_workers",
            "Workers with a living heartbeat, by component; absent during a fault of Redis.",
            "component",
            account.workers,
        )


def _gauges(*rows: tuple[str, str, float | None]) -> Iterator[Family]:
    """Yield a family of one sample for each name, text and value, unless the value is unknown."""
    return (GaugeMetricFamily(name, text, value=value) for name, text, value in rows if value is not None)


def _counts(
    name: str, text: str, label: str, counts: Mapping[Any, float], kind: Any = GaugeMetricFamily
) -> GaugeMetricFamily:
    family: GaugeMetricFamily = kind(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((str(value),), count)
    return family
