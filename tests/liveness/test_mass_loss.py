"""Mass loss: when it is seen, which deaths are part of it, and which are held back. Time is passed in."""

from dataclasses import replace

import pytest

from exporter.liveness.judge import Change, Judge, State
from exporter.liveness.mass_loss import MassLoss, Ruling, Thresholds, count_late
from lab.readings import CRASHED, GONE, SERVER, Pair, reading_of

TTL, BEAT = 30.0, 10.0


class Fleet:
    """Nodes that beat, an exporter's judge that reads all of them four times a second, and what it says."""

    def __init__(self, size: int, thresholds: Thresholds | None = None, forget_after: float | None = None) -> None:
        self.judge = Judge(TTL, BEAT, forget_after, thresholds)
        self.now = 0.0
        self.names = tuple(b"n%03d" % i for i in range(size))
        self.ends = {name: TTL - BEAT * i / size for i, name in enumerate(self.names)}
        self.dead: set[bytes] = set()
        self.stopped: set[bytes] = set()
        self.changes: list[Change] = []
        self.judge.on_changes(self.changes.extend)
        self.live(BEAT)

    def live(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            for name in self.names:
                if name not in self.dead and name not in self.stopped and self.ends[name] - self.now <= TTL - BEAT:
                    self.ends[name] = self.now + TTL
            self.judge.judge(reading_of({name: self.pair(name) for name in self.names}, self.now, SERVER, self.names))

    def pair(self, name: bytes) -> Pair:
        if name in self.stopped:
            return GONE
        left = self.ends[name] - self.now
        return Pair(ttl=left) if left > 0 else CRASHED

    def kill(self, *numbers: int) -> None:
        self.dead.update(self.names[number] for number in numbers)

    def start(self, *numbers: int) -> None:
        self.dead.difference_update(self.names[number] for number in numbers)
        for number in numbers:
            self.ends[self.names[number]] = self.now + TTL

    @property
    def members(self) -> set[int]:
        return {self.names.index(name) for name in self.judge.members()}

    @property
    def singles(self) -> set[int]:
        """Nodes that have a page of their own."""
        return {self.names.index(name) for name in self.judge.offline()} - self.members

    @property
    def paged(self) -> set[int]:
        """Nodes that ever had one."""
        return {self.names.index(c.name) for c in self.changes if c.after is State.OFFLINE} - self.members


def test_four_of_six_killed_at_once_are_a_mass_loss_and_none_has_a_page_of_its_own() -> None:
    fleet = Fleet(6)
    fleet.kill(0, 2, 3, 5)
    fleet.live(TTL + BEAT)
    assert fleet.members == {0, 2, 3, 5}
    assert fleet.paged == set()


def test_a_fifth_one_a_minute_later_has_a_page_of_its_own() -> None:
    fleet = Fleet(6)
    fleet.kill(0, 2, 3, 5)
    fleet.live(60)
    fleet.kill(1)
    fleet.live(TTL + 1)
    assert fleet.members == {0, 2, 3, 5}
    assert fleet.paged == {1}


def test_two_of_two_are_no_mass_loss_and_three_of_three_are() -> None:
    two, three = Fleet(2), Fleet(3)
    two.kill(0, 1)
    three.kill(0, 1, 2)
    two.live(TTL + BEAT)
    three.live(TTL + BEAT)
    assert two.paged == {0, 1}
    assert three.members == {0, 1, 2}


def test_a_quarter_is_no_mass_loss_and_one_more_is() -> None:
    quarter, more = Fleet(16), Fleet(16)
    quarter.kill(0, 4, 8, 12)
    more.kill(0, 4, 8, 12, 14)
    quarter.live(TTL + BEAT)
    more.live(TTL + BEAT)
    assert quarter.paged == {0, 4, 8, 12}
    assert more.members == {0, 4, 8, 12, 14}
    assert more.paged == set()


def test_a_host_with_three_of_forty_nodes_is_no_mass_loss() -> None:
    fleet = Fleet(40)
    fleet.kill(1, 20, 39)
    fleet.live(TTL + BEAT)
    assert fleet.paged == {1, 20, 39}
    assert fleet.members == set()


def test_ten_of_many_are_a_mass_loss_whatever_their_share() -> None:
    fleet = Fleet(100)
    lost = set(range(0, 100, 10))
    fleet.kill(*lost)
    fleet.live(TTL + BEAT)
    assert fleet.members == lost
    assert fleet.paged == set()


def test_a_third_of_the_fleet_scaled_down_by_sigkill_is_a_mass_loss() -> None:
    fleet = Fleet(9)
    fleet.kill(0, 4, 8)
    fleet.live(TTL + BEAT)
    assert fleet.members == {0, 4, 8}


def test_a_rolling_restart_that_kills_one_node_after_another_is_no_mass_loss() -> None:
    fleet = Fleet(12)
    for number in range(12):
        fleet.kill(number)
        fleet.live(20)
        fleet.start(number)  # before its heartbeat ends
    assert fleet.paged == set()
    for number in range(12):
        fleet.kill(number)
        fleet.live(TTL + BEAT)  # each one is dead for a while
        fleet.start(number)
    assert fleet.paged == set(range(12))
    assert fleet.members == set()


def test_single_death_in_a_quiet_fleet_is_not_held_back() -> None:
    fleet = Fleet(20)
    fleet.kill(3)
    fleet.live(TTL)
    (death,) = [change for change in fleet.changes if change.after is State.OFFLINE]
    assert death.at - fleet.ends[fleet.names[3]] <= 0.25


def test_death_among_late_nodes_that_recover_is_told_once_they_have() -> None:
    fleet = Fleet(6)
    fleet.kill(*range(6))
    fleet.live(TTL - BEAT + 1)  # the first heartbeat has ended, or will in a moment
    while not fleet.judge.undecided():
        fleet.live(0.25)
    fleet.start(*range(1, 6))
    fleet.start(0)
    fleet.kill(*(i for i in range(6) if fleet.names[i] in fleet.judge.undecided()))
    before = fleet.now
    fleet.live(16)
    assert fleet.members == set()
    assert fleet.now - before <= 16.25
    assert len(fleet.paged) <= 1


def test_member_that_is_back_is_no_member_and_the_others_have_no_page() -> None:
    fleet = Fleet(100)
    fleet.kill(*range(100))
    fleet.live(TTL + BEAT)
    assert len(fleet.members) == 100
    fleet.start(*range(90))
    fleet.live(60)
    assert fleet.members == set(range(90, 100))
    assert fleet.singles == set()


def test_member_that_is_back_and_dies_again_has_a_page_of_its_own() -> None:
    fleet = Fleet(6)
    fleet.kill(0, 2, 3, 5)
    fleet.live(60)
    fleet.start(0)
    fleet.live(5)
    fleet.kill(0)
    fleet.live(TTL + 1)
    assert fleet.members == {2, 3, 5}
    assert fleet.singles == {0}


def test_node_whose_page_was_sent_before_the_loss_was_seen_counts_and_keeps_its_page() -> None:
    fleet = Fleet(6)
    fleet.kill(0)
    fleet.live(25)
    fleet.kill(1, 2)
    fleet.live(TTL + BEAT)
    assert fleet.singles == {0}
    assert fleet.members == {1, 2}


def test_node_that_was_offline_before_the_loss_does_not_count() -> None:
    fleet = Fleet(6)
    fleet.kill(0)
    fleet.live(120)
    fleet.kill(1, 2)
    fleet.live(TTL + BEAT)
    assert fleet.members == set()
    assert fleet.singles == {0, 1, 2}


def test_share_is_not_taken_of_the_nodes_that_were_offline_before() -> None:
    fleet = Fleet(11)
    fleet.kill(0, 1)
    fleet.live(120)
    fleet.kill(4, 6, 8)  # of nine
    fleet.live(TTL + BEAT)
    assert fleet.singles == {0, 1}
    assert fleet.members == {4, 6, 8}


def test_nodes_that_are_offline_at_the_start_are_no_mass_loss() -> None:
    fleet = Fleet(1)
    names = tuple(b"left%d" % i for i in range(20))
    for _ in range(3):
        fleet.now += 0.25
        fleet.judge.judge(reading_of(dict.fromkeys(names, CRASHED), fleet.now, SERVER, names))
    assert len(fleet.judge.offline()) == 20
    assert fleet.members == set()


def test_the_loss_lasts_while_a_member_is_out() -> None:
    fleet = Fleet(6)
    fleet.kill(0, 2, 3, 5)
    fleet.live(TTL + BEAT)
    began = fleet.judge.mass_loss_since()
    assert began is not None
    fleet.live(600)
    assert fleet.judge.mass_loss_since() == began
    fleet.start(0, 2, 3)
    fleet.live(BEAT)
    assert fleet.judge.mass_loss_since() == began
    fleet.start(5)
    fleet.live(BEAT)
    assert fleet.judge.mass_loss_since() is None


def test_member_that_is_gone_or_forgotten_is_no_member() -> None:
    fleet = Fleet(6, forget_after=100)
    fleet.kill(0, 2, 3, 5)
    fleet.live(60)
    fleet.stopped.add(fleet.names[0])
    fleet.live(1)
    assert fleet.members == {2, 3, 5}
    fleet.live(100)
    assert fleet.members == set()
    assert fleet.judge.mass_loss_since() is None


def test_member_that_discovery_finds_no_longer_is_no_member() -> None:
    fleet = Fleet(6)
    fleet.kill(0, 2, 3, 5)
    fleet.live(60)
    fleet.judge.keep(fleet.names[1:])
    assert fleet.members == {2, 3, 5}
    assert set(fleet.judge.offline()) == {fleet.names[number] for number in (2, 3, 5)}
    assert fleet.judge.offline_since(fleet.names[0]) == (None, None)


def test_nodes_that_redis_lost_and_that_died_are_declared_together() -> None:
    fleet = Fleet(5)
    restarted = type(SERVER)("run-2", "master")
    names = fleet.names
    died = fleet.now
    while fleet.now < died + TTL + BEAT + 1:
        fleet.now += 0.25
        fleet.judge.judge(reading_of(dict.fromkeys(names, GONE), fleet.now, restarted, names))
    assert fleet.members == {0, 1, 2, 3, 4}
    assert fleet.paged == set()


@pytest.mark.parametrize(("nodes", "ratio", "many"), [(2, 0.25, 10), (3, 0.1, 10), (4, 0.9, 2)])
def test_thresholds_are_settings(nodes: int, ratio: float, many: int) -> None:
    fleet = Fleet(6, Thresholds(nodes, ratio, many))
    dead = (0, 3) if min(nodes, many) == 2 else (0, 3, 5)
    fleet.kill(*dead)
    fleet.live(TTL + BEAT)
    assert fleet.members == set(dead)


# --- the edges, each ruling by itself ----------------------------------------------------------


@pytest.fixture
def rules() -> MassLoss:
    return MassLoss(TTL, BEAT, Thresholds())


@pytest.mark.parametrize(
    ("dead", "before", "met"),
    [(2, 2, False), (3, 11, True), (3, 12, False), (4, 16, False), (5, 16, True), (9, 100, False), (10, 100, True)],
)
def test_three_and_more_than_a_quarter_or_ten_are_a_mass_loss(dead: int, before: int, met: bool) -> None:  # noqa: FBT001
    assert Thresholds().met(dead, before) is met


@pytest.mark.parametrize(("ended", "ruling"), [(TTL, Ruling.MEMBER), (TTL + 0.1, Ruling.SINGLE)])
def test_deaths_within_a_ttl_of_each_other_count_together(rules: MassLoss, ended: float, ruling: Ruling) -> None:
    assert rules.rule({b"a": 0.0}, 0.0, alive=6, late=0) == {b"a": Ruling.SINGLE}
    both = {b"b": ended, b"c": ended}
    assert rules.rule(both, ended, alive=5, late=0) == dict.fromkeys(both, ruling)


def test_death_of_before_counts_in_a_fleet_that_is_read_rarely(rules: MassLoss) -> None:
    rules.rule({b"a": 0.0}, 10.0, alive=6, late=0)
    both = {b"b": 25.0, b"c": 26.0}
    assert rules.rule(both, 40.0, alive=5, late=0) == dict.fromkeys(both, Ruling.MEMBER)


def test_share_is_taken_of_the_nodes_that_were_alive_before_the_first_death(rules: MassLoss) -> None:
    rules.rule({b"a": 0.0}, 0.0, alive=12, late=0)
    both = {b"b": 5.0, b"c": 5.0}
    assert rules.rule(both, 5.0, alive=11, late=0) == dict.fromkeys(both, Ruling.SINGLE)


def test_node_with_a_page_of_its_own_that_is_back_counts_no_longer(rules: MassLoss) -> None:
    rules.rule({b"a": 0.0}, 0.0, alive=6, late=0)
    rules.leave(b"a")
    both = {b"b": 5.0, b"c": 5.0}
    assert rules.rule(both, 5.0, alive=6, late=0) == dict.fromkeys(both, Ruling.SINGLE)


def test_node_whose_death_was_held_back_and_that_is_back_counts_no_longer(rules: MassLoss) -> None:
    assert rules.rule({b"a": 0.0}, 0.0, alive=6, late=3) == {b"a": Ruling.HELD}
    assert rules.held == {b"a"}
    rules.leave(b"a")
    assert rules.held == set()
    both = {b"b": 5.0, b"c": 5.0}
    assert rules.rule(both, 5.0, alive=6, late=0) == dict.fromkeys(both, Ruling.SINGLE)


def test_member_that_is_back_and_dies_again_at_once_has_a_page_of_its_own(rules: MassLoss) -> None:
    three = {b"a": 0.0, b"b": 1.0, b"c": 2.0}
    assert rules.rule(three, 2.0, alive=6, late=0) == dict.fromkeys(three, Ruling.MEMBER)
    rules.leave(b"a")
    assert rules.rule({b"a": 20.0}, 20.0, alive=4, late=0) == {
        b"a": Ruling.SINGLE
    }  # its TTL is shorter than the set one
    assert rules.members == {b"b", b"c"}


def test_death_is_held_back_for_a_beat_and_a_half_at_most(rules: MassLoss) -> None:
    for now in (0.0, 10.0, 14.9):
        assert rules.rule({b"a": 0.0}, now, alive=6, late=3) == {b"a": Ruling.HELD}
    assert rules.rule({b"a": 0.0}, 15.0, alive=6, late=3) == {b"a": Ruling.SINGLE}


def test_late_nodes_of_a_sample_stand_for_their_share_of_the_fleet() -> None:
    lives = (-2, -1, 0, 1, 11_999, 12_000)
    reading = replace(reading_of({}), ttl_ms=lives)
    assert count_late(reading, 12, TTL) == 4, "two of six live heartbeats have less than 0.4 of their life left"


def test_restored_members_are_of_one_loss_if_they_died_within_a_ttl(rules: MassLoss) -> None:
    for name, ended in ((b"b", 20.0), (b"a", 0.0), (b"far", 60.0)):
        rules.restore(name, ended)
    assert [(loss.first, loss.members) for loss in rules.losses] == [(0.0, {b"a", b"b"}), (60.0, {b"far"})]
    assert rules.rule({b"c": TTL}, TTL, alive=6, late=0) == {b"c": Ruling.MEMBER}
    assert rules.members == {b"a", b"b", b"c", b"far"}
