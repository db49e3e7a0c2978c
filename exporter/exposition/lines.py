"""Writes the columns of a part as lines of Prometheus's text formats; both formats have the same lines.

A column is written by one ``%``: a template has one line for each node, with a place for the node's
value, and one ``replace`` puts in the name of the family. docs/explanation/performance.md says what this buys.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final

from exporter.contract import MASS_LOST, STATUS, STATUSES
from exporter.snapshot.snapshot import Part
from exporter.snapshot.values import Values
from exporter.source.names import Names

_NAME: Final = b"\xff"
"""The place of the family's name in a template. UTF-8 has no such byte, so no label contains it."""
_TEMPLATES: Final = 16
"""Templates that are kept for a part. Each belongs to a set of nodes with a value: usually all, or all online ones."""

_LOST: Final = MASS_LOST.name.encode() + b'{%b,loss="%b"} 1\n'
_STATUS_LABELS: Final = [f',status="{status}"'.encode() for status in STATUSES]
_FLAGS: Final = {status.encode(): [b"%d" % (other == status) for other in STATUSES] for status in STATUSES}
"""The values of a node's status lines, by the status that it reports."""


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
        self._templates: dict[tuple[bool, tuple[int, ...]], bytes] = {}

    def write(self, name: str, texts: Values) -> bytes:
        if not any(texts):
            return b""
        if name == MASS_LOST.name:
            pairs = zip(self._labels, texts, strict=True)
            return b"".join([_LOST % (label, escaped(text.decode())) for label, text in pairs if text])
        missing = () if all(texts) else tuple(position for position, text in enumerate(texts) if text is None)
        values: Iterable[bytes | None] = filter(None, texts) if missing else texts
        if name == STATUS.name:
            values = chain.from_iterable(map(_FLAGS.__getitem__, filter(None, texts)))
        return (self._template(missing, name == STATUS.name) % tuple(values)).replace(_NAME, name.encode())

    def _template(self, missing: tuple[int, ...], with_status: bool) -> bytes:  # noqa: FBT001
        """Return the lines of each node except the missing ones, with places for values and for the family's name."""
        template = self._templates.get((with_status, missing))
        if template is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            left_out, more = set(missing), _STATUS_LABELS if with_status else [b""]
            labels = [label for position, label in enumerate(self._labels) if position not in left_out]
            lines = [b"%b{%b%b} %%b\n" % (_NAME, label.replace(b"%", b"%%"), each) for label in labels for each in more]
            template = self._templates[with_status, missing] = b"".join(lines)
        return template


def escaped(text: str) -> bytes:
    """Return the value of a label, escaped for the text formats."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').encode()
