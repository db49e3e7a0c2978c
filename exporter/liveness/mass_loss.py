"""Mass loss: so many nodes died together that one cause is likelier than many.

Nodes that one cause kills lose their heartbeats over the time between two beats. At
the first deaths, the mass loss does not show yet. But then other nodes are late with
their beats. So while many nodes are late, a death is held back until it is clear
whether it is a single one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from exporter.source.reading import Reading

HOLD_BEATS: Final = 1.5
"""Longest time for which a death is held back, in beats: the deaths of one cause lie within one beat."""


LATE: Final = 0.4
"""Remaining life of a heartbeat, as a share of a TTL, below which its node is late with the next beat."""


def count_late(reading: Reading, of: int, ttl: float) -> float:
    """Return how many of ``of`` nodes are late with their beat; the reading is a fair sample of them."""
    least = LATE * ttl * 1000
    return sum(0 < ms < least for ms in reading.ttl_ms) * of / len(reading.ttl_ms)


class Ruling(Enum):
    """The decision on a death."""

    SINGLE = "a death of its own"
    MEMBER = "part of a mass loss"
    HELD = "not clear yet"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many nodes must die together to be a mass loss.

    At least ``nodes`` deaths that are more than ``ratio`` of the fleet are a mass loss. So are ``many`` deaths
    in a fleet of any size.

    Attributes:
        nodes: Lowest number of deaths.
        ratio: Share of the nodes that were online or undecided before.
        many: Number of deaths that is enough whatever their share.
    """

    nodes: int = 3
    ratio: float = 0.25
    many: int = 10

    def met(self, dead: float, before: float) -> bool:
        """Return whether ``dead`` of ``before`` nodes are a mass loss."""
        return dead >= self.many or (dead >= self.nodes and dead > self.ratio * before)


@dataclass(slots=True)
class Loss:
    """One mass loss that lasts.

    Attributes:
        first: When the first heartbeat of its members ended, in monotonic seconds.
        members: The nodes that died in it and are not back, gone or forgotten yet.
        left: The former members: if such a node dies again, that is a death of its own.
    """

    first: float
    members: set[bytes] = field(default_factory=set)
    left: set[bytes] = field(default_factory=set)


class MassLoss:
    """Decides whether a death is part of a mass loss. Time is passed in. Not thread-safe: the judge's lock guards it.

    Args:
        ttl: Seconds that a heartbeat lives; also the longest time between the deaths of one mass loss.
        beat: Seconds between two beats.
        thresholds: How many nodes must die together.
    """

    def __init__(self, ttl: float, beat: float, thresholds: Thresholds) -> None:
        self.losses: list[Loss] = []
        self._ttl, self._hold, self._thresholds = ttl, HOLD_BEATS * beat, thresholds
        self._singles: dict[bytes, float] = {}  # deaths that were single: when the node's heartbeat ended
        self._held: dict[bytes, tuple[float, float]] = {}  # when the heartbeat ended, since when the death is held back

    @property
    def members(self) -> Collection[bytes]:
        """The members of all mass losses that last."""
        return set().union(*(loss.members for loss in self.losses))

    @property
    def held(self) -> Collection[bytes]:
        """The nodes whose death is held back."""
        return self._held.keys()

    def rule(self, dead: Mapping[bytes, float], now: float, *, alive: int, late: float) -> dict[bytes, Ruling]:
        """Decide which deaths are single, part of a mass loss, or not clear yet.

        Args:
            dead: For each dead node, when its heartbeat ended. For a node that was undecided, when its chance was over.
            now: Monotonic time, in seconds.
            alive: Number of nodes that are online or undecided, including ``dead``.
            late: Expected number of other nodes that die within a beat.
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

    def restore(self, name: bytes, ended: float) -> None:
        """Record a member of a mass loss that began in an earlier run; ``ended`` is when its heartbeat ended."""
        loss = next((loss for loss in self.losses if self._near(loss.first, ended)), None)
        if loss is None:
            self.losses.append(loss := Loss(ended))
        loss.first = min(loss.first, ended)
        loss.members.add(name)

    def leave(self, name: bytes) -> None:
        """Record that a node is back, gone or forgotten: it is no member any longer, and its death does not count."""
        self._singles.pop(name, None)
        self._held.pop(name, None)
        for loss in self.losses:
            if name in loss.members:
                loss.members.discard(name)
                loss.left.add(name)
        self.losses = [loss for loss in self.losses if loss.members]
