"""What is known of each node's heartbeat: until when it lives, and what the node wrote."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

from exporter.source.reading import Reading


class Heartbeat(NamedTuple):
    """A heartbeat that was seen to live.

    Attributes:
        deadline: Its end in monotonic seconds.
        seen: When it was seen, in monotonic seconds.
        text: What the node wrote.
    """

    deadline: float
    seen: float
    text: bytes


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Row:
    """Nodes that are read together, as they were seen last.

    Attributes:
        apart: Positions of the nodes whose last living heartbeat is not the one here.
    """

    names: Sequence[bytes]
    at: float
    ttl_ms: Sequence[int]
    beats: Sequence[bytes | None]
    apart: set[int]

    def only(self, position: int) -> "_Row":
        """Return a row of one of them alone."""
        one = slice(position, position + 1)
        return _Row(self.names[one], self.at, self.ttl_ms[one], self.beats[one], set())


class Heartbeats:
    """The last living heartbeat of each node; its owner sees to it that one thread at a time uses it.

    A reading takes the place of the one before of the same nodes, as it came: to
    put each heartbeat into a dictionary, reading after reading, costs several times
    what all else does that the judge does.
    """

    def __init__(self) -> None:
        self._places: dict[bytes, tuple[_Row, int]] = {}
        # By their names' identity, so that none is looked at. A row that no place is in any more goes by itself.
        self._rows: WeakValueDictionary[int, _Row] = WeakValueDictionary()

    def update(self, reading: Reading, without: Collection[int]) -> None:
        """Take over the living heartbeats of a reading.

        Args:
            reading: What was read.
            without: Positions of the nodes that have none.
        """
        row = self._rows.get(id(reading.names))
        if row is None or row.at > reading.at:
            row = _Row(reading.names, reading.at, reading.ttl_ms, reading.beats, set(range(len(reading.names))))
            self._rows[id(row.names)] = row
        for position in without:
            self._set_apart(row.names[position], row)
        row.at, row.ttl_ms, row.beats = reading.at, reading.ttl_ms, reading.beats
        for position in row.apart.difference(without):
            known = self._places.get(row.names[position])
            # Asked for before, and taken in after: what was seen meanwhile may be newer.
            if known is None or known[0].at <= reading.asked or _end(*known) <= _end(row, position):
                self._put(row, position)

    def get(self, name: bytes) -> Heartbeat | None:
        """Return a node's last heartbeat; None if it was never seen to have one, or is forgotten."""
        if (place := self._places.get(name)) is None:
            return None
        row, position = place
        return Heartbeat(_end(row, position), row.at, row.beats[position] or b"")

    def forget(self, name: bytes) -> None:
        """Know nothing more of a node."""
        if place := self._places.pop(name, None):
            row, position = place
            row.apart.add(position)

    def ending(self, after: float, until: float) -> list[bytes]:
        """Return the nodes whose heartbeat, as it was seen last, ends in that time; the first to end first."""
        ends = {name: _end(row, position) for name, (row, position) in self._places.items()}
        return sorted((name for name, end in ends.items() if after < end <= until), key=ends.__getitem__)

    def __contains__(self, name: bytes) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def names(self) -> set[bytes]:
        """Return the nodes that were seen to have a heartbeat."""
        return set(self._places)

    def _set_apart(self, name: bytes, row: _Row) -> None:
        """Keep what is known of a node in a row of its own: this row changes, and an older one need not be kept."""
        if place := self._places.get(name):
            known, position = place
            if known is row or len(known.names) > 1:
                self._put(known.only(position), 0)

    def _put(self, row: _Row, position: int) -> None:
        name = row.names[position]
        self.forget(name)
        self._places[name] = row, position
        row.apart.discard(position)


def _end(row: _Row, position: int) -> float:
    return row.at + row.ttl_ms[position] / 1000
