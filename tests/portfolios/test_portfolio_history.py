"""What lasts from one ledger to the next: since when, which faults are listed, how the plan has changed."""

from collections.abc import Mapping

from exporter.liveness.states import State
from exporter.portfolios.history import FAULTS, History
from exporter.portfolios.ledger import Ledger, NodeReport, PortfolioState, ledger_of


def ledger(plan: Mapping[bytes, bytes], lists: Mapping[bytes, tuple[bytes, ...]], *undecided: bytes) -> Ledger:
    nodes = [
        NodeReport(name, State.UNDECIDED if name in undecided else State.ONLINE, ids) for name, ids in lists.items()
    ]
    return ledger_of(plan, nodes)


def test_fault_lasts_since_the_first_read_that_showed_it() -> None:
    history = History(100)
    assert not history.note(ledger({b"p": b"a"}, {b"a": (b"p",)}), 10).since
    assert history.note(ledger({b"p": b"a"}, {b"a": ()}), 20).since == {b"p": 20}
    assert history.note(ledger({b"p": b"b"}, {b"a": ()}), 30).since == {b"p": 20}, "another reason is no other state"
    assert history.note(ledger({b"p": b"b"}, {b"a": (b"p",)}), 40).since == {b"p": 40}, "misplaced"
    assert not history.note(ledger({b"p": b"a"}, {b"a": (b"p",)}), 50).since
    assert history.note(ledger({b"p": b"a"}, {b"a": ()}), 60).since == {b"p": 60}


def test_state_that_is_unknown_for_a_while_ends_no_fault() -> None:
    history, plan = History(100), {b"p": b"a"}
    history.note(ledger(plan, {b"a": ()}), 10)
    unknown = history.note(ledger(plan, {b"a": ()}, b"a"), 20)
    assert (unknown.since, unknown.listed) == ({}, ())
    assert history.note(ledger(plan, {b"a": ()}), 30).since == {b"p": 10}


def test_faults_are_all_states_but_traded_and_unknown() -> None:
    assert set(PortfolioState) - set(FAULTS) == {PortfolioState.TRADED, PortfolioState.UNKNOWN}


def test_longest_lasting_faults_are_listed_and_the_rest_counted() -> None:
    history = History(2)
    history.note(ledger({b"z": b"x"}, {}), 10)
    account = history.note(ledger({b"a": b"x", b"b": b"x", b"c": b"x", b"z": b"x"}, {}), 20)
    assert [(fault.since, fault.portfolio.id) for fault in account.listed] == [(10, b"z"), (20, b"a")]
    assert account.unlisted == 2


def test_fifty_thousand_faults_are_a_hundred_listed_ones_and_a_count() -> None:
    account = History(100).note(ledger({b"%d" % number: b"dead" for number in range(50_000)}, {}), 10)
    assert (len(account.listed), account.unlisted) == (100, 49_900)


def test_same_ledger_gives_the_same_account() -> None:
    history, same = History(100), ledger({b"p": b"a"}, {})
    assert history.note(same, 10) is history.note(same, 20)


def test_another_plan_is_a_change_and_the_first_one_is_none() -> None:
    history = History(100)
    first = history.note(ledger({b"p": b"a", b"q": b"a"}, {}), 10)
    assert (first.plan_changes, first.plan_changed_at) == (0, None)
    reordered = history.note(ledger({b"q": b"a", b"p": b"a"}, {}), 20)
    assert (reordered.plan_changes, reordered.plan_changed_at) == (0, None)
    moved = history.note(ledger({b"q": b"a", b"p": b"b"}, {}), 30)
    assert (moved.plan_changes, moved.plan_changed_at) == (1, 30)
    lost = history.note(ledger({}, {b"a": ()}), 40)
    assert (lost.plan_changes, lost.plan_changed_at) == (2, 40)


def test_portfolio_that_leaves_the_plan_while_no_online_node_has_it_is_dropped() -> None:
    history = History(100)
    plan = {b"loaded": b"a", b"nowhere": b"a", b"maybe": b"b", b"stays": b"a"}
    lists = {b"a": (b"loaded",), b"b": (b"maybe",)}
    assert history.note(ledger(plan, lists, b"b"), 10).dropped == 0
    assert history.note(ledger({b"stays": b"a"}, lists, b"b"), 20).dropped == 1
    assert history.note(ledger({}, lists, b"b"), 30).dropped == 2
