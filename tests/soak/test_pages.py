"""The soak's judge of pages accuses the exporter of a false, a missing and a second page, and of nothing else."""

from dataclasses import dataclass, field
from typing import Any

from by_hand import COUNTERS, HASH, Truth, seen_online

from exporter.liveness.judge import State
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, WRITES_REFUSED
from lab.soak.alertmanager import Notice
from lab.soak.answers import Answer, ShownNode
from lab.soak.nodes import Node
from lab.soak.pages import Pages
from lab.soak.report import Report
from lab.soak.truth import Fault, Write


@dataclass
class Desk:
    """A judge of pages with a clock that is set by hand, for one node that beat at 100."""

    truth: Truth = field(default_factory=seen_online)
    now: float = 100.0
    notices: list[Notice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pages = Pages(self.truth.model, Report("test"), lambda: self.now)

    def say(self, at: float, state: State, *, member: bool = False) -> None:
        """Have the exporter say what the node is."""
        seen = ShownNode(state, HASH if state is State.ONLINE else COUNTERS)
        lost = frozenset({"a"} if member else ())
        self.pages.saw(Answer("scrape", at, at + 0.01, {"a": seen}, mass_lost=lost))

    def page(self, at: float, alertname: str = NODE_OFFLINE, *, firing: bool = True) -> list[str]:
        """Have a notification come, and return what is wrong with it."""
        self.notices.append(Notice(at, firing, alertname, "a" if alertname == NODE_OFFLINE else ""))
        return self.wrong(at)

    def wrong(self, at: float) -> list[str]:
        self.now = at
        return list(self.pages.judge(self.notices))


def test_page_for_a_dead_node_is_right() -> None:
    desk = Desk()
    desk.say(103.1, State.OFFLINE)
    assert not desk.page(103.2)
    assert not desk.wrong(120)


def test_page_for_a_living_node_is_false() -> None:
    desk = Desk()
    desk.truth.beat(101)
    desk.truth.beat(102)
    desk.truth.beat(103)
    assert desk.page(103.2)


def test_page_for_a_node_that_redis_excuses_is_false() -> None:
    desk = Desk()
    desk.truth.model.chance.faults.append(Fault("hangs", 100.2, 100.2, 108, 108))
    assert desk.page(109)


def test_page_for_a_node_that_stopped_is_false() -> None:
    desk = Desk()
    desk.truth.stop(101)
    assert desk.page(109)


def test_death_without_a_page_is_noticed_once() -> None:
    desk = Desk()
    desk.say(103.1, State.OFFLINE)
    assert not desk.wrong(104)
    assert len(desk.wrong(109)) == 1
    assert not desk.wrong(110)


def test_death_needs_no_page_while_alertmanager_is_away() -> None:
    desk = Desk()
    desk.say(103.1, State.OFFLINE)
    desk.now = 103.2
    desk.pages.disturb()
    assert not desk.wrong(120)
    desk.pages.undisturb()
    assert not desk.wrong(125)
    assert desk.wrong(140)


def test_alertmanager_that_lost_its_log_may_swallow_a_page() -> None:
    desk = Desk()
    desk.page(103.2)
    desk.page(105, firing=False)
    desk.now = 105.2
    desk.pages.alertmanager_killed(saved=104.8)
    desk.say(108.1, State.OFFLINE)
    assert not desk.wrong(120)


def test_second_page_for_one_death_is_wrong() -> None:
    desk = Desk()
    desk.say(103.1, State.OFFLINE)
    desk.page(103.2)
    assert desk.page(106), "the first one is open"
    desk.page(107, firing=False)
    assert desk.page(108), "the node has not beaten since"


def test_page_for_each_of_two_deaths_is_right() -> None:
    desk = Desk()
    desk.say(103.1, State.OFFLINE)
    desk.page(103.2)
    desk.truth.beat(105)
    desk.say(105.1, State.ONLINE)
    desk.page(105.2, firing=False)
    desk.say(108.1, State.OFFLINE)
    assert not desk.page(108.2)


def test_member_of_a_mass_loss_has_the_common_page_and_no_other() -> None:
    desk = Desk()
    for name in ("b", "c"):
        desk.truth.nodes[name] = Node(name, 2)
        desk.truth.nodes[name].heartbeat.writes.append(Write(1100, 100, 100.001, sure=True))
    desk.say(103.1, State.OFFLINE, member=True)
    assert not desk.page(103.2, MASS_LOSS)
    assert not desk.wrong(112)
    assert desk.page(112.1)


class Arriving(list[Notice]):
    """Notices one of which comes just after the judge has taken those before it."""

    late: Notice | None = None

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if self.late:
            self.append(self.late)
            self.late = None
        return found


def test_notice_that_comes_while_others_are_judged_is_heard_later() -> None:
    desk = Desk(notices=(notices := Arriving()))
    desk.say(103.1, State.OFFLINE)
    notices.late = Notice(103.2, firing=True, alertname=NODE_OFFLINE, node_id="a")
    assert not desk.wrong(103.3)
    assert not desk.wrong(120)


def test_mass_loss_needs_three_deaths() -> None:
    desk = Desk()
    desk.truth.nodes["b"] = Node("b", 2)
    assert desk.page(103.2, MASS_LOSS)


def test_unreachable_redis_needs_a_minute() -> None:
    desk = Desk()
    desk.truth.model.chance.faults.append(Fault("hangs", 110, 110, 150, 150))
    assert desk.page(150, REDIS_UNREACHABLE)
    desk = Desk()
    desk.truth.model.chance.faults.append(Fault("hangs", 110, 110, 175, 175))
    assert not desk.page(171, REDIS_UNREACHABLE)


def test_page_for_unreachable_redis_is_missed() -> None:
    desk = Desk()
    desk.truth.model.chance.faults.append(Fault("hangs", 110, 110, 180, 180))
    assert not desk.wrong(171)
    assert desk.wrong(178)


def test_page_for_refused_writes_needs_a_refused_write_and_is_missed() -> None:
    assert Desk().page(110, WRITES_REFUSED)
    desk = Desk()
    desk.truth.refused += [(110.0 + second, 110.001 + second) for second in range(10)]
    assert not desk.page(113, WRITES_REFUSED)
    assert not desk.page(119.1, WRITES_REFUSED, firing=False)
    desk = Desk()
    desk.truth.refused += [(110.0 + second, 110.001 + second) for second in range(10)]
    assert desk.wrong(119.1)
