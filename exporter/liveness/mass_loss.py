"""Mass loss: so many nodes died together that one cause is likelier than many.

The heartbeats of nodes that one cause kills end within the time between two beats. At the first end the loss does not
show yet, but the other nodes are late with their beats. So a death is held back while it may be the first of many. All
functions here are pure: the table passes dead and late nodes, which it takes from one place at one moment.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from exporter.settings import MassLoss

ALIKE: Final = 0.1
"""Seconds within which two deadlines count as equal: two exporters read the same heartbeat a moment apart."""


class Loss(NamedTuple):
    """A mass loss.

    Attributes:
        name: The id of one of its first members.
        first: When its first member died, in monotonic seconds.
    """

    name: bytes
    first: float


class Death(NamedTuple):
    """A death, or one that would follow if a late node beat no more. Times are monotonic seconds.

    Attributes:
        died: When the heartbeat ended, or the chance was over.
        end: When the last known heartbeat ended.
        name: The node.
        told: Whether it was declared before, as a death of its own.
        found: When a look showed it first.
    """

    died: float
    end: float
    name: bytes
    told: bool = False
    found: float = 0.0


def together(deaths: Iterable[Death], alive: int, ttl: float, least: MassLoss) -> set[bytes]:
    """Return the nodes in windows of a TTL whose deaths are a mass loss.

    Args:
        deaths: The deaths that count.
        alive: Number of nodes that are online or undecided.
        ttl: Length of a window, in seconds.
        least: How many deaths are a mass loss.
    """
    ordered = sorted(deaths)
    lost: set[bytes] = set()
    end = added = told = 0  # the window is ordered[start:end]; ordered[:added] was looked at for ``lost`` already
    for start, first in enumerate(ordered):
        while end < len(ordered) and ordered[end].died <= first.died + ttl:
            told += ordered[end].told
            end += 1
        dead = end - start
        if dead >= least.many or (dead >= least.nodes and dead > least.ratio * (alive + told)):
            lost.update(death.name for death in ordered[max(start, added) : end])
            added = end
        told -= first.told
    return lost


def joined(death: Death, losses: Iterable[Loss], ttl: float) -> Loss | None:
    """Return the mass loss with members to which a death belongs: the first by name whose first death is near."""
    return min((loss for loss in losses if abs(death.died - loss.first) <= ttl), default=None)


def named(members: Collection[Death], taken: Collection[bytes]) -> bytes:
    """Return the name of a new mass loss: the member with the earliest deadline, unless it names another one.

    Args:
        members: The deaths that are known now.
        taken: The names of other mass losses that have members.
    """
    free = [death for death in members if death.name not in taken] or members
    earliest = min(death.end for death in free)
    return min(death.name for death in free if death.end <= earliest + ALIKE)
