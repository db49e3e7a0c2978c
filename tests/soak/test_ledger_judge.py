"""The soak's judge of the ledger accuses the exporter of each wrong state of a portfolio, and of nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from by_hand import HASH, Truth

from exporter.demo.platform import ORPHANED
from exporter.liveness.judge import State
from lab.soak.answers import Answer, ShownNode
from lab.soak.faults import SAVES
from lab.soak.ledger import LedgerJudge
from lab.soak.ledger_states import QUIET
from lab.soak.measure import LOADED, PortfolioValues
from lab.soak.nodes import Node
from lab.soak.servers import TTL
from lab.soak.shown_ledger import ShownLedger
from lab.soak.truth import Fault, Key, Write

P = "portfolio-1"
STATES = ("traded", "untraded", "misplaced", "duplicated", "unplanned", "unknown")
REASONS = ("node_offline", "orphaned", "undelivered", "dropped")


@dataclass
class Desk:
    """A judge of two nodes, ``a`` and ``b``, whose keys and plan are written by hand."""

    truth: Truth = field(default_factory=Truth)
    states: dict[str, State] = field(default_factory=lambda: {"a": State.ONLINE, "b": State.ONLINE})

    def __post_init__(self) -> None:
        self.truth.nodes["b"] = Node("b", 2)
        self.judge = LedgerJudge(self.truth, self.truth.model.chance)  # type: ignore[arg-type] # it is all of the truth
        self.judge.offset = 0.0

    def lists(self, name: str, at: float, *portfolios: str) -> None:
        """Have a node beat, and list these portfolios."""
        node = self.truth.nodes[name]
        node.heartbeat.writes.append(Write(1000 + at, at, at + 0.001, sure=True))
        node.hash.writes.append(Write({**HASH, LOADED: frozenset(portfolios)}, at, at + 0.002, sure=True))

    def plans(self, at: float, plan: Mapping[str, str] | None, took: float = 0.001) -> None:
        """Have the scheduler write a plan, or delete it."""
        self.truth.plan.writes.append(Write(plan, at, at + took, sure=True))

    def faults_found(self, at: float, state: str, node: str = "", since: float = 100.0, **changed: Any) -> list[str]:
        """Return what is wrong with an answer that shows the portfolio in a state; a reason stands for untraded."""
        fault = "untraded" if state in REASONS else state
        shown = ShownLedger(
            counts={one: int(one == fault) for one in STATES},
            reasons={one: int(one == state) for one in REASONS},
            faults={} if fault in QUIET else {P: (fault, node, since)},
            **{key: changed.pop(key) for key in ("planned", "queues", "positions") if key in changed},
        )
        own = {("ginkgo_plan_idle_seconds",): changed.pop("idle")} if "idle" in changed else {}
        nodes = {name: ShownNode(known, {}) for name, known in self.states.items()}
        took = changed.pop("took", 0.01)
        return list(self.judge.judge(Answer("scrape", at, at + took, nodes, own=own, ledger=shown), at, at - 3))

    def wrong_with(self, at: float, **changed: Any) -> list[str]:
        """Return what is wrong with an answer that shows the portfolio as traded."""
        return self.faults_found(at, "traded", **changed)


def planned_on_a(*, listed: bool = True) -> Desk:
    desk = Desk()
    desk.plans(90, {P: "a"})
    desk.lists("a", 90, *([P] if listed else []))
    desk.lists("b", 90)
    return desk


def test_portfolio_that_its_planned_node_lists_is_traded_and_nothing_else() -> None:
    desk = planned_on_a()
    assert not desk.faults_found(101, "traded")
    for state in ("undelivered", "node_offline", "misplaced", "duplicated", "unplanned", "unknown"):
        assert desk.faults_found(101, state, "a"), state


def test_portfolio_that_its_planned_node_does_not_list_is_undelivered() -> None:
    desk = planned_on_a(listed=False)
    assert not desk.faults_found(101, "undelivered", "a")
    assert desk.faults_found(101, "undelivered", "b"), "another node is named"
    for state in ("traded", "unknown", "absent"):
        assert desk.faults_found(101, state), state
    assert desk.faults_found(101, "node_offline", "a"), "the reason is wrong"


@pytest.mark.parametrize(
    ("state", "right"), [(State.OFFLINE, "node_offline"), (State.UNDECIDED, "unknown"), (State.ONLINE, "traded")]
)
def test_verdict_on_the_planned_node_decides(state: State, right: str) -> None:
    desk = planned_on_a()
    desk.states["a"] = state
    for shown in ("node_offline", "unknown", "traded"):
        assert (not desk.faults_found(101, shown, "a")) is (shown == right), shown


def test_portfolio_that_a_dead_node_lists_and_no_plan_has_is_dropped() -> None:
    desk = planned_on_a()
    desk.plans(95, {"portfolio-2": "b"})
    desk.lists("b", 95, "portfolio-2")
    desk.states["a"] = State.OFFLINE
    desk.truth.plan.writes.clear()
    desk.plans(95, {})
    desk.lists("b", 96)
    assert not desk.faults_found(101, "dropped", "a")
    assert desk.faults_found(101, "absent")
    assert desk.faults_found(101, "orphaned", "a")


def test_orphaned_portfolio_is_untraded_or_unplanned_if_a_node_has_it() -> None:
    desk = planned_on_a(listed=False)
    desk.plans(95, {P: ORPHANED})
    assert not desk.faults_found(101, "orphaned")
    desk.lists("b", 105, P)
    assert not desk.faults_found(106, "unplanned", "b", since=106)
    assert desk.faults_found(107, "orphaned", since=107)


def test_two_nodes_that_list_a_portfolio_duplicate_it_and_another_one_misplaces_it() -> None:
    desk = planned_on_a()
    desk.lists("b", 95, P)
    assert not desk.faults_found(101, "duplicated", "a")
    assert desk.faults_found(101, "traded")
    desk.lists("a", 102)
    assert not desk.faults_found(103, "misplaced", "a", since=103)


def test_portfolio_that_moves_with_an_overlap_while_the_exporter_reads_is_never_untraded() -> None:
    desk = planned_on_a()
    desk.lists("b", 101.01, P)
    desk.lists("a", 101.02)
    for state, right in (("traded", True), ("misplaced", True), ("duplicated", True), ("undelivered", False)):
        assert (not desk.faults_found(101, state, "a", took=0.1)) is right, state


def test_portfolio_that_moves_with_a_gap_may_be_seen_in_the_gap() -> None:
    desk = planned_on_a()
    desk.lists("a", 101.01)
    desk.lists("b", 101.02, P)
    for state in ("traded", "undelivered", "misplaced"):
        assert not desk.faults_found(101, state, "a", took=0.1), state


@pytest.mark.parametrize(("gap", "right"), [(0.02, False), (0.2, True)])
def test_plan_that_is_missing_for_a_moment_is_not_believed_to_be_missing(gap: float, *, right: bool) -> None:
    desk = planned_on_a()
    desk.plans(101.01, None)
    desk.plans(101.01 + gap, {P: "a"})
    assert not desk.faults_found(101, "traded", took=0.5)
    assert (not desk.faults_found(101, "unplanned", "a", took=0.5)) is right


def test_node_that_the_exporter_does_not_know_yet_proves_nothing() -> None:
    desk = planned_on_a()
    del desk.states["a"]
    assert desk.faults_found(101, "unknown"), "it is known for long"
    desk.plans(99, {})
    desk.plans(100, {P: "a"})
    desk.lists("a", 100, P)
    assert not desk.faults_found(101, "unknown")
    assert desk.faults_found(101, "node_offline", "a"), "it beats"
    assert not desk.faults_found(101 + TTL, "node_offline", "a"), "its heartbeat is over"


def test_start_of_a_fault_must_lie_after_the_portfolio_was_traded_and_does_not_move_back() -> None:
    desk = planned_on_a()
    assert not desk.faults_found(101, "traded")
    desk.lists("a", 102)
    assert desk.faults_found(103, "undelivered", "a", since=100)
    assert not desk.faults_found(103, "undelivered", "a", since=103)
    assert not desk.faults_found(104, "undelivered", "a", since=103)
    assert desk.faults_found(105, "undelivered", "a", since=102)
    assert desk.faults_found(106, "undelivered", "a", since=107)


def test_counts_must_agree_with_the_faults_and_the_plan() -> None:
    desk = planned_on_a()
    assert not desk.faults_found(101, "traded", planned={"a": 1, "b": 0})
    assert desk.faults_found(101, "traded", planned={"a": 0, "b": 1})


def test_ledger_may_be_missing_only_without_plan_and_lists_or_during_a_fault() -> None:
    desk = planned_on_a()
    nodes = {name: ShownNode(State.ONLINE, {}) for name in "ab"}
    answer = Answer("scrape", 101, 101.01, nodes, ledger=ShownLedger())
    assert list(desk.judge.judge(answer, 101, 98))
    desk.truth.model.chance.faults.append(Fault("hangs", 101, 101, 101.5, 102))
    assert not list(desk.judge.judge(answer, 101, 98))


@pytest.mark.parametrize(("idle", "right"), [(0, False), (10, True), (20, False)])
def test_plan_is_idle_since_the_last_look_of_the_scheduler(idle: float, *, right: bool) -> None:
    desk = planned_on_a()
    desk.truth.looks.writes.append(Write(1, 95, 95.01, sure=True))
    assert (not desk.wrong_with(105, idle=idle)) is right


def test_look_during_an_answer_may_come_after_the_read() -> None:
    desk = planned_on_a()
    desk.truth.looks.writes += [Write(1, 95, 95.01, sure=True), Write(1, 105.1, 105.11, sure=True)]
    for idle in (0, 10):
        assert not desk.wrong_with(105, idle=idle, took=0.2)


def test_look_while_redis_saves_need_not_be_recorded() -> None:
    desk = planned_on_a()
    desk.truth.looks.writes += [Write(1, 95, 95.01, sure=True), Write(1, 104, 104.01, sure=True)]
    assert desk.wrong_with(105, idle=10)
    desk.truth.model.chance.faults.append(Fault(SAVES, 103.9, until=104.5, readable=True))
    assert not desk.wrong_with(105, idle=10)


def test_exporter_need_not_know_a_look_that_failed_and_redis_counts_from_its_start() -> None:
    desk = planned_on_a()
    desk.truth.looks.writes += [Write(1, 95, 95.01, sure=True), Write(1, 100, 101)]
    for idle in (4, 10):
        assert not desk.wrong_with(105, idle=idle)
    assert desk.wrong_with(105, idle=0)
    desk.truth.model.chance.faults.append(Fault("killed", 104, 104, 104.5, 104.6, restart=True))
    assert not desk.wrong_with(105, idle=0)


@pytest.mark.parametrize(
    ("queue", "positions", "right"), [(7, 3, True), (8, 3, False), (7, 4, False), (None, None, False)]
)
def test_fullest_queue_and_positions_follow_from_the_states_that_the_node_wrote(
    queue: int | None, positions: int | None, *, right: bool
) -> None:
    desk = planned_on_a()
    desk.truth.states[P] = Key()
    desk.truth.states[P].writes.append(Write(PortfolioValues(7, 3, "a"), 90, 90.01, sure=True))
    shown = {} if queue is None else {"queues": {"a": queue}, "positions": {"a": positions}}
    assert (not desk.wrong_with(101, **shown)) is right


def test_state_that_another_node_wrote_does_not_count() -> None:
    desk = planned_on_a()
    desk.truth.states[P] = Key()
    desk.truth.states[P].writes.append(Write(PortfolioValues(7, 3, "b"), 90, 90.01, sure=True))
    assert not desk.wrong_with(101)
    assert desk.wrong_with(101, queues={"a": 7}, positions={"a": 3})
