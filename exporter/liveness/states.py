"""The states of a node, and the record of a node that has no heartbeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The state of a node."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNDECIDED = "undecided"
    """The node has no heartbeat, but it may be alive: a fault of Redis or a mass loss may explain that."""
    FORGOTTEN = "forgotten"
    """The node is offline for so long that it is only counted."""
    GONE = "gone"
    """The node stopped gracefully, or never existed: nothing is exported."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The state of each node of a reading.

    Attributes:
        states: The states, in the order of the reading's names.
        without_heartbeat: Positions of all nodes without a living heartbeat, in ascending order.
    """

    states: Sequence[State]
    without_heartbeat: Sequence[int]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a node's state.

    Attributes:
        name: The node.
        before: The old state; None if the node was unknown.
        after: The new state.
        at: Monotonic time of the read that showed the change.
    """

    name: bytes
    before: State | None
    after: State
    at: float


@dataclass(slots=True)
class Missing:
    """A node without heartbeat. All times are monotonic, in seconds.

    Attributes:
        first: When the node was first read without a heartbeat.
        since: When its chance to beat begins; None if it was never seen alive and no fault is known.
        state: Its state at the last read; None for a node that was never seen before.
        died: When it died: the end of its heartbeat, or the end of its chance; None while it may be alive.
        ended: Whether ``died`` is the end of its heartbeat.
        offline: Whether the node is declared dead. A death that is held back is not declared yet.
        remembered: Whether an earlier run of the exporter declared it dead.
    """

    first: float
    since: float | None
    state: State | None
    died: float | None = None
    ended: bool = False
    offline: bool = False
    remembered: bool = False
