"""The ledger: every state and reason, and what holds for any plan, any lists and any states of nodes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.liveness import State
from exporter.portfolios.ledger import ORPHANED_NODE, Ledger, NodeReport, PortfolioState, Reason, ledger_of
from portfolio_example import EXPECTED, LISTS, PLAN, STATES

PORTFOLIOS = [b"p%d" % number for number in range(6)]
NODES = [b"a", b"b", b"c", b"d"]

plans = st.dictionaries(st.sampled_from(PORTFOLIOS), st.sampled_from([*NODES, ORPHANED_NODE, b"stranger", b""]))
reports = st.builds(
    NodeReport,
    st.sampled_from(NODES),
    st.sampled_from(State),
    st.one_of(st.none(), st.lists(st.sampled_from(PORTFOLIOS), unique=True).map(tuple)),
)
fleets = st.lists(reports, unique_by=lambda report: report.name)


def states_of(ledger: Ledger) -> dict[bytes, tuple[str, str | None]]:
    return {portfolio.id: (portfolio.state, portfolio.reason) for portfolio in ledger.portfolios()}


def untraded(ledger: Ledger) -> set[bytes]:
    return {portfolio.id for portfolio in ledger.portfolios() if portfolio.state is PortfolioState.UNTRADED}


def loaded_online(fleet: Sequence[NodeReport], portfolio: bytes) -> list[bytes]:
    return sorted(node.name for node in fleet if node.state is State.ONLINE and portfolio in (node.loaded or ()))


def test_thirteen_portfolios_on_six_nodes_show_every_state_and_reason() -> None:
    nodes = [NodeReport(name, state, LISTS[name]) for name, state in STATES.items()]
    ledger = ledger_of(PLAN, nodes)
    assert states_of(ledger) == EXPECTED
    assert {state for state, _ in EXPECTED.values()} == set(PortfolioState)
    assert {reason for _, reason in EXPECTED.values() if reason} == set(Reason)


def test_label_is_the_planned_node_or_the_first_that_has_it() -> None:
    nodes = [
        NodeReport(b"b", State.ONLINE, (b"twice", b"wild")),
        NodeReport(b"a", State.ONLINE, (b"twice",)),
        NodeReport(b"z", State.OFFLINE, (b"dropped",)),
        NodeReport(b"y", State.OFFLINE, (b"dropped",)),
    ]
    ledger = ledger_of({b"late": b"x", b"nowhere": ORPHANED_NODE}, nodes)
    labels = {portfolio.id: portfolio.node for portfolio in ledger.portfolios()}
    assert labels == {b"twice": b"a", b"wild": b"b", b"dropped": b"y", b"late": b"x", b"nowhere": b""}


def test_portfolio_that_an_undecided_node_may_trade_is_never_untraded() -> None:
    listing = NodeReport(b"a", State.UNDECIDED, (b"p",))
    for plan in ({}, {b"p": b"b"}, {b"p": b"c"}, {b"p": ORPHANED_NODE}):
        ledger = ledger_of(plan, [listing, NodeReport(b"b", State.ONLINE, ()), NodeReport(b"c", State.OFFLINE, ())])
        assert states_of(ledger) == {b"p": ("unknown", None)}


def test_leftover_list_of_a_forgotten_node_proves_nothing() -> None:
    assert states_of(ledger_of({}, [NodeReport(b"a", State.FORGOTTEN, (b"p",))])) == {}
    moved = [NodeReport(b"a", State.FORGOTTEN, (b"p",)), NodeReport(b"b", State.ONLINE, (b"p",))]
    assert states_of(ledger_of({b"p": b"b"}, moved)) == {b"p": ("traded", None)}


@given(plans, fleets)
def test_each_portfolio_that_is_planned_or_listed_is_in_exactly_one_state(
    plan: Mapping[bytes, bytes], fleet: Sequence[NodeReport]
) -> None:
    ledger = ledger_of(plan, fleet)
    ids = [portfolio.id for portfolio in ledger.portfolios()]
    lists = [node.loaded or () for node in fleet if node.state in (State.ONLINE, State.OFFLINE, State.UNDECIDED)]
    assert ids == sorted(set(plan).union(*lists))
    assert all(ledger.get(portfolio.id) == portfolio for portfolio in ledger.portfolios())


@given(plans, fleets)
def test_counts_add_up(plan: Mapping[bytes, bytes], fleet: Sequence[NodeReport]) -> None:
    ledger = ledger_of(plan, fleet)
    portfolios = list(ledger.portfolios())
    assert +Counter(ledger.counts) == Counter(what for each in portfolios for what in (each.state, each.reason))


@given(plans, fleets)
def test_states_follow_from_where_a_portfolio_is_loaded(
    plan: Mapping[bytes, bytes], fleet: Sequence[NodeReport]
) -> None:
    for portfolio in ledger_of(plan, fleet).portfolios():
        holders = loaded_online(fleet, portfolio.id)
        assert list(portfolio.loaded) == holders
        planned = plan.get(portfolio.id)
        assert (portfolio.state is PortfolioState.DUPLICATED) == (len(holders) > 1)
        assert (portfolio.state is PortfolioState.TRADED) == (holders == [planned] and planned != ORPHANED_NODE)
        if holders:
            assert portfolio.state not in (PortfolioState.UNTRADED, PortfolioState.UNKNOWN)
        assert (portfolio.reason is not None) == (portfolio.state is PortfolioState.UNTRADED)


@given(plans, fleets, st.randoms())
def test_order_of_nodes_and_of_lists_does_not_matter(
    plan: Mapping[bytes, bytes],
    fleet: Sequence[NodeReport],
    random: Random,
) -> None:
    shuffled = [
        node._replace(loaded=node.loaded and random.sample([*node.loaded], len(node.loaded)))
        for node in random.sample(fleet, len(fleet))
    ]
    pairs = random.sample([*plan.items()], len(plan))
    assert list(ledger_of(dict(pairs), shuffled).portfolios()) == list(ledger_of(plan, fleet).portfolios())


@given(plans, fleets, st.sampled_from(NODES))
def test_node_that_becomes_undecided_adds_nothing_to_untraded(
    plan: Mapping[bytes, bytes], fleet: Sequence[NodeReport], name: bytes
) -> None:
    online = [node._replace(state=State.ONLINE) if node.name == name else node for node in fleet]
    undecided = [node._replace(state=State.UNDECIDED) if node.name == name else node for node in fleet]
    assert untraded(ledger_of(plan, undecided)) <= untraded(ledger_of(plan, online))
