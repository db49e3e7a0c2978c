"""What is known of each node's heartbeat: until when it lives, and what the node wrote."""

from collections.abc import Iterable
from typing import NamedTuple

from exporter.source.reading import Reading, Server


class Heartbeat(NamedTuple):
    """A heartbeat that was seen to live.

    Attributes:
        deadline: Its end in monotonic seconds.
        text: What the node wrote.
    """

    deadline: float
    text: bytes


class Heartbeats:
    """The last living heartbeat of each node; its owner sees to it that one thread at a time uses it.

    The last whole reading is kept as it came: to put each node's heartbeat into a
    dictionary, reading after reading, costs more than all else that the judge does.
    Apart from it stand the heartbeats that it does not hold: seen earlier, by nodes
    that have none in it, or later, in a reading of some nodes alone.
    """

    def __init__(self) -> None:
        self._whole = Reading(0.0, 0.0, 0.0, Server("", ""))
        self._positions: dict[bytes, int] = {}
        self._apart: dict[bytes, Heartbeat | None] = {}  # None: not to be known any more

    def note(self, reading: Reading, without: Iterable[int], *, whole: bool) -> None:
        """Take over the living heartbeats of a reading.

        Args:
            reading: What was read.
            without: Positions of the nodes that have none.
            whole: It holds all known nodes, but for those that became known while it was read.
        """
        if not whole:
            for name, ms, text in zip(reading.names, reading.ttl_ms, reading.beats, strict=True):
                if ms > 0:
                    self._apart[name] = Heartbeat(reading.at + ms / 1000, text or b"")
            return
        known = {name: self.get(name) for name in (reading.names[position] for position in without)}
        known |= self._apart
        if reading.names is not self._whole.names:
            self._positions = {name: position for position, name in enumerate(reading.names)}
        self._whole, self._apart = reading.without_fields(), {}
        # A heartbeat's end only ever moves on: of two, the later one was seen later.
        self._apart = {
            name: heartbeat
            for name, heartbeat in known.items()
            if heartbeat and not ((newer := self.get(name)) and newer.deadline >= heartbeat.deadline)
        }

    def get(self, name: bytes) -> Heartbeat | None:
        """Return a node's last heartbeat; None if it was never seen to have one, or is forgotten."""
        if name in self._apart:
            return self._apart[name]
        position = self._positions.get(name)
        if position is None or self._whole.ttl_ms[position] <= 0:
            return None
        return Heartbeat(
            self._whole.at + self._whole.ttl_ms[position] / 1000,
            self._whole.beats[position] or b"",
        )

    def forget(self, name: bytes) -> None:
        """Know nothing more of a node."""
        if name in self._positions:
            self._apart[name] = None
        else:
            self._apart.pop(name, None)

    def names(self) -> set[bytes]:
        """Return the nodes that were seen to have a heartbeat."""
        return {name for name in self._positions.keys() | self._apart.keys() if self.get(name)}
