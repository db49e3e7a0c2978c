"""What a node is, and what is remembered of one that does not beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a node is."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNDECIDED = "undecided"
    """It has no heartbeat, and it cannot be said yet that it is dead."""
    FORGOTTEN = "forgotten"
    """Offline for so long that it is only counted."""
    GONE = "gone"
    """It stopped gracefully, or was never there: nothing is exported."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A state for each node of a reading.

    Attributes:
        states: In the order of the reading's names.
        odd: Positions of all nodes without a living heartbeat, in order.
    """

    states: Sequence[State]
    odd: Sequence[int]


@dataclass(frozen=True, slots=True)
class Change:
    """A node's state became another one.

    Attributes:
        name: The node.
        before: Its state until then; None if it was not known.
        after: Its state since.
        at: Monotonic time of the look that showed it.
    """

    name: bytes
    before: State | None
    after: State
    at: float


@dataclass(slots=True)
class Missing:
    """A node without heartbeat.

    Attributes:
        first: The first look that showed it so, in monotonic seconds.
        since: From when on its chance to beat counts; None if it was never seen alive and no fault is known.
        state: Its state at the last look; None for a node that was never seen before.
        died: When it died: the end of its heartbeat, or when its chance was over; None while it may be alive.
        ended: Whether that is the end of its heartbeat.
        offline: Whether its death was declared, and not held back.
    """

    first: float
    since: float | None
    state: State | None
    died: float | None = None
    ended: bool = False
    offline: bool = False
