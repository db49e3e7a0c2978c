"""Mass loss: so many nodes died together that one cause is likelier than many.

The deaths of one cause are spread over the time between two beats, so the first of
them come before the loss can be seen. Other nodes that are late with their beat give it
away: then a death is held back until it is clear whether it stays alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

HOLD_BEATS: Final = 1.5
"""Beats for which a death is held back at most: the deaths of one cause come within one."""


class Ruling(Enum):
    """What a death is."""

    SINGLE = "a death of its own"
    MEMBER = "part of a mass loss"
    HELD = "not clear yet"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many nodes must die together.

    Attributes:
        nodes: At least so many, and more than ``ratio`` of those that were online or undecided before.
        ratio: See ``nodes``.
        many: Or at least so many, however large the fleet is.
    """

    nodes: int = 3
    ratio: float = 0.25
    many: int = 10

    def met(self, dead: float, before: float) -> bool:
        """Return whether so many deaths, of so many nodes before, are a mass loss."""
        return dead >= self.many or (dead >= self.nodes and dead > self.ratio * before)


@dataclass(slots=True)
class Loss:
    """One mass loss that lasts.

    Attributes:
        first: When the first heartbeat of it ended, in monotonic seconds.
        members: The nodes lost with it that are not back, gone or forgotten yet.
        left: Nodes that were members once: if such a node dies again, the death is its own.
    """

    first: float
    members: set[bytes] = field(default_factory=set)
    left: set[bytes] = field(default_factory=set)


class MassLoss:
    """Decides whether a death is part of a mass loss. Time is passed in; its owner lets one thread at a time use it.

    Args:
        ttl: Seconds that a heartbeat lives: the deaths of one loss lie no further apart.
        beat: Seconds between two beats.
        thresholds: How many nodes must die together.
    """

    def __init__(self, ttl: float, beat: float, thresholds: Thresholds) -> None:
        self.losses: list[Loss] = []
        self._ttl, self._hold, self._thresholds = ttl, HOLD_BEATS * beat, thresholds
        self._singles: dict[bytes, float] = {}  # when the heartbeats of nodes ended that died a death of their own
        self._held: dict[bytes, tuple[float, float]] = {}  # when the heartbeat ended, and since when it is held

    @property
    def members(self) -> Collection[bytes]:
        """The nodes that are lost in a mass loss."""
        return set().union(*(loss.members for loss in self.losses))

    @property
    def held(self) -> Collection[bytes]:
        """The nodes whose death is held back."""
        return self._held.keys()

    def rule(self, dead: Mapping[bytes, float], now: float, *, alive: int, late: float) -> dict[bytes, Ruling]:
        """Decide what some deaths are.

        Args:
            dead: The nodes, and when their heartbeats ended; for one that was undecided, when it was declared dead.
            now: Monotonic time.
            alive: Nodes that are online or undecided, these included.
            late: How many others of them are likely to die within a beat.
        """
        for name, ended in dead.items():
            self._held.setdefault(name, (ended, now))
        self._singles = {name: ended for name, ended in self._singles.items() if ended > now - 2 * self._ttl}
        rulings = {name: self._rule(name, now, alive, late) for name in sorted(dead, key=lambda name: dead[name])}
        for name, ruling in rulings.items():
            if ruling is not Ruling.HELD:
                ended, _ = self._held.pop(name)
                if ruling is Ruling.SINGLE:
                    self._singles[name] = ended
        return rulings

    def _rule(self, name: bytes, now: float, alive: int, late: float) -> Ruling:
        ended, since = self._held[name]
        loss = next((loss for loss in self.losses if self._near(loss.first, ended) and name not in loss.left), None)
        if loss is None:
            singles = [then for then in self._singles.values() if self._near(then, ended)]
            held = [then for then, _ in self._held.values() if self._near(then, ended)]
            dead, before = len(singles) + len(held), alive + len(singles)
            if not self._thresholds.met(dead, before):
                may_be = self._thresholds.met(dead + late, before) and now - since < self._hold
                return Ruling.HELD if may_be else Ruling.SINGLE
            loss = Loss(min([*singles, *held]))
            self.losses.append(loss)
        loss.members.add(name)
        return Ruling.MEMBER

    def _near(self, one: float, other: float) -> bool:
        return abs(one - other) <= self._ttl

    def leave(self, name: bytes) -> None:
        """Take note that a node is back, gone or forgotten: it is lost no longer, and its death counts no longer."""
        self._singles.pop(name, None)
        self._held.pop(name, None)
        for loss in self.losses:
            if name in loss.members:
                loss.members.discard(name)
                loss.left.add(name)
        self.losses = [loss for loss in self.losses if loss.members]
