"""The ledger: a pure function of the plan, the loaded lists and the states of nodes to one state for each portfolio."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from exporter.liveness import State

ORPHANED_NODE: Final = b"__ORPHANED__"
"""The value in the plan by which the scheduler says that it found no node for a portfolio."""


class PortfolioState(StrEnum):
    """The state of a portfolio, as the contract defines it."""

    TRADED = "traded"
    UNTRADED = "untraded"
    MISPLACED = "misplaced"
    DUPLICATED = "duplicated"
    UNPLANNED = "unplanned"
    UNKNOWN = "unknown"


FAULTS: Final = (
    PortfolioState.UNTRADED,
    PortfolioState.MISPLACED,
    PortfolioState.DUPLICATED,
    PortfolioState.UNPLANNED,
)
"""The states that are faults; the order is the contract's."""


class Reason(StrEnum):
    """Why a portfolio is untraded."""

    NODE_OFFLINE = "node_offline"
    ORPHANED = "orphaned"
    UNDELIVERED = "undelivered"
    DROPPED = "dropped"


class NodeReport(NamedTuple):
    """What is known of a node.

    Attributes:
        name: Its id as Redis holds it.
        state: The judge's state.
        loaded: Ids of the portfolios that its hash lists as loaded, each once; None if it does not say.
    """

    name: bytes
    state: State
    loaded: Collection[bytes] | None


class Portfolio(NamedTuple):
    """One portfolio in the ledger.

    Attributes:
        id: Its id as Redis holds it.
        state: Its state.
        reason: Why it is untraded; None in any other state.
        planned: The node that the plan gives it to; None without one, and if it is orphaned.
        loaded: The online nodes that have it loaded, sorted by name.
        listed: The other nodes whose last list names it, sorted by name: offline and undecided ones.
    """

    id: bytes
    state: PortfolioState
    reason: Reason | None = None
    planned: bytes | None = None
    loaded: tuple[bytes, ...] = ()
    listed: tuple[bytes, ...] = ()

    @property
    def node(self) -> bytes:
        """The planned node; without one the first by name that has it loaded or lists it; else an empty name."""
        return next((name for name in (self.planned, *self.loaded, *self.listed) if name is not None), b"")


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """The state of every portfolio at one read. The same object stands for the same states.

    Traded portfolios, which are nearly all, have no object of their own here.

    Attributes:
        plan: The node of each planned portfolio, as the plan has it.
        loaded: An online node for each portfolio that such nodes have loaded: the first by name.
        listed: The offline and undecided nodes whose lists name a portfolio, for each such portfolio.
        abnormal: Every portfolio that is not traded.
        counts: How many portfolios there are in each state; 0 rather than missing.
        reasons: How many portfolios are untraded for each reason; 0 rather than missing.
    """

    plan: Mapping[bytes, bytes]
    loaded: Mapping[bytes, bytes]
    listed: Mapping[bytes, tuple[bytes, ...]]
    abnormal: Mapping[bytes, Portfolio]
    counts: Mapping[PortfolioState, int]
    reasons: Mapping[Reason, int]

    @classmethod
    def of(
        cls,
        plan: Mapping[bytes, bytes],
        loaded: Mapping[bytes, bytes],
        listed: Mapping[bytes, tuple[bytes, ...]],
        abnormal: Mapping[bytes, Portfolio],
    ) -> "Ledger":
        """Return a ledger with its counts; a planned portfolio that is not in ``abnormal`` is traded."""
        counts = Counter(portfolio.state for portfolio in abnormal.values())
        counts[PortfolioState.TRADED] = len(plan) - len(plan.keys() & abnormal.keys())
        reasons = Counter(portfolio.reason for portfolio in abnormal.values())
        return cls(
            plan,
            loaded,
            listed,
            abnormal,
            counts={state: counts[state] for state in PortfolioState},
            reasons={reason: reasons[reason] for reason in Reason},
        )

    def get(self, portfolio: bytes) -> Portfolio | None:
        """Return a portfolio; None if no plan and no list names it."""
        if found := self.abnormal.get(portfolio):
            return found
        node = self.plan.get(portfolio)
        if node is None:
            return None
        return Portfolio(portfolio, PortfolioState.TRADED, None, node, (node,), self.listed.get(portfolio, ()))

    def portfolios(self) -> Iterator[Portfolio]:
        """Yield all portfolios, sorted by id."""
        for portfolio in sorted(self.plan.keys() | self.abnormal.keys()):
            if found := self.get(portfolio):
                yield found


