"""What is known of each node's heartbeat: until when it lives, and what the node wrote."""

from collections.abc import Collection
from itertools import repeat
from typing import NamedTuple

from exporter.source.reading import Reading


class Heartbeat(NamedTuple):
    """A heartbeat that was seen to live.

    Attributes:
        deadline: Its end in monotonic seconds.
        text: What the node wrote.
    """

    deadline: float
    text: bytes


class Heartbeats:
    """The last living heartbeat of each node; its owner sees to it that one thread at a time uses it."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[float, int, bytes | None]] = {}  # when, its PTTL then, and what it said
        self._latest = float("-inf")

    def note(self, reading: Reading, without: Collection[int]) -> None:
        """Take over the living heartbeats of a reading.

        Args:
            reading: What was read.
            without: Positions of the nodes that have none.
        """
        beats = zip(reading.names, zip(repeat(reading.at), reading.ttl_ms, reading.beats, strict=False), strict=True)
        if not without and reading.at >= self._latest:
            self._seen.update(beats)
        else:
            for name, seen in beats:
                if seen[1] > 0 and not ((known := self._seen.get(name)) and known[0] > reading.at):
                    self._seen[name] = seen
        self._latest = max(self._latest, reading.at)

    def get(self, name: bytes) -> Heartbeat | None:
        """Return a node's last heartbeat; None if it was never seen to have one, or is forgotten."""
        if (seen := self._seen.get(name)) is None:
            return None
        at, ms, text = seen
        return Heartbeat(at + ms / 1000, text or b"")

    def forget(self, name: bytes) -> None:
        """Know nothing more of a node."""
        self._seen.pop(name, None)

    def names(self) -> set[bytes]:
        """Return the nodes that were seen to have a heartbeat."""
        return set(self._seen)
