"""Ledgers read after read: what is kept, what is read once more, and what a torn reading of the lists shows."""

import json
from collections.abc import Mapping, Sequence
from random import Random

import pytest

from exporter.errors import SourceError
from exporter.liveness.states import State
from exporter.portfolios.ledger import Ledger, PortfolioState
from exporter.portfolios.loaded import LoadedLists, Raw, parse_loaded
from exporter.portfolios.maker import LedgerMaker
from portfolio_example import EXPECTED, PLAN, RAW_LISTS, STATES

NAMES = (b"a", b"b")
ONLINE = (State.ONLINE, State.ONLINE)


def never() -> Sequence[Raw]:
    raise AssertionError("the lists are read once more")


def states_of(ledger: Ledger | None) -> dict[bytes, tuple[str, str | None]]:
    assert ledger
    return {portfolio.id: (portfolio.state, portfolio.reason) for portfolio in ledger.portfolios()}


def test_example_is_the_same_from_what_hashes_hold() -> None:
    maker, raw = LedgerMaker(), list(RAW_LISTS.values())
    ledger = maker.make(PLAN, tuple(STATES), list(STATES.values()), raw, read_again=lambda: raw)
    assert states_of(ledger) == EXPECTED
    assert maker.lists.invalid == [b"zeta"]


def test_ledger_stays_the_same_object_while_nothing_changes() -> None:
    maker, plan = LedgerMaker(), {b"p": b"a"}
    first = maker.make(plan, NAMES, ONLINE, [b'["p"]', b"[]"], read_again=never)
    assert maker.make(plan, NAMES, ONLINE, [b'["p"]', b"[]"], read_again=never) is first
    assert maker.make({b"p": b"b"}, NAMES, ONLINE, [b'["p"]', b"[]"], read_again=never) is not first


def test_no_plan_and_no_list_make_no_ledger() -> None:
    maker = LedgerMaker()
    assert maker.make({}, NAMES, ONLINE, [None, b"broken"], read_again=never) is None
    assert maker.make({}, NAMES, ONLINE, [None, b"[]"], read_again=never) is not None
    assert maker.make({}, NAMES, ONLINE, [None, None], read_again=never) is None


def test_portfolio_that_moves_while_the_lists_are_read_is_not_untraded() -> None:
    maker, plan = LedgerMaker(), {b"p": b"a"}
    # It was loaded by b before a unloaded it; b's list was read before, and a's after.
    torn, whole = [b"[]", b"[]"], [b"[]", b'["p"]']
    ledger = maker.make(plan, NAMES, ONLINE, torn, read_again=lambda: whole)
    assert states_of(ledger) == {b"p": ("misplaced", None)}
    back = maker.make(plan, NAMES, ONLINE, torn, read_again=lambda: [b'["p"]', b"[]"])
    assert states_of(back) == {b"p": ("traded", None)}


def test_portfolio_that_moves_while_the_lists_are_read_is_not_duplicated() -> None:
    maker, plan = LedgerMaker(), {b"p": b"a"}
    ledger = maker.make(plan, NAMES, ONLINE, [b'["p"]', b'["p"]'], read_again=lambda: [b'["p"]', b"[]"])
    assert states_of(ledger) == {b"p": ("traded", None)}


def test_portfolio_that_the_first_reading_saw_counts_as_loaded() -> None:
    maker, plan = LedgerMaker(), {b"p": b"a", b"q": b"b"}
    # The reading once more comes for q, and loses p.
    ledger = maker.make(plan, NAMES, ONLINE, [b'["p"]', b"[]"], read_again=lambda: [b"[]", b"[]"])
    assert states_of(ledger) == {b"p": ("traded", None), b"q": ("untraded", "undelivered")}


def test_first_of_two_readings_counts_for_one_read_only() -> None:
    maker, plan = LedgerMaker(), {b"p": b"a", b"q": b"b"}
    after = [b"[]", b"[]"]
    maker.make(plan, NAMES, ONLINE, [b'["p"]', b"[]"], read_again=lambda: after)
    ledger = maker.make(plan, NAMES, ONLINE, after, read_again=never)
    assert states_of(ledger) == dict.fromkeys((b"p", b"q"), ("untraded", "undelivered"))
    assert maker.make(plan, NAMES, ONLINE, after, read_again=never) is ledger


def test_lists_that_stay_the_same_are_not_read_once_more() -> None:
    maker, plan, raw = LedgerMaker(), {b"p": b"a"}, [b'["p"]', b"[]"]
    maker.make(plan, NAMES, ONLINE, raw, read_again=never)
    dead = maker.make(plan, NAMES, (State.OFFLINE, State.ONLINE), raw, read_again=never)
    assert states_of(dead) == {b"p": ("untraded", "node_offline")}


