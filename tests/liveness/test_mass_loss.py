"""Which deaths are one page: the pure rules, and the judge in fleets whose nodes die together or apart."""

from collections.abc import Mapping

import pytest
from clusters import cluster
from looks import BEAT, TTL, Looks, living

from exporter.liveness import Kind, Leftovers, Loss, State
from exporter.liveness.mass_loss import Death, joined, named, together
from exporter.settings import MassLoss
from lab.nodes import CRASHED, GONE, Pair


class Fleet:
    """Nodes that beat every ten seconds, and looks at those whose state may change, twenty times a second.

    Args:
        size: Number of nodes.
        step: Seconds between the beats of one node and of the next.
    """

    def __init__(self, size: int, step: float = 0.0, **rules: object) -> None:
        self.looks = Looks(**rules)
        self.looks.see()
        self.names = [b"%02d" % number for number in range(size)]
        self._next = {name: self.looks.now + step * number % BEAT for number, name in enumerate(self.names)}
        self._ends: dict[bytes, float] = {}
        self._died: dict[bytes, float] = {}
        self.run(BEAT)

    def kill(self, *numbers: int) -> None:
        self._died |= {self.names[number]: self.looks.now for number in numbers}

    def revive(self, number: int) -> None:
        del self._died[self.names[number]]
        self._next[self.names[number]] = self.looks.now

    def run(self, seconds: float) -> None:
        """Let time pass; a scrape reads all nodes every second, the watch those that are due."""
        for _ in range(round(seconds * 20)):
            now = self.looks.now + 0.05
            for name in self.names:
                while name not in self._died and self._next[name] <= now:
                    self._ends[name] = self._next[name] + TTL
                    self._next[name] += BEAT
            due = self.looks.judge.due(now, full=True)
            scrape = round(now * 20) % 20 == 0
            self.looks.see(self.pairs(now, self.names if scrape else due), 0.05)

    def pairs(self, now: float, names: list[bytes]) -> Mapping[bytes, Pair]:
        left = {name: self._ends[name] - now for name in names if name in self._ends}
        return {name: (living(left[name]) if left[name] > 0 else CRASHED) if name in left else GONE for name in names}

    def ends_in(self, number: int) -> float:
        """Return the seconds until the end of a node's last heartbeat."""
        return self._ends[self.names[number]] - self.looks.now

    @property
    def pages(self) -> tuple[list[int], list[list[int]]]:
        """The nodes that have a page of their own, and the members of each mass loss, in the order of the verdicts."""
        deaths = [each for each in self.looks.changes if each.kind is Kind.NODE and each.after == State.OFFLINE]
        lost: dict[Loss, list[int]] = {}
        for each in deaths:
            if each.loss:
                lost.setdefault(each.loss, []).append(int(each.name))
        return [int(each.name) for each in deaths if not each.loss], list(lost.values())

    @property
    def delays(self) -> list[float]:
        """Seconds from the end of each heartbeat to the verdict."""
        changes = self.looks.changes
        return [each.at - each.died for each in changes if each.after == State.OFFLINE and each.died]


def deaths(*ends: float, told: bool = False) -> list[Death]:
    return [Death(end, end, b"%d" % number, told) for number, end in enumerate(ends)]


def test_deaths_count_together_within_one_window_of_a_ttl() -> None:
    for ends, alive, expected in (
        ((0, 10, 30), 11, 3),
        ((0, 10, 30), 12, 0),
        ((0, 10, 31), 4, 0),
        ((0, 15, 30, 45, 60), 11, 5),
        (range(0, 60, 6), 100, 0),
        (range(0, 30, 3), 1000, 10),
        ((), 0, 0),
    ):
        assert len(together(deaths(*ends), alive, TTL, MassLoss())) == expected, (ends, alive)
    before = deaths(0, 1, told=True)
    assert len(together([*before, Death(2, 2, b"x")], 9, TTL, MassLoss())) == 3, "3 of the 11 that lived before"
    assert not together([*before, Death(2, 2, b"x")], 10, TTL, MassLoss())


def test_thresholds_are_more_than_a_share_and_at_least_so_many_or_many() -> None:
    least = MassLoss(nodes=3, ratio=0.25, many=10)
    for dead, before, lost in ((2, 2, 0), (3, 3, 3), (3, 12, 0), (4, 15, 4), (9, 36, 0), (10, 1000, 10)):
        assert len(together(deaths(*range(dead)), before, TTL, least)) == lost, (dead, before)


