"""Leftovers of nodes: when they are forgotten, and when not."""

import pytest

from exporter.liveness.forgetting import Forgetting, Leftovers
from exporter.liveness.states import State
from exporter.portfolios.ledger import ORPHANED_NODE, NodeReport, ledger_of
from exporter.portfolios.leftovers import leftovers_of

NEW = NodeReport(b"new", State.ONLINE, (b"p", b"q"))
MOVED = {b"p": b"new", b"q": b"new"}


def leftovers(plan: dict[bytes, bytes], *nodes: NodeReport) -> Leftovers:
    return leftovers_of(ledger_of(plan, nodes), nodes)


@pytest.mark.parametrize("loaded", [(b"p", b"q"), (b"p",), ()])
@pytest.mark.parametrize("state", [State.OFFLINE, State.FORGOTTEN])
def test_node_whose_portfolios_all_run_elsewhere_is_rehomed(loaded: tuple[bytes, ...], state: State) -> None:
    assert leftovers(MOVED, NEW, NodeReport(b"old", state, loaded)) == Leftovers(rehomed=frozenset([b"old"]))


def test_node_that_does_not_say_what_it_had_loaded_is_not_rehomed() -> None:
    assert leftovers(MOVED, NEW, NodeReport(b"old", State.OFFLINE, None)) == Leftovers()


@pytest.mark.parametrize("state", [State.ONLINE, State.UNDECIDED])
def test_node_that_may_live_is_neither(state: State) -> None:
    assert leftovers(MOVED, NEW, NodeReport(b"old", state, ())) == Leftovers()


def test_node_that_lists_an_untraded_portfolio_is_needed() -> None:
    old = NodeReport(b"old", State.OFFLINE, (b"p", b"dropped"))
    assert leftovers(MOVED, NEW, old) == Leftovers(needed=frozenset([b"old"]))


def test_node_that_the_plan_names_is_needed() -> None:
    old = NodeReport(b"old", State.OFFLINE, (b"p",))
    assert leftovers(MOVED | {b"r": b"old"}, NEW, old).needed == {b"old"}


@pytest.mark.parametrize("plan", [{}, {b"p": ORPHANED_NODE}])
def test_no_node_is_rehomed_by_a_plan_that_names_none(plan: dict[bytes, bytes]) -> None:
    assert not leftovers(plan, NEW, NodeReport(b"old", State.OFFLINE, (b"p",))).rehomed


def test_offline_node_is_forgotten_by_its_age_or_by_its_work() -> None:
    forgetting = Forgetting(after=100, rehomed_after=10)
    forgetting.leftovers = Leftovers(needed=frozenset([b"needed"]), rehomed=frozenset([b"moved"]))
    ages = {
        name: [forgetting.forgets(name, age, forgotten=False) for age in (5, 10, 50, 100, 500)]
        for name in (b"any", b"moved", b"needed")
    }
    assert ages == {
        b"any": [False, False, False, False, True],
        b"moved": [False, False, True, True, True],
        b"needed": [False] * 5,
    }
    assert not Forgetting(None, None).forgets(b"moved", 1e9, forgotten=False)


def test_forgotten_node_stays_so_until_it_is_needed() -> None:
    forgetting = Forgetting(after=None, rehomed_after=10)
    assert forgetting.forgets(b"old", 20, forgotten=True), "a portfolio that it lists was deleted meanwhile"
    forgetting.leftovers = Leftovers(needed=frozenset([b"old"]))
    assert not forgetting.forgets(b"old", 20, forgotten=True)


@pytest.mark.parametrize("forgotten", [False, True])
def test_node_of_an_earlier_run_stays_what_it_was_before_the_first_ledger(*, forgotten: bool) -> None:
    forgetting = Forgetting(10, None)
    assert forgetting.forgets(b"n", 20, forgotten=forgotten, remembered=True) is forgotten
    assert forgetting.forgets(b"n", 20, forgotten=forgotten), "one that died in this run"
    forgetting.leftovers = Leftovers()
    assert forgetting.forgets(b"n", 20, forgotten=forgotten, remembered=True)
