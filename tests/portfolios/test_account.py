"""What lasts from one ledger to the next, and which dead nodes have left nothing but a hash."""

from collections.abc import Mapping

from exporter.liveness import Leftovers, State
from exporter.portfolios.account import Account, History
from exporter.portfolios.ledger import FAULTS, ORPHANED_NODE, Ledger, NodeReport, PortfolioState, ledger_of

Loaded = Mapping[bytes, tuple[bytes, ...]]


def ledger(plan: Mapping[bytes, bytes], lists: Loaded, *undecided: bytes) -> Ledger:
    nodes = [
        NodeReport(name, State.UNDECIDED if name in undecided else State.ONLINE, ids) for name, ids in lists.items()
    ]
    return ledger_of(plan, nodes)


def shown(account: Account) -> dict[bytes, str]:
    """Return the states of all portfolios that are not traded."""
    found = account.ledger.abnormal
    return {name: each.state.value for name, each in found.items() if each.state is not PortfolioState.TRADED}


def history(most: int = 100, earlier: Mapping[str, tuple[str, float]] | None = None) -> History:
    return History(most, earlier or {})


def test_what_is_new_counts_from_the_second_read_in_a_row_and_lasts_since_the_first() -> None:
    told, plan = history(), {b"p": b"a", b"q": b"a"}
    good, bad = ledger(plan, {b"a": (b"p", b"q"), b"b": ()}), ledger(plan, {b"a": (), b"b": (b"q",)})
    both = {b"a": (b"p", b"q"), b"b": (b"p",)}
    assert shown(told.note(good, 10)) == {}
    account = told.note(bad, 20)
    assert (shown(account), account.since) == ({b"q": "misplaced"}, {b"q": 20})
    assert account.ledger.counts[PortfolioState.TRADED] == 1
    assert shown(told.note(good, 30)) == {}, "found once: p has moved while the lists were read"
    told.note(bad, 40)
    account = told.note(bad, 50)
    assert shown(account) == {b"p": "untraded", b"q": "misplaced"}, "the same ledger confirms itself"
    assert account.since == {b"p": 40, b"q": 40}
    assert shown(told.note(ledger(plan, both), 60)) == {b"p": "untraded"}
    account = told.note(ledger(plan, both), 70)
    assert (shown(account), account.since) == ({b"p": "duplicated"}, {b"p": 60})


def test_what_was_not_known_before_is_unknown_for_one_read_but_for_the_first_ledger() -> None:
    told, plan = history(), {b"p": b"a"}
    assert shown(told.note(ledger(plan, {b"a": ()}), 10)) == {b"p": "untraded"}
    both = ledger({**plan, b"new": b"a"}, {b"a": ()})
    assert shown(told.note(both, 20)) == {b"p": "untraded", b"new": "unknown"}
    account = told.note(both, 30)
    assert (shown(account), account.since) == ({b"p": "untraded", b"new": "untraded"}, {b"p": 10, b"new": 20})


def test_since_goes_through_other_reasons_unknown_states_and_restarts() -> None:
    told, plan, lost, other = history(), {b"p": b"a"}, {b"a": ()}, {b"a": (b"q",)}
    found = [
        told.note(each, 10 * number)
        for number, each in enumerate(
            (
                ledger(plan, lost),
                ledger({b"p": b"b"}, lost),
                ledger(plan, lost, b"a"),
                ledger(plan, lost),
                ledger(plan, lost),
            ),
            1,
        )
    ]
    assert [account.since for account in found] == [{b"p": 10}, {b"p": 10}, {}, {}, {b"p": 10}]
    assert found[2].listed == ()
    again = history(earlier={"p": ("untraded", 10), "q": ("untraded", 10), "r": ("untraded", 900)})
    plan = {b"p": b"a", b"r": b"a"}
    again.note(ledger(plan, other, b"a"), 60)
    again.note(ledger(plan, other), 70)
    since = again.note(ledger(plan, other), 80).since
    assert since == {b"p": 10, b"q": 70, b"r": 60}, "q has another fault, and no fault begins after it was read"


def test_longest_lasting_faults_are_listed_and_the_rest_only_known() -> None:
    assert set(PortfolioState) - set(FAULTS) == {PortfolioState.TRADED, PortfolioState.UNKNOWN}
    told, plan = history(2), {b"z": b"x"}
    told.note(ledger(plan, {}), 10)
    for at in (20, 30):
        account = told.note(ledger(plan | dict.fromkeys((b"a", b"b", b"c"), b"x"), {}), at)
    assert [(account.since[fault.id], fault.id) for fault in account.listed] == [(10, b"z"), (20, b"a")]
    assert len(account.since) == 4


def test_another_plan_is_a_change_and_the_first_one_is_none() -> None:
    told = history()
    plans = ({b"p": b"a", b"q": b"a"}, {b"q": b"a", b"p": b"a"}, {b"q": b"a", b"p": b"b"}, {})
    seen = [told.note(ledger(plan, {b"a": ()}), at) for at, plan in enumerate(plans)]
    assert [(each.plan_changes, each.plan_changed_at) for each in seen] == [(0, None), (0, None), (1, 2), (2, 3)]


def test_portfolio_is_dropped_if_two_reads_find_it_in_no_plan_and_on_no_node_that_may_live() -> None:
    told = history()
    plan = {b"loaded": b"a", b"nowhere": b"a", b"maybe": b"b", b"stays": b"a", b"returns": b"a"}
    lists = {b"a": (b"loaded",), b"b": (b"maybe",)}
    found = [
        ledger(each, lists, b"b")
        for each in (plan, {b"stays": b"a"}, {b"stays": b"a", b"returns": b"a"}, {b"returns": b"a"})
    ]
    dropped = [told.note(each, 10).dropped for each in (*found, found[-1], found[-1])]
    assert dropped == [0, 0, 1, 1, 2, 2], "the same ledger confirms it, once"


def test_dead_node_is_rehomed_or_needed_by_plan_and_lists() -> None:
    new = NodeReport(b"new", State.ONLINE, (b"p", b"q"))
    moved = {b"p": b"new", b"q": b"new"}
    old = NodeReport(b"old", State.OFFLINE, (b"p", b"q"))
    forgotten, orphaned = old._replace(state=State.FORGOTTEN), moved | {b"r": ORPHANED_NODE}
    rehomed, needed, neither = Leftovers(rehomed=frozenset([b"old"])), Leftovers(frozenset([b"old"])), Leftovers()
    cases = [
        (moved, old, rehomed),
        (moved, forgotten._replace(loaded=(b"p",)), rehomed),
        (moved, old._replace(loaded=()), neither),  # an empty list is no moved work
        (moved, old._replace(loaded=None), neither),
        (moved, old._replace(state=State.ONLINE, loaded=(b"r",)), neither),
        (moved, old._replace(state=State.UNDECIDED), rehomed),  # Redis may have lost its heartbeat at the start
        (moved, old._replace(loaded=(b"p", b"dropped")), needed),
        (moved | {b"r": b"old"}, old, needed),
        (orphaned, old._replace(loaded=(b"p", b"r")), needed),
        (orphaned, forgotten._replace(loaded=(b"p", b"r")), neither),
        (moved | {b"r": b"old"}, forgotten, needed),
        ({}, old, neither),
        ({b"p": ORPHANED_NODE}, old, neither),
    ]
    for plan, node, expected in cases:
        assert ledger_of(plan, [new, node]).leftovers == expected