def test_a_loss_is_named_after_the_earliest_deadline_and_keeps_names_apart() -> None:
    members = [Death(5, 5.05, b"b"), Death(5, 5.0, b"c"), Death(4, 5.2, b"a")]
    assert named(members, ()) == b"b", "within 100 ms the first by name"
    assert named(members, {b"b"}) == b"c"
    assert named(members, {b"a", b"b", b"c"}) == b"b"
    losses = {Loss(b"x", 0.0), Loss(b"y", 20.0)}
    assert [joined(Death(died, died, b"z"), losses, TTL) for died in (30.0, 50.0, 51.0)] == [
        *(Loss(b"x", 0.0), Loss(b"y", 20.0), None)
    ]


def test_four_of_six_that_beat_in_step_are_one_page() -> None:
    for step in (0.0, 0.01, 1.0):
        fleet = Fleet(6, step)
        fleet.kill(0, 1, 2, 3)
        fleet.run(TTL + BEAT)
        assert fleet.pages == ([], [[0, 1, 2, 3]])
        assert max(fleet.delays) <= 1.5 * BEAT + 0.1
        loss = fleet.looks.losses[0]
        assert loss.name == b"00"
        assert [change.after for change in fleet.looks.changes if change.kind is Kind.MASS_LOSS] == ["lost together"]


def test_single_deaths_beside_each_other_have_a_page_each_at_once() -> None:
    """One node is killed every five or six seconds: at most nine heartbeats end within one TTL."""
    for every in (5.0, 6.0):
        fleet = Fleet(60, 0.17)
        for number in range(24):
            fleet.kill(number * 7 % 60)
            fleet.run(every)
        fleet.run(TTL)
        alone, lost = fleet.pages
        assert (len(alone), lost) == (24, [])
        assert max(fleet.delays) < 0.1


def test_eight_of_sixty_within_ten_seconds_are_eight_pages() -> None:
    fleet = Fleet(60, 0.17)
    for number in range(8):
        fleet.kill(number * 7)
        fleet.run(1.25)
    fleet.run(TTL + BEAT)
    assert (len(fleet.pages[0]), fleet.pages[1]) == (8, [])


def test_twelve_of_sixty_within_a_second_or_within_thirty() -> None:
    fleet = Fleet(60, 0.17)
    fleet.kill(*range(0, 60, 5))
    fleet.run(TTL + BEAT)
    assert (fleet.pages[0], [len(members) for members in fleet.pages[1]]) == ([], [12])
    fleet = Fleet(60, 0.17)
    for number in range(12):
        fleet.kill(number * 5)
        fleet.run(2.5)
    fleet.run(TTL + BEAT)
    alone, lost = fleet.pages
    assert len(lost) == 1
    assert len(alone) + len(lost[0]) == 12
    assert fleet.looks.losses[0].first > max(
        change.died or 0 for change in fleet.looks.changes if change.after == State.OFFLINE and not change.loss
    ), "those that came before keep their pages"


def test_death_is_held_back_while_others_are_late_and_told_once_they_beat() -> None:
    fleet = Fleet(6)
    fleet.kill(0, 1, 2, 3)
    fleet.run(fleet.ends_in(0) - 1)
    for number in (1, 2, 3):
        fleet.revive(number)
    fleet.run(2)
    assert fleet.pages == ([0], [])
    fleet = Fleet(6, 1.6)
    fleet.kill(0, 1, 2, 3)
    fleet.run(fleet.ends_in(0) + 1)
    held = [change for change in fleet.looks.changes if change.after == State.UNDECIDED]
    assert [change.why for change in held][:1] == ["a mass loss is possible"]


def test_second_loss_has_a_name_of_its_own_and_members_count_once() -> None:
    fleet = Fleet(20, forget_rehomed_after=3600.0)
    fleet.looks.judge.let_go(Leftovers(), fleet.looks.now)
    fleet.kill(*range(6))
    fleet.run(TTL)
    fleet.looks.judge.let_go(Leftovers(rehomed=frozenset(fleet.names[:6])), fleet.looks.now)
    fleet.looks.see()
    forgotten = fleet.looks.judge.view().counts[State.FORGOTTEN]
    assert (fleet.looks.losses, forgotten) == ([], 6), "members whose work has moved are forgotten at once"
    assert [change.after for change in fleet.looks.changes if change.kind is Kind.MASS_LOSS] == [
        "lost together",
        "over",
    ]
    fleet.kill(19)
    fleet.run(TTL)
    fleet.kill(*range(6, 12))
    fleet.run(TTL + BEAT)
    assert [loss.name for loss in fleet.looks.losses] == [b"06"]
    assert fleet.pages == ([19], [list(range(6)), list(range(6, 12))]), "a forgotten member counts towards no death"


