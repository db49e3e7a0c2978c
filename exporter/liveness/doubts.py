"""Why a node is undecided, and until when."""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from exporter.liveness.evidence import Why
from exporter.liveness.faults import ONGOING, Fault, chance
from exporter.liveness.states import State

if TYPE_CHECKING:
    from exporter.liveness.rules import Rules


class Doubt(NamedTuple):
    """Why a node is undecided. Times are monotonic, in seconds.

    Attributes:
        why: The rule that left it undecided.
        fault: The last fault of Redis that may excuse its missing heartbeat; None without one.
        until: The earliest time at which it can be called dead if it does not beat; None if that is not known yet, as
            while the fault lasts.
    """

    why: Why
    fault: Fault | None
    until: float | None


def doubt_of(rules: "Rules", name: bytes, grace: float) -> Doubt | None:
    """Return why a node is undecided; None if it is not, or if its Redis could not be read.

    Args:
        rules: What is known of all nodes.
        name: The node.
        grace: Seconds of chance after which a node without heartbeat is dead.
    """
    node = rules.missing.get(name)
    if node is None or node.state is not State.UNDECIDED:
        return None
    if name in rules.mass_loss.held:
        return Doubt(Why.HELD, None, None)
    faults = rules.faults.of(name)
    last = max(faults, key=lambda fault: (fault.end, fault.start), default=None)
    if node.since is None or last is None:
        return Doubt(Why.FIRST_LOOK, None, None)
    now = rules.faults.at
    until = None if last.end == ONGOING else now + max(0.0, grace - chance(faults, node.since, now))
    return Doubt(Why.FAULT, replace(last), until)
