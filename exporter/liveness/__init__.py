"""Readings → states: decides which nodes are alive, and allows for Redis's own faults.

In: readings of ``exporter.source``, each with what Redis said about itself. Out: one state for each node, a change log,
and an immutable view of all that is not as it should be. Read ``judge`` first: ``Judge._decide`` holds all rules on
nodes. ``chance`` says when Redis gave nodes a chance to beat, ``mass_loss`` which deaths belong together. ``changes``
is what others see, and the last look at nodes that beat.

All state that changes:

====================================  ==========================================  ==================================
state                                 where                                       guarded by
====================================  ==========================================  ==================================
nodes, their deaths, change log       ``judge.Judge``                             its lock
times in which Redis is unreadable    ``judge.Judge``                             its lock
gaps and answers of each Redis        ``chance.Chances``, ``chance.Chance``       the lock of ``judge.Judge``
when to look next                     ``exporter.fleet.watch.Watch``              the thread of the watch
====================================  ==========================================  ==================================
"""

from exporter.liveness.changes import Change, Evidence, Gap, Kind, Leftovers, Node, State, Verdicts, View
from exporter.liveness.judge import LOOK_AGAIN, Judge
from exporter.liveness.mass_loss import Loss

__all__ = [
    "LOOK_AGAIN",
    "Change",
    "Evidence",
    "Gap",
    "Judge",
    "Kind",
    "Leftovers",
    "Loss",
    "Node",
    "State",
    "Verdicts",
    "View",
]