def test_two_losses_with_members_have_two_names() -> None:
    fleet = Fleet(20)
    fleet.kill(*range(6))
    fleet.run(60)
    fleet.kill(*range(6, 12))
    fleet.run(TTL + BEAT)
    fleet.revive(0)
    fleet.run(5)
    assert [loss.name for loss in fleet.looks.losses] == [b"00", b"06"], "it keeps its name"
    fleet.kill(0)
    fleet.run(TTL + BEAT)
    assert fleet.pages[0] == [0], "who was back dies a death of its own"
    for number in range(1, 6):
        fleet.revive(number)
    fleet.run(5)
    assert fleet.looks.changes[-1].after == "over"  # though the other one lasts


def test_loss_lasts_until_each_member_is_back_gone_or_forgotten() -> None:
    fleet = Fleet(4, forget_after=100.0)
    fleet.kill(0, 1, 2)
    fleet.run(TTL)
    fleet.revive(0)
    fleet.run(5)
    looks = fleet.looks
    assert len(looks.losses) == 1
    looks.see({fleet.names[1]: GONE}, 0.1)
    assert len(looks.losses) == 1
    looks.see({fleet.names[2]: CRASHED}, 101)
    looks.judge.let_go(None, looks.now)
    looks.see()
    assert not looks.losses
    assert looks.changes[-1].kind is Kind.MASS_LOSS


def test_what_is_offline_at_the_start_or_lost_alone_before_counts_for_nothing() -> None:
    looks = Looks()
    looks.judge.let_go(None, 0)
    looks.see({b"%d" % number: CRASHED for number in range(20)})
    looks.see({b"%d" % number: CRASHED for number in range(20)}, 1)
    assert not looks.losses
    fleet = Fleet(6)
    fleet.kill(0)
    fleet.run(3 * TTL)
    fleet.kill(1, 2)
    fleet.run(TTL + BEAT)
    assert fleet.pages == ([0, 1, 2], [])


def test_deaths_that_one_late_look_finds_count_towards_one_loss() -> None:
    looks = Looks()
    ends = {b"a": 0.1, b"b": 30.05, b"c": 30.06, b"d": 42.0}
    for start in (0.0, 15.0):
        alive = {name: living(end - start) for name, end in ends.items() if start < end < start + TTL}
        looks.see(alive, start)
    looks.see({name: CRASHED if name == b"a" else living(end - 30) for name, end in ends.items()}, 15.0)
    looks.see(dict.fromkeys(ends, CRASHED), 14.0)
    lost = {change.name: change.loss for change in looks.changes if change.after == State.OFFLINE}
    assert {name for name, loss in lost.items() if loss} == {b"a", b"b", b"c"}
    assert lost[b"d"] is None, "three members and a fourth node, which died alone"


def test_old_hashes_that_appear_beside_a_death_make_no_loss_of_it() -> None:
    looks, old = Looks(), {b"%d" % number: CRASHED for number in range(10)}
    looks.judge.let_go(None, 0)
    looks.see({b"a": living()})
    looks.see(old, TTL - 1)
    looks.see({b"a": CRASHED, **old}, 1)
    assert not looks.losses
    assert looks.absent(b"a").change.after == State.OFFLINE


def test_undecided_nodes_die_when_they_are_declared_dead() -> None:
    looks, names = Looks(), [b"%d" % number for number in range(5)]
    looks.see({name: living(TTL - number) for number, name in enumerate(names)})
    looks.fault(run_id="run-2")
    looks.wait(TTL + BEAT + BEAT, dict.fromkeys(names, CRASHED))
    lost = [change for change in looks.changes if change.after == State.OFFLINE]
    assert {change.loss for change in lost} == {looks.losses[0]}
    assert not any(change.exact for change in lost)


@pytest.mark.parametrize("silent", ["", "b"])
def test_nodes_whose_primary_cannot_be_read_are_not_late(silent: str) -> None:
    looks = Looks(cluster())
    names = {b"a1": living(5), b"b1": living(6), b"b2": living(6)}
    looks.see(names)
    looks.server = cluster(*silent.upper())
    looks.see(names, 0.5)
    assert looks.see({b"a1": CRASHED}, 5) == [State.OFFLINE if silent else State.UNDECIDED]


def test_restored_members_are_of_one_loss() -> None:
    fleet = Fleet(6)
    fleet.kill(0, 1, 2, 3)
    fleet.run(TTL + BEAT)
    again = Looks(earlier=[change for change in fleet.looks.changes if change.kind is Kind.NODE])
    again.see(fleet.pairs(fleet.looks.now, fleet.names))
    assert again.losses == fleet.looks.losses
    assert {name for name, each in again.judge.view().absent.items() if each.change.loss} == set(fleet.names[:4])
    assert [change.kind for change in again.changes if change.kind is Kind.MASS_LOSS] == []