def ledger_of(plan: Mapping[bytes, bytes], nodes: Iterable[NodeReport]) -> Ledger:
    """Return the state of each portfolio that is planned, or that a node lists as loaded.

    Forgotten and gone nodes count as unknown to the plan, and their lists are leftovers that prove nothing.

    Args:
        plan: The node of each planned portfolio; a node that is not in ``nodes`` is taken for offline.
        nodes: All known nodes, in any order.
    """
    by_name = {node.name: node for node in nodes}
    loaded, several = _loaded(by_name.values())
    listed = _listed(by_name.values())
    undecided = {
        portfolio for node in by_name.values() if node.state is State.UNDECIDED for portfolio in node.loaded or ()
    }

    def judged(portfolio: bytes, planned: bytes | None) -> Portfolio:
        holders = several.get(portfolio) or ((loaded[portfolio],) if portfolio in loaded else ())
        node = None if planned == ORPHANED_NODE else planned
        state, reason = _state(planned, holders, by_name, may_be_loaded=portfolio in undecided)
        return Portfolio(portfolio, state, reason, node, holders, listed.get(portfolio, ()))

    abnormal = {
        portfolio: judged(portfolio, planned)
        for portfolio, planned in plan.items()
        if loaded.get(portfolio) != planned or portfolio in several or planned == ORPHANED_NODE
    }
    for portfolio in (loaded.keys() | listed.keys()) - plan.keys():
        abnormal[portfolio] = judged(portfolio, None)
    return Ledger.of(plan, loaded, listed, abnormal)


def _state(
    planned: bytes | None, holders: tuple[bytes, ...], nodes: Mapping[bytes, NodeReport], *, may_be_loaded: bool
) -> tuple[PortfolioState, Reason | None]:
    """Return a portfolio's state, and the reason if it is untraded.

    Args:
        planned: What the plan says of it; None if it says nothing.
        holders: The online nodes that have it loaded.
        nodes: All known nodes.
        may_be_loaded: Whether the last list of an undecided node names it.
    """
    if len(holders) > 1:
        return PortfolioState.DUPLICATED, None
    if holders and planned in (None, ORPHANED_NODE):
        return PortfolioState.UNPLANNED, None
    if holders:
        return (PortfolioState.TRADED if holders[0] == planned else PortfolioState.MISPLACED), None
    # The undecided node may live, and trade it.
    reason = None if may_be_loaded else _reason(planned, nodes)
    return (PortfolioState.UNTRADED if reason else PortfolioState.UNKNOWN), reason


def _reason(planned: bytes | None, nodes: Mapping[bytes, NodeReport]) -> Reason | None:
    """Return why a portfolio that no list shows as loaded is untraded; None if it may be traded all the same."""
    if planned is None:
        return Reason.DROPPED
    if planned == ORPHANED_NODE:
        return Reason.ORPHANED
    node = nodes.get(planned)
    match node and node.state:
        case State.UNDECIDED:
            return None
        case State.ONLINE:
            return Reason.UNDELIVERED if node and node.loaded is not None else None
    return Reason.NODE_OFFLINE


def _loaded(nodes: Iterable[NodeReport]) -> tuple[dict[bytes, bytes], dict[bytes, tuple[bytes, ...]]]:
    """Return the first online node by name for each portfolio loaded; and all such nodes where there are several."""
    first: dict[bytes, bytes] = {}
    several: dict[bytes, tuple[bytes, ...]] = {}
    for node in nodes:
        if node.state is State.ONLINE and node.loaded:
            name = node.name
            for portfolio in node.loaded:
                other = first.setdefault(portfolio, name)
                if other != name:
                    several[portfolio] = (*several.get(portfolio, (other,)), name)
    several = {portfolio: tuple(sorted(names)) for portfolio, names in several.items()}
    first.update((portfolio, names[0]) for portfolio, names in several.items())
    return first, several


def _listed(nodes: Iterable[NodeReport]) -> dict[bytes, tuple[bytes, ...]]:
    """Return, for each portfolio, the offline and undecided nodes whose last list names it, sorted."""
    names: dict[bytes, list[bytes]] = {}
    for node in nodes:
        if node.state in (State.OFFLINE, State.UNDECIDED):
            for portfolio in node.loaded or ():
                names.setdefault(portfolio, []).append(node.name)
    return {portfolio: tuple(sorted(some)) for portfolio, some in names.items()}
