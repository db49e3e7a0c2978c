"""The soak's judge of the journal accuses the exporter of a missing and an untrue event, and of nothing else."""

from dataclasses import dataclass, field
from typing import Any

from by_hand import COUNTERS, HASH, Truth, seen_online

from exporter.liveness.judge import State
from exporter.push.alerts import NODE_OFFLINE
from lab.soak.alertmanager import Notice
from lab.soak.answers import Answer, ShownNode
from lab.soak.events import EventJudge
from lab.soak.report import Report

UNIX = 1_000_000.0
"""Unix time of the monotonic time 0."""


@dataclass
class Desk:
    """A judge of events with clocks that are set by hand, for one node that beat at 100."""

    truth: Truth = field(default_factory=seen_online)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.judge = EventJudge(self.truth.model, Report("test"), lambda: self.now, lambda: UNIX + self.now)

    def say(self, at: float, state: State) -> None:
        """Have a scrape show the node in a state."""
        nodes = {} if state is State.GONE else {"a": ShownNode(state, HASH if state is State.ONLINE else COUNTERS)}
        self.judge.saw(Answer("scrape", at, at + 0.01, nodes))

    def wrong(self, at: float, *events: dict[str, Any]) -> list[str]:
        self.now = at
        return list(self.judge.judge(events, at))


def event(at: float, after: str, kind: str = "node", **evidence: Any) -> dict[str, Any]:
    subjects = ["redis" if kind == "redis" else "a"]
    told = {"id": round(at * 1000), "time": UNIX + at, "kind": kind, "subjects": subjects}
    return told | {"from": None, "to": after, "evidence": evidence}


def test_a_death_with_its_event_is_right() -> None:
    desk = Desk()
    desk.say(101, State.ONLINE)
    desk.say(104, State.OFFLINE)
    assert not desk.wrong(107, event(103.5, "offline"))


def test_a_death_without_an_event_is_wrong() -> None:
    desk = Desk()
    desk.say(101, State.ONLINE)
    desk.say(104, State.OFFLINE)
    assert not desk.wrong(104.5), "the event may still come"
    assert desk.wrong(107)


def test_an_event_long_after_the_look_that_shows_the_change_is_wrong() -> None:
    desk = Desk()
    desk.say(101, State.ONLINE)
    desk.say(104, State.OFFLINE)
    assert desk.wrong(110, event(109, "offline"))


def test_a_stop_has_an_event_too() -> None:
    desk = Desk()
    desk.say(101, State.ONLINE)
    desk.say(102, State.GONE)
    assert desk.wrong(105)


def test_an_event_of_the_death_of_a_living_node_is_untrue() -> None:
    desk = Desk()
    for at in (101, 102, 103, 104):
        desk.truth.beat(at)
    assert desk.wrong(104.5, event(103.5, "offline"))


def test_an_outage_of_a_redis_that_is_well_is_untrue() -> None:
    desk = Desk()
    assert desk.wrong(120, event(110, "cannot be read", "redis", error="Connection refused"))


def test_a_page_has_the_event_of_a_post() -> None:
    desk = Desk()
    desk.judge.started = 0
    desk.judge.heard(Notice(103.2, True, NODE_OFFLINE, "a"))
    assert desk.wrong(107)
    desk.judge.heard(Notice(108.2, True, NODE_OFFLINE, "a"))
    assert not desk.wrong(111, event(108.1, "taken", "push"))


def test_a_new_exporter_need_not_know_what_the_last_one_saw() -> None:
    desk = Desk()
    desk.say(101, State.ONLINE)
    desk.say(104, State.OFFLINE)
    desk.judge.exporter_started(104.1)
    assert not desk.wrong(110)
