"""The ledger: a pure function of the plan, the loaded lists and the states of nodes to one state for each portfolio."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple

from exporter.liveness import Leftovers, State

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
        return (*filter(None, (self.planned, *self.loaded, *self.listed)), b"")[0]


@dataclass(frozen=True, eq=False)
class Ledger:
    """The state of every portfolio at one read. The same object stands for the same states.

    Traded portfolios, which are nearly all, have no object of their own here.

    Attributes:
        plan: The node of each planned portfolio, as the plan has it.
        loaded: The online nodes that have a portfolio loaded, sorted by name, for each such portfolio.
        listed: The offline and undecided nodes whose lists name a portfolio, likewise.
        abnormal: Every portfolio that is not traded, or that this read is the first to find at fault. All other planned
            portfolios are traded.
        nodes: All known nodes.
    """

    plan: Mapping[bytes, bytes]
    loaded: Mapping[bytes, tuple[bytes, ...]]
    listed: Mapping[bytes, tuple[bytes, ...]]
    abnormal: Mapping[bytes, Portfolio]
    nodes: Sequence[NodeReport] = ()

    @cached_property
    def counts(self) -> Mapping[object, int]:
        """How many portfolios there are in each ``PortfolioState``, and untraded for each ``Reason``."""
        portfolios = self.abnormal.values()
        counts = Counter[object](what for each in portfolios for what in (each.state, each.reason))
        counts[PortfolioState.TRADED] += len(self.plan.keys() - self.abnormal.keys())
        return counts

    @cached_property
    def planned(self) -> Mapping[bytes, int]:
        """How many portfolios the plan gives to each node that it names."""
        return Counter(node for node in self.plan.values() if node not in (b"", ORPHANED_NODE))

    @cached_property
    def leftovers(self) -> Leftovers:
        """Which dead nodes may be forgotten since their work has moved, and which must not.

        A list that is missing, broken or empty shows nothing, so its node is never taken for one whose work has moved.
        A node is needed if the plan gives it a portfolio, or if it lists an untraded one. The list of a forgotten node
        proves nothing, as in the ledger.
        """
        untraded = {each.id for each in self.abnormal.values() if each.state is PortfolioState.UNTRADED}
        needed, rehomed = set(), set()
        for name, state, loaded in self.nodes:
            if state in (State.OFFLINE, State.FORGOTTEN, State.UNDECIDED):
                lists = set(loaded or ())
                if name in self.planned or (state is State.OFFLINE and lists & untraded):
                    needed.add(name)
                elif self.planned and lists and lists <= self.loaded.keys():
                    rehomed.add(name)
        return Leftovers(frozenset(needed), frozenset(rehomed))

    def get(self, portfolio: bytes) -> Portfolio | None:
        """Return a portfolio; None if no plan and no list names it."""
        if portfolio in self.abnormal or portfolio not in self.plan:
            return self.abnormal.get(portfolio)
        node = self.plan[portfolio]
        return Portfolio(portfolio, PortfolioState.TRADED, None, node, (node,), self.listed.get(portfolio, ()))

    def portfolios(self) -> Iterator[Portfolio]:
        """Yield all portfolios, sorted by id."""
        return filter(None, map(self.get, sorted(self.plan.keys() | self.abnormal.keys())))


def ledger_of(plan: Mapping[bytes, bytes], nodes: Iterable[NodeReport]) -> Ledger:
    """Return the state of each portfolio that is planned, or that a node lists as loaded.

    Forgotten and gone nodes count as unknown to the plan, and their lists are leftovers that prove nothing.

    Args:
        plan: The node of each planned portfolio; a node that is not in ``nodes`` is taken for offline.
        nodes: All known nodes, in any order.
    """
    by_name = {node.name: node for node in sorted(nodes)}
    loaded = _naming(by_name.values(), State.ONLINE)
    listed = _naming(by_name.values(), State.OFFLINE, State.UNDECIDED)
    odd = [portfolio for portfolio, node in plan.items() if loaded.get(portfolio) != (node,)]
    odd += (loaded.keys() | listed.keys()) - plan.keys()
    abnormal = {}
    for portfolio in odd:
        planned, holders, others = plan.get(portfolio), loaded.get(portfolio, ()), listed.get(portfolio, ())
        state, reason = _state(planned, holders, others, by_name)
        node = None if planned == ORPHANED_NODE else planned
        abnormal[portfolio] = Portfolio(portfolio, state, reason, node, holders, others)
    return Ledger(plan, loaded, listed, abnormal, list(by_name.values()))


def _state(  # noqa: PLR0911 - one for each case of the contract's table
    planned: bytes | None, loaded: tuple[bytes, ...], listed: tuple[bytes, ...], nodes: Mapping[bytes, NodeReport]
) -> tuple[PortfolioState, Reason | None]:
    """Return the state of a portfolio that is not traded as planned, and the reason if it is untraded.

    Args:
        planned: What the plan says of it; None if it says nothing.
        loaded: The online nodes that have it loaded.
        listed: The other nodes whose last list names it.
        nodes: All known nodes.
    """
    if len(loaded) > 1:
        return PortfolioState.DUPLICATED, None
    if loaded:
        return (PortfolioState.UNPLANNED if planned in (None, ORPHANED_NODE) else PortfolioState.MISPLACED), None
    if any(nodes[name].state is State.UNDECIDED for name in listed):
        return PortfolioState.UNKNOWN, None  # the undecided node may live, and trade it
    if planned is None:
        return PortfolioState.UNTRADED, Reason.DROPPED
    if planned == ORPHANED_NODE:
        return PortfolioState.UNTRADED, Reason.ORPHANED
    _, state, says = nodes.get(planned, (planned, State.GONE, None))
    if state is State.ONLINE and says is not None:
        return PortfolioState.UNTRADED, Reason.UNDELIVERED
    if state in (State.ONLINE, State.UNDECIDED):
        return PortfolioState.UNKNOWN, None
    return PortfolioState.UNTRADED, Reason.NODE_OFFLINE


def _naming(nodes: Iterable[NodeReport], *states: State) -> dict[bytes, tuple[bytes, ...]]:
    """Return, for each portfolio, the nodes in these states whose lists name it, in their order."""
    naming: dict[bytes, tuple[bytes, ...]] = {}
    for node in nodes:
        if node.state in states:
            alone = (node.name,)
            for portfolio in node.loaded or ():
                naming[portfolio] = naming[portfolio] + alone if portfolio in naming else alone
    return naming
