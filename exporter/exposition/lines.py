"""Writes columns as lines of Prometheus's text formats; both formats have the same lines.

A column is written by one ``%``: a template has one line for each node, with a place for the node's
value, and one ``replace`` puts in the name of the family. docs/explanation/performance.md says what this buys.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, compress
from typing import Final

from exporter.contract import MASS_LOST, STATUS, STATUSES
from exporter.snapshot.values import Column
from exporter.source.names import Names

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


class LineWriter:
    """Writes columns, and keeps templates while the names stay the same. Only one thread at a time may use it."""

    def __init__(self) -> None:
        self._names, self._labels = Names(), list[bytes]()
        self._templates: dict[object, bytes] = {}

    def write(self, names: Names, positions: range, columns: Mapping[str, Column]) -> Mapping[str, bytes]:
        """Return the lines of some columns by metric name; empty if no node has a value.

        Args:
            names: All nodes of the reading.
            positions: The positions of the columns' nodes among them.
            columns: The values of these nodes, by metric name.
        """
        if names is not self._names:
            self._names, self._templates = names, {}
            self._labels = [b'node_id="%b"' % escaped(node_id).replace(b"%", b"%%") for node_id in names.shown]
        return {name: self._lines(name, positions, column) for name, column in columns.items()}

    def _lines(self, name: str, positions: range, column: Column) -> bytes:
        texts = column.values
        if len(column.text) == len(texts):  # it holds nothing but the ends of lines
            return b""
        whole, form = column.whole, name if name in _LINES else ""
        values: Iterable[bytes | None] = texts if whole else filter(None, texts)
        if form == STATUS.name:
            values = chain.from_iterable(map(_FLAGS.__getitem__, filter(None, texts)))
        elif form:
            values = [escaped(text.decode()) for text in texts if text]
        key = positions, form, whole or tuple(map(bool, texts))
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) * len(texts) >= _TEMPLATES * len(self._labels):
                self._templates.clear()
            labels = compress(self._labels[positions.start : positions.stop], texts)
            lines = [line % (_NAME, label) for label in labels for line in _LINES.get(form, _LINE)]
            template = self._templates[key] = b"".join(lines)
        return (template % tuple(values)).replace(_NAME, name.encode())


def escaped(text: str) -> bytes:
    """Return the value of a label, escaped for the text formats."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').encode()
