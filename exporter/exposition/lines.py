"""Writes the columns of a part as lines of Prometheus's text formats; both formats have the same lines.

A column is written by one ``%``: a template has one line for each node, with a place for the node's
value, and one ``replace`` puts in the name of the family. docs/explanation/performance.md says what this buys.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from exporter.contract import MASS_LOST, STATUS, STATUSES
from exporter.snapshot.snapshot import Part
from exporter.snapshot.values import Values
from exporter.source.names import Names

_NAME: Final = b"\xff"
"""The place of the family's name in a template. UTF-8 has no such byte, so no label contains it."""
_LABEL: Final = b"\xfe"
"""The place of the node's label in its status lines."""
_TEMPLATES: Final = 16
"""Templates that are kept for a part. Each belongs to a set of nodes with a value: usually all, or all online ones."""

Lines = Mapping[str, bytes]
"""The lines of a part by metric name; empty if no node of the part has a value."""


class LineWriter:
    """Writes parts, and keeps templates while the names stay the same. Only one thread at a time may use it."""

    def __init__(self) -> None:
        self._names = Names()
        self._writers: dict[range, _PartWriter] = {}

    def write(self, part: Part) -> Lines:
        """Return the lines of a part."""
        if part.names is not self._names:
            self._names, self._writers = part.names, {}
        writer = self._writers.get(part.positions)
        if writer is None:
            ids = part.names.shown[part.positions.start : part.positions.stop]
            writer = self._writers[part.positions] = _PartWriter(ids)
        return {name: writer.write(name, texts) for name, texts in part.columns.items()}


class _PartWriter:
    """Writes the columns of the same nodes, scrape after scrape."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._labels = [b'node_id="%b"' % escaped(node_id).replace(b"%", b"%%") for node_id in ids]
        self._templates: dict[tuple[int, ...], bytes] = {}
        self._statuses: Values = ()
        self._status_lines = b""

    def write(self, name: str, texts: Values) -> bytes:
        if not any(texts):
            return b""
        if name == STATUS.name:
            return self._written_statuses(texts)
        if name == MASS_LOST.name:
            return self._written_losses(texts)
        missing = () if all(texts) else tuple(position for position, text in enumerate(texts) if text is None)
        lines = self._template(missing) % tuple(filter(None, texts) if missing else texts)
        return lines.replace(_NAME, name.encode())

    def _template(self, missing: tuple[int, ...]) -> bytes:
        """Return a line for each node except the missing ones, with places for the value and for the family's name."""
        template = self._templates.get(missing)
        if template is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            left_out = set(missing)
            labels = (label for position, label in enumerate(self._labels) if position not in left_out)
            template = self._templates[missing] = b"".join(b"%b{%b} %%b\n" % (_NAME, label) for label in labels)
        return template

    def _written_statuses(self, statuses: Values) -> bytes:
        """Return a line for each status that a node may have. The lines are kept while no node's status changes."""
        if statuses != self._statuses:
            pairs = zip(self._labels, statuses, strict=True)
            lines = b"".join([_STATUS_LINES[status].replace(_LABEL, label) for label, status in pairs if status])
            self._statuses = statuses
            self._status_lines = lines.replace(b"%%", b"%")  # the labels are escaped for templates
        return self._status_lines

    def _written_losses(self, losses: Values) -> bytes:
        name = MASS_LOST.name.encode()
        pairs = zip(self._labels, losses, strict=True)
        return b"".join(
            b'%b{%b,loss="%b"} 1\n' % (name, label.replace(b"%%", b"%"), escaped(loss.decode()))
            for label, loss in pairs
            if loss
        )


def escaped(text: str) -> bytes:
    """Return the value of a label, escaped for the text formats."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').encode()


def _status_lines(status: str) -> bytes:
    name = STATUS.name.encode()
    return b"".join(b'%b{%b,status="%b"} %d\n' % (name, _LABEL, other.encode(), other == status) for other in STATUSES)


_STATUS_LINES: Final = {status.encode(): _status_lines(status) for status in STATUSES}
"""A node's lines by the status that it reports, with a place for its label."""
