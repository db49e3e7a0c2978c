"""Which offline nodes have left nothing but a hash, and which are still needed, by the ledger."""

from collections.abc import Iterable
from typing import Final

from exporter.liveness.forgetting import Leftovers
from exporter.liveness.states import State
from exporter.portfolios.ledger import ORPHANED_NODE, Ledger, NodeReport, PortfolioState

_OFFLINE: Final = (State.OFFLINE, State.FORGOTTEN)


def leftovers_of(ledger: Ledger, reports: Iterable[NodeReport]) -> Leftovers:
    """Return which offline nodes may be forgotten since their work has moved, and which must not.

    A list that is missing or broken shows nothing, so its node is never taken for one whose work has moved.

    Args:
        ledger: The ledger.
        reports: The nodes of which it was made.
    """
    planned = frozenset(ledger.plan.values()).difference((b"", ORPHANED_NODE))
    untraded = {each.id for each in ledger.abnormal.values() if each.state is PortfolioState.UNTRADED}
    needed: set[bytes] = set()
    rehomed: set[bytes] = set()
    for node in reports:
        if node.state not in _OFFLINE:
            continue
        if node.name in planned or not untraded.isdisjoint(node.loaded or ()):
            needed.add(node.name)
        elif planned and node.loaded is not None and all(portfolio in ledger.loaded for portfolio in node.loaded):
            rehomed.add(node.name)
    return Leftovers(frozenset(needed), frozenset(rehomed))
