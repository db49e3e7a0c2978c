"""Columns of texts into the lines that Prometheus reads; both text formats have the same.

A family is written as a column: a template with a place for each node's value
is kept as long as the same nodes have one, and filled by a single ``%``. That
costs some twenty nanoseconds a sample, where an object for each costs ten
thousand.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Final

from exporter.contract import NODE_METRICS, STATUS, STATUSES, Metric
from exporter.names import Names
from exporter.values import Packed, unpacked

_KEEP: Final = 20_000
"""Nodes: of a larger fleet no template is kept, since memory is dearer there than a little time."""
_PLACE: Final = b"\0"
"""Where a node's label goes in its status lines."""

Lines = Mapping[str, bytes]
"""By metric name, the lines of some nodes; empty if none of them has a value."""


class LineWriter:
    """Writes columns of nodes in a row, and keeps what is alike from one time to the next. For one thread at a time."""

    def __init__(self) -> None:
        self._names = Names()
        self._rows: dict[range, _Row] = {}

    def write(self, names: Names, positions: range, columns: Mapping[str, Packed]) -> Lines:
        """Return the lines of the nodes at these positions.

        Args:
            names: All nodes.
            positions: Some of them, in a row.
            columns: By metric name, a text for each of these.
        """
        if names is not self._names:
            self._names, self._rows = names, {}
        row = self._rows.get(positions)
        if row is None:
            shown = names.shown[positions.start : positions.stop]
            row = self._rows[positions] = _Row(shown, keep=len(names.shown) <= _KEEP)
        return row.write(columns)


class _Row:
    """Nodes in a row."""

    def __init__(self, ids: Iterable[str], *, keep: bool) -> None:
        self._labels = [_label(node_id) for node_id in ids]
        self._families = self._new_families() if keep else None

    def _new_families(self) -> "list[_Family]":
        return [(_StatusFamily if metric is STATUS else _Family)(metric, self._labels) for metric in NODE_METRICS]

    def write(self, columns: Mapping[str, Packed]) -> Lines:
        families = self._families or self._new_families()
        return {family.name: family.write(columns[family.name]) for family in families}


class _Family:
    """One family of some nodes: the template of those that had a value last time."""

    def __init__(self, metric: Metric, labels: Sequence[bytes]) -> None:
        self.name = metric.name
        self._labels = labels
        self._prefix, self._suffix = metric.name.encode() + b"{", b"} %b\n"
        self._template = b""
        self._present: bytes | None = None
        self._column: Packed = b""
        self._lines = b""

    def write(self, column: Packed) -> bytes:
        if column != self._column:
            self._column, self._lines = column, b""
            return self._write(unpacked(column))
        if not self._lines:
            # Few nodes change their status or portfolios from one scrape to the next: from the second time on
            # the lines are kept, in the template's place.
            self._lines = self._write(unpacked(column))
            self._template = b""
        return self._lines

    def _write(self, texts: list[bytes]) -> bytes:
        present = None
        if not all(texts):
            present = bytes(map(bool, texts))
            texts = list(filter(None, texts))
        if not self._template or self._present != present:
            self._present = present
            self._template = self._fill(self._labels if present is None else compress(self._labels, present))
        return self._template % tuple(texts)

    def _fill(self, labels: Iterable[bytes]) -> bytes:
        lines = (self._suffix + self._prefix).join(labels)
        return self._prefix + lines + self._suffix if lines else b""


class _StatusFamily(_Family):
    """The status of each node: a line for each that it may have, all of a node's made at once."""

    def __init__(self, metric: Metric, labels: Sequence[bytes]) -> None:
        super().__init__(metric, labels)
        self._forms = {status.encode(): self._form(status) for status in STATUSES}

    def _form(self, status: str) -> bytes:
        return b"".join(
            b'%b%b,status="%b"} %d\n' % (self._prefix, _PLACE, other.encode(), other == status) for other in STATUSES
        )

    def _write(self, texts: list[bytes]) -> bytes:
        forms = self._forms
        nodes = [forms[text].replace(_PLACE, label) for label, text in zip(self._labels, texts, strict=True) if text]
        return b"".join(nodes).replace(b"%%", b"%")  # labels are those of templates


def _label(node_id: str) -> bytes:
    """Return the label as it stands in a template: escaped for the text format, then for ``%``."""
    escaped = node_id.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return b'node_id="%b"' % escaped.encode().replace(b"%", b"%%")
