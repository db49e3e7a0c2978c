"""The nodes that were offline when an earlier run of the exporter ended, as its journal tells."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.liveness.states import Missing, State
from exporter.source.names import shown_id


class WasOffline(NamedTuple):
    """A node that was offline at the end of an earlier run.

    Attributes:
        died: When it died, in monotonic seconds.
        ended: Whether that is the end of its heartbeat.
        member: Whether it was a member of a mass loss.
        forgotten: Whether it was forgotten.
    """

    died: float
    ended: bool
    member: bool
    forgotten: bool = False


class EarlierRun:
    """Nodes that no read of this run has shown yet. Not thread-safe: the judge's lock guards it."""

    def __init__(self) -> None:
        self._nodes: dict[str, WasOffline] = {}

    def remember(self, nodes: Mapping[str, WasOffline]) -> None:
        """Remember nodes by their ids as text."""
        self._nodes |= nodes

    def drop(self, names: Iterable[bytes]) -> None:
        """Forget the nodes that beat again."""
        for name in names if self._nodes else ():
            self._nodes.pop(shown_id(name), None)

    def take(self, name: bytes, at: float) -> tuple[Missing, bool] | None:
        """Return the record of a node that this run reads without heartbeat for the first time.

        Returns:
            The record, and whether the node was a member of a mass loss. None if it was not offline.
        """
        node = self._nodes.pop(shown_id(name), None) if self._nodes else None
        if node is None:
            return None
        died = min(node.died, at)  # a clock that was set back meanwhile must not make the node die in the future
        state = State.FORGOTTEN if node.forgotten else None
        return Missing(at, None, state, died, node.ended, offline=True, remembered=True), node.member
