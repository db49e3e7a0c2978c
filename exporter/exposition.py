"""A snapshot's per-node series as bytes, in text 0.0.4 or OpenMetrics; knows no Redis and no HTTP.

A family is rendered as a column: a template with a place for each node's value
is kept as long as the same nodes have one, and filled by a single ``%``. That
costs some twenty nanoseconds a sample, where an object for each costs ten
thousand. What it writes reads back as what prometheus_client writes for
``exporter.collector.NodeCollector``.
"""

from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from io import BytesIO
from itertools import compress
from typing import Final

from exporter.contract import NODE_METRICS, STATUS, STATUSES, Metric
from exporter.snapshot import Snapshot
from exporter.values import Packed, unpacked


class Format(Enum):
    """The text formats of Prometheus."""

    TEXT = "text 0.0.4"
    OPENMETRICS = "OpenMetrics 1.0"


_BAND: Final = 20_000
"""Nodes: a larger fleet is written in bands, and nothing is kept of it: memory is dearer there than a little time."""
_PLACE: Final = b"\0"
"""Where a node's label goes in its status lines."""


class Exposition:
    """Writes snapshots; keeps the templates of the last one. For one thread at a time."""

    def __init__(self) -> None:
        self._labels: tuple[Sequence[str], list[bytes]] = ((), [])
        self._families = {
            metric.name: (_StatusFamily if metric is STATUS else _Family)(metric) for metric in NODE_METRICS
        }

    def render(self, snapshot: Snapshot, form: Format, wanted: Collection[str] = (), rest: bytes = b"") -> bytes:
        """Return the per-node series of a snapshot; families without any are left out.

        Args:
            snapshot: What to write.
            form: How to write it.
            wanted: Names of families or samples to write; all if it is empty.
            rest: What follows them: a body of many megabytes is put together once.
        """
        if self._labels[0] is not snapshot.ids:
            self._labels = snapshot.ids, [_label(node_id) for node_id in snapshot.ids]
        body = BytesIO()
        for metric in NODE_METRICS:
            if wanted and metric.name not in wanted and metric.family not in wanted:
                continue
            samples = self._families[metric.name].render(self._labels[1], snapshot.columns[metric.name])
            if samples:
                body.write(_header(metric, form))
                body.write(samples)
        body.write(rest)
        return body.getvalue()  # no copy


class _Family:
    """One family's template, for the nodes that had a value last time."""

    def __init__(self, metric: Metric) -> None:
        self._prefix, self._suffix = metric.name.encode() + b"{", b"} %b\n"
        self._template = b""
        self._filled_for: Sequence[bytes] = ()
        self._present: bytes | None = None
        self._labels: Sequence[bytes] = ()
        self._column: Packed = b""
        self._samples = b""

    def render(self, labels: list[bytes], column: Packed) -> bytes:
        if len(labels) > _BAND:
            starts, texts = range(0, len(labels), _BAND), unpacked(column)
            bands = [self._write(labels[start : start + _BAND], texts[start : start + _BAND]) for start in starts]
            self._template = b""
            return b"".join(bands)
        if self._labels is labels and self._column == column:
            # Few nodes change their status or portfolios from one scrape to the next: from the second time on
            # the samples are kept, in the template's place.
            self._samples = self._samples or self._write(labels, unpacked(column))
            self._template = b""
            return self._samples
        self._labels, self._column, self._samples = labels, column, b""
        return self._write(labels, unpacked(column))

    def _write(self, labels: Sequence[bytes], texts: list[bytes]) -> bytes:
        present = None
        if not all(texts):
            present = bytes(map(bool, texts))
            texts = list(filter(None, texts))
        if not self._template or self._filled_for is not labels or self._present != present:
            self._filled_for, self._present = labels, present
            self._template = self._fill(labels if present is None else compress(labels, present))
        return self._template % tuple(texts)

    def _fill(self, labels: Iterable[bytes]) -> bytes:
        lines = (self._suffix + self._prefix).join(labels)
        return self._prefix + lines + self._suffix if lines else b""


class _StatusFamily(_Family):
    """The status of each node: a line for each that it may have, all of a node's made at once."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric)
        self._lines = {status.encode(): self._lines_of(status) for status in STATUSES}

    def _lines_of(self, status: str) -> bytes:
        return b"".join(
            b'%b%b,status="%b"} %d\n' % (self._prefix, _PLACE, other.encode(), other == status) for other in STATUSES
        )

    def _write(self, labels: Sequence[bytes], texts: list[bytes]) -> bytes:
        lines = self._lines
        nodes = [lines[status].replace(_PLACE, label) for label, status in zip(labels, texts, strict=True) if status]
        return b"".join(nodes).replace(b"%%", b"%")  # labels are those of templates


def _label(node_id: str) -> bytes:
    """Return the label as it stands in a template: escaped for the text format, then for ``%``."""
    escaped = node_id.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return b'node_id="%b"' % escaped.encode().replace(b"%", b"%%")


def _header(metric: Metric, form: Format) -> bytes:
    name = metric.family if form is Format.OPENMETRICS else metric.name
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    if form is Format.OPENMETRICS:
        text = text.replace('"', '\\"')
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n".encode()
