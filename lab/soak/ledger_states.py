"""What the contract lets be said of a portfolio, given all that Redis may have held while an answer was made."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.demo.platform import ORPHANED
from exporter.liveness.judge import State
from lab.soak.chance import covered
from lab.soak.measure import LOADED
from lab.soak.nodes import Node
from lab.soak.servers import BEAT
from lab.soak.truth import TOLERANCE, Span
from lab.soak.values import may_be_over

TRADED: Final = "traded"
UNKNOWN: Final = "unknown"
ABSENT: Final = "absent"
QUIET: Final = frozenset({TRADED, UNKNOWN, ABSENT})
"""The states that are no faults: no series shows them portfolio by portfolio."""
UNTRADED: Final = "untraded: "
"""What stands before the reason for which a portfolio is untraded."""


@dataclass(slots=True)
class Possible:
    """What Redis may have held while an answer was made.

    Attributes:
        span: When the answer was made.
        nodes: All nodes.
        states: The state of each node in the answer.
        plans: The plans that the exporter may have read.
        new: Nodes of the plan that the exporter may not have looked for yet.
        lists: The lists that each node may have shown; None among them if it may have shown no list.
    """

    span: Span
    nodes: Mapping[str, Node]
    states: Mapping[str, State]
    plans: Collection[Mapping[str, str]]
    new: Collection[str]
    lists: Mapping[str, Collection[frozenset[str] | None]] = field(init=False)

    def __post_init__(self) -> None:
        self.lists = {
            name: {(write.value or {}).get(LOADED) for write in node.hash.possible(*self.span)}
            for name, node in self.nodes.items()
            if name in self.states
        }

    def listers(self, portfolio: str, *states: State) -> tuple[set[str], set[str]]:
        """Return the nodes in one of these states that surely listed a portfolio, and those that may have listed it."""
        surely, maybe = set(), set()
        for name, lists in self.lists.items():
            if self.states[name] in states:
                found = [portfolio in (some or ()) for some in lists]
                if found and all(found):
                    surely.add(name)
                if any(found):
                    maybe.add(name)
        return surely, maybe

    def states_of(self, portfolio: str) -> Mapping[str, Collection[str]]:
        """Return the states that a portfolio may be shown in, each with the nodes that may be named."""
        surely, maybe = self.listers(portfolio, State.ONLINE)
        allowed: dict[str, set[str]] = {}
        throughout = self._loaded_throughout(portfolio)
        for planned in {plan.get(portfolio) for plan in self.plans}:
            node = None if planned in (None, ORPHANED) else planned
            if len(maybe) > 1:
                allowed.setdefault("duplicated", set()).update({node} if node else maybe)
            if len(surely) <= 1:
                for holder in surely or maybe:
                    state = "unplanned" if node is None else TRADED if holder == node else "misplaced"
                    allowed.setdefault(state, set()).add(node or holder)
            if not surely and not throughout:
                for state, names in self._without_holder(portfolio, planned):
                    allowed.setdefault(state, set()).update(names)
        return allowed

    def _without_holder(self, portfolio: str, planned: str | None) -> Iterator[tuple[str, Collection[str]]]:
        """Yield the states of a portfolio that no online node lists, each with the nodes that may be named."""
        surely, maybe = self.listers(portfolio, State.UNDECIDED)
        named_surely, named = self.listers(portfolio, State.UNDECIDED, State.OFFLINE)
        if maybe:
            yield UNKNOWN, ()
        if surely:
            return
        if planned is None:
            if named:
                yield UNTRADED + "dropped", named
            if not named_surely:
                yield ABSENT, ()
        elif planned == ORPHANED:
            yield UNTRADED + "orphaned", named if named_surely else {*named, ""}
        else:
            state = self.states.get(planned)
            lists = self.lists.get(planned, ())
            if (
                state is State.UNDECIDED
                or (state is State.ONLINE and None in lists)
                or (not state and planned in self.new)
            ):
                yield UNKNOWN, ()
            if state is State.ONLINE and any(some is not None for some in lists):
                yield UNTRADED + "undelivered", {planned}
            if state is State.OFFLINE or (not state and self._may_be_away(planned)):
                yield UNTRADED + "node_offline", {planned}

    def _may_be_away(self, name: str) -> bool:
        """Return whether a node may have had no living heartbeat meanwhile."""
        return any(may_be_over(beat, self.span[1]) for beat in self.nodes[name].heartbeat.possible(*self.span))

    def _loaded_throughout(self, portfolio: str) -> bool:
        """Return whether an online node surely listed a portfolio at each moment.

        The exporter then finds the list, unless the portfolio moves twice while it reads.
        """
        since, until = self.span
        online = [name for name, state in self.states.items() if state is State.ONLINE and name in self.nodes]
        spans = [span for name in online for span in _listed(self.nodes[name], portfolio)]
        return until - since < BEAT - TOLERANCE and covered(spans, since, until) >= until - since


def _listed(node: Node, portfolio: str) -> Iterator[Span]:
    """Yield the spans in which a node's hash surely listed a portfolio."""
    writes = tuple(node.hash.writes)
    for write, after in zip(writes, (*writes[1:], None), strict=True):
        if write.sure and write.value is not None and portfolio in (write.value.get(LOADED) or ()):
            yield write.ended, after.begun if after else math.inf
