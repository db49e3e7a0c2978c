"""Columns of texts into the lines that Prometheus reads; both text formats have the same.

A family is written as a column: a template with a place for each node's value is
filled by a single ``%``, and gets the family's name by a single ``replace``. That
costs some forty nanoseconds a sample, where an object for each costs ten thousand.
All families of some nodes share one template, which a processor's cache holds.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from exporter.contract import NODE_METRICS, STATUS, STATUSES
from exporter.snapshot.values import Column, Packed
from exporter.source.names import Names

_NAME: Final = b"\xff"
"""Where a family's name goes; no byte of UTF-8, so that no label has it."""
_LABEL: Final = b"\xfe"
"""Where a node's label goes in its status lines."""
_TEMPLATES: Final = 16
"""Of the same nodes, for those of them that have a value: as a rule all of them, or all that are online."""

Lines = Mapping[str, bytes]
"""By metric name, the lines of some nodes; empty if none of them has a value."""


class LineWriter:
    """Writes columns of nodes in a row, and keeps what is alike from one time to the next. For one thread at a time."""

    def __init__(self) -> None:
        self._names = Names()
        self._rows: dict[range, _Row] = {}

    def write(self, names: Names, positions: range, columns: Mapping[str, Column]) -> Lines:
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
            row = self._rows[positions] = _Row(names.shown[positions.start : positions.stop])
        return {metric.name: row.write(metric.name, columns[metric.name]) for metric in NODE_METRICS}


class _Row:
    """Nodes in a row."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._labels = [_label(node_id) for node_id in ids]
        self._templates: dict[tuple[int, ...], bytes] = {}
        self._before: dict[str, tuple[Packed, bytes]] = {}

    def write(self, name: str, column: Column) -> bytes:
        if len(column.missing) == len(self._labels):
            return b""
        before, lines = self._before.get(name, (None, b""))
        unchanged = column.packed == before
        if not (unchanged and lines):
            lines = self._statuses(column) if name == STATUS.name else self._values(column)
            lines = lines.replace(_NAME, name.encode())
            # Few nodes change their status or portfolios from one scrape to the next: their lines are kept.
            self._before[name] = column.packed, lines if unchanged else b""
        return lines

    def _values(self, column: Column) -> bytes:
        texts = filter(None, column.texts) if column.missing else column.texts
        return self._template(column.missing) % tuple(texts)

    def _template(self, missing: tuple[int, ...]) -> bytes:
        """Return the lines of all nodes but those, with places for a value and for the family's name."""
        template = self._templates.get(missing)
        if template is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            left_out = set(missing)
            labels = (label for position, label in enumerate(self._labels) if position not in left_out)
            template = self._templates[missing] = b"".join(b"%b{%b} %%b\n" % (_NAME, label) for label in labels)
        return template

    def _statuses(self, column: Column) -> bytes:
        """Return a line for each status that a node may have, all of a node's made at once."""
        pairs = zip(self._labels, column.texts, strict=True)
        nodes = [_STATUS_LINES[text].replace(_LABEL, label) for label, text in pairs if text]
        return b"".join(nodes).replace(b"%%", b"%")  # labels are those of templates


def _label(node_id: str) -> bytes:
    """Return the label as it stands in a template: escaped for the text format, then for ``%``."""
    escaped = node_id.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return b'node_id="%b"' % escaped.encode().replace(b"%", b"%%")


def _status_lines(status: str) -> bytes:
    return b"".join(b'%b{%b,status="%b"} %d\n' % (_NAME, _LABEL, other.encode(), other == status) for other in STATUSES)


_STATUS_LINES: Final = {status.encode(): _status_lines(status) for status in STATUSES}