def test_failed_second_reading_leaves_no_ledger_of_the_first() -> None:
    maker, plan = LedgerMaker(), {b"p": b"a"}

    def fail() -> Sequence[Raw]:
        raise SourceError("no answer")

    maker.make(plan, NAMES, ONLINE, [b'["p"]', b"[]"], read_again=never)
    for raw in ([b"[]", b"[]"], [b"[]", b'["q"]']):
        with pytest.raises(SourceError):
            maker.make(plan, NAMES, ONLINE, raw, read_again=fail)
    ledger = maker.make(plan, NAMES, ONLINE, [b"[]", b'["q"]'], read_again=lambda: [b'["p"]', b'["q"]'])
    assert states_of(ledger) == {b"p": ("traded", None), b"q": ("unplanned", None)}


def test_portfolio_that_is_planned_and_loaded_between_the_two_reads_is_traded() -> None:
    maker, raw = LedgerMaker(), [b"[]", b"[]"]
    maker.make({}, NAMES, ONLINE, raw, read_again=never)
    ledger = maker.make({b"p": b"a"}, NAMES, ONLINE, raw, read_again=lambda: [b'["p"]', b"[]"])
    assert states_of(ledger) == {b"p": ("traded", None)}


def test_planned_node_that_nobody_has_looked_for_is_not_offline() -> None:
    maker, plan = LedgerMaker(), {b"p": b"new"}
    raw = [b"[]", b"[]"]
    unknown = maker.make(plan, NAMES, ONLINE, raw, read_again=never, undiscovered=frozenset([b"new"]))
    assert states_of(unknown) == {b"p": ("unknown", None)}
    assert states_of(maker.make(plan, NAMES, ONLINE, raw, read_again=never)) == {b"p": ("untraded", "node_offline")}


def test_list_that_changes_while_another_node_comes_is_the_new_one() -> None:
    lists = LoadedLists()
    assert lists.invalid == []
    lists.update((b"a",), [b'["p"]'])
    lists.update((b"a", b"b"), [b'["q"]', b"broken"])
    assert [report.loaded for report in lists.reports(ONLINE)] == [(b"q",), None]
    assert lists.invalid == [b"b"]


def test_nodes_that_come_and_go_keep_their_lists() -> None:
    maker, plan = LedgerMaker(), {b"p": b"a", b"q": b"c"}
    maker.make(plan, NAMES, ONLINE, [b'["p"]', b"[]"], read_again=lambda: [b'["p"]', b"[]"])
    names, raw = (b"a", b"b", b"c"), [b'["p"]', b"[]", b'["q"]']
    ledger = maker.make(plan, names, [State.ONLINE] * 3, raw, read_again=never)
    assert states_of(ledger) == {b"p": ("traded", None), b"q": ("traded", None)}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (b"[]", ()),
        (b'["a", "b", "a"]', (b"a", b"b")),
        (b'["\\u00e4", "\xc3\xa4"]', ("ä".encode(),)),
        (b'["\\ud800"]', (b"\xed\xa0\x80",)),
        (b"", None),
        (b"{}", None),
        (b'"p"', None),
        (b"[1]", None),
        (b'["a", null]', None),
        (b'["\xff"]', None),
        (b"[" * 100_000, None),
        (b"[" + b"9" * 10_000 + b"]", None),
        (b'["a"', None),
    ],
)
def test_only_a_json_list_of_strings_says_what_is_loaded(text: bytes, ids: Sequence[bytes] | None) -> None:
    assert parse_loaded(text) == ids


class MovingFleet:
    """Nodes whose portfolios move all the time; each is loaded somewhere at any moment, save for the untraded ones."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names = tuple(b"n%d" % number for number in range(4))
        self.plan: Mapping[bytes, bytes] = {b"p%d" % n: random.choice(self.names) for n in range(6)} | {b"lost": b"n0"}
        self.lists = {
            name: {p for p, node in self.plan.items() if node == name and p != b"lost"} for name in self.names
        }

    def move(self) -> None:
        """Let a node load a portfolio that another one has, or unload one that another one has too."""
        portfolio = self.random.choice([p for p in self.plan if p != b"lost"])
        holders = [name for name in self.names if portfolio in self.lists[name]]
        if len(holders) > 1:
            self.lists[self.random.choice(holders)].discard(portfolio)
        else:
            self.lists[self.random.choice(self.names)].add(portfolio)

    def read(self) -> Sequence[Raw]:
        """Read one list after the other; at most one move comes between two of them."""
        raw: list[Raw] = []
        for name in self.names:
            raw.append(json.dumps([p.decode() for p in sorted(self.lists[name])]).encode())
            if self.random.random() < 0.05:
                self.move()
        return raw


def test_no_portfolio_that_is_loaded_throughout_is_ever_shown_untraded() -> None:
    torn = 0
    for seed in range(100):
        fleet, maker = MovingFleet(Random(seed)), LedgerMaker()  # noqa: S311 - a simulation
        for _ in range(50):
            raw = fleet.read()
            torn += any(p.encode() not in b"".join(filter(None, raw)) for p in ("p0", "p1", "p2", "p3", "p4", "p5"))
            ledger = maker.make(fleet.plan, fleet.names, [State.ONLINE] * 4, raw, read_again=fleet.read)
            fleet.move()
            assert ledger
            assert {p.id for p in ledger.portfolios() if p.state is PortfolioState.UNTRADED} == {b"lost"}
    assert torn, "no reading met a move"
