"""Writes the columns of a part as lines of Prometheus's text formats; both formats have the same lines.

A column is written by one ``%``: a template has one line for each node, with a place for the node's
value, and one ``replace`` puts in the name of the family. docs/explanation/performance.md says what this buys.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from exporter.contract import MASS_LOST, STATUS, STATUSES
from exporter.snapshot.snapshot import Part
from exporter.snapshot.values import Values
from exporter.source.names import Names

_NAME: Final = b"\xff"
"""The place of the family's name in a template. UTF-8 has no such byte, so no label contains it."""
_LABEL: Final = b"\xfe"
"""The place of the node's label in lines with a second one."""
_TEMPLATES: Final = 16
"""Templates that are kept for a part. Each belongs to a set of nodes with a value: usually all, or all online ones."""

_SECOND_LABEL: Final = {STATUS.name: b"status", MASS_LOST.name: b"loss"}
"""The families with a label beside the node's."""


class LineWriter:
    """Writes parts, and keeps templates while the names stay the same. Only one thread at a time may use it."""

    def __init__(self) -> None:
        self._names = Names()
        self._writers: dict[range, _PartWriter] = {}

    def write(self, part: Part) -> Mapping[str, bytes]:
        """Return the lines of a part by metric name; empty if no node of the part has a value."""
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
        self._labels = [b'node_id="%b"' % escaped(node_id) for node_id in ids]
        self._templates: dict[tuple[int, ...], bytes] = {}
        self._kept: dict[str, tuple[Values, bytes]] = {}

    def write(self, name: str, texts: Values) -> bytes:
        if not any(texts):
            return b""
        if name in _SECOND_LABEL:
            return self._with_second_label(name, texts)
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
            lines = (b"%b{%b} %%b\n" % (_NAME, label.replace(b"%", b"%%")) for label in labels)
            template = self._templates[missing] = b"".join(lines)
        return template

    def _with_second_label(self, name: str, texts: Values) -> bytes:
        """Return the lines of a family with a second label. They are kept while no node's value changes."""
        before, lines = self._kept.get(name, ((), b""))
        if texts != before:
            pairs = zip(self._labels, texts, strict=True)
            lines = b"".join([_second_labels(name, text).replace(_LABEL, label) for label, text in pairs if text])
            self._kept[name] = texts, lines
        return lines


def escaped(text: str) -> bytes:
    """Return the value of a label, escaped for the text formats."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').encode()


@lru_cache
def _second_labels(name: str, text: bytes) -> bytes:
    """Return the lines of a node that has this value, with a place for its label."""
    label, value = _SECOND_LABEL[name], text.decode()
    return b"".join(
        b'%b{%b,%b="%b"} %d\n' % (name.encode(), _LABEL, label, escaped(each), each == value)
        for each in (STATUSES if name == STATUS.name else (value,))
    )
