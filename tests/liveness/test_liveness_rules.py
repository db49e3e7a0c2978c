"""The rules where several nodes count: deaths that are held back, and how many others are late. Time is passed in."""

from collections.abc import Sequence

import pytest

from exporter.liveness.judge import Judge, State
from exporter.source.reading import Server
from lab.readings import ALIVE, CRASHED, SERVER, Pair, reading_of

TTL, BEAT = 30.0, 10.0
RESTARTED = Server("run-2", "master")
NAMES = (b"a", b"b", b"c", b"d")


def test_death_that_was_held_back_is_excused_by_a_fault_that_follows() -> None:
    judge = Judge(TTL, BEAT)
    judge.judge(reading_of({b"a": Pair(ttl=1), b"b": Pair(ttl=8), b"c": Pair(ttl=9), b"d": ALIVE}, 0, names=NAMES))
    later = {b"a": CRASHED, b"b": Pair(ttl=6), b"c": Pair(ttl=7), b"d": ALIVE}
    assert judge.judge(reading_of(later, 2, names=NAMES)).states[0] is State.UNDECIDED
    lost = dict.fromkeys(NAMES, CRASHED)
    assert set(judge.judge(reading_of(lost, 3, RESTARTED, NAMES)).states) == {State.UNDECIDED}
    assert judge.judge(reading_of(later | {b"a": ALIVE}, 4, RESTARTED, NAMES)).states == [State.ONLINE] * 4
    assert judge.members() == set()


def test_node_whose_death_was_held_back_before_a_fault_dies_anew_after_it() -> None:
    judge = Judge(TTL, BEAT)

    def states(at: float, server: Server, *ttls: float | None) -> Sequence[State]:
        pairs = {name: Pair(ttl=ttl) for name, ttl in zip(NAMES, ttls, strict=True)}
        return judge.judge(reading_of(pairs, at, server, NAMES)).states

    states(0, SERVER, 1, 8, 9, 30)
    assert states(2, SERVER, None, 6, 7, 28)[0] is State.UNDECIDED  # two others are late
    assert states(3, RESTARTED, None, 15, 16, 30)[0] is State.UNDECIDED
    for second in range(4, 12):
        assert states(second, RESTARTED, None, 18 - second, 19 - second, 30)[0] is State.UNDECIDED
    # It had 32 s of chance before the fault, and 8 s since: it is dead, and held back since the same two are late.
    assert states(11.9, RESTARTED, None, 6.1, 7.1, 30)[0] is State.UNDECIDED
    assert not judge.may_die(reading_of({b"a": CRASHED}, 11.9))
    assert states(12, RESTARTED, None, 6, 7, 30)[0] is State.UNDECIDED
    assert judge.may_die(reading_of({b"a": CRASHED}, 12))
    for second in range(13, 18):
        states(second, RESTARTED, None, 18 - second, 19 - second, 30)
    assert states(17.5, RESTARTED, None, 0.5, 1.5, 30)[0] is State.UNDECIDED  # a beat and a half since its first death
    assert states(17.6, RESTARTED, None, 30, 30, 30)[0] is State.OFFLINE
    assert judge.offline_since(b"a") == (12, None)


@pytest.mark.parametrize(
    ("left", "state"),
    [(12.0, State.OFFLINE), (11.999, State.UNDECIDED), (0.001, State.UNDECIDED)],
)
def test_death_is_held_back_while_enough_others_have_missed_two_beats(left: float, state: State) -> None:
    judge = Judge(TTL, BEAT)
    alive = dict.fromkeys(NAMES, ALIVE)
    judge.judge(reading_of(alive | {b"a": Pair(ttl=1)}, 0, names=NAMES))
    others = {b"b": Pair(ttl=left), b"c": Pair(ttl=left)}
    assert judge.judge(reading_of(alive | {b"a": CRASHED} | others, 1, names=NAMES)).states[0] is state


def test_death_is_not_held_back_for_one_late_node_of_four() -> None:
    judge = Judge(TTL, BEAT)
    alive = dict.fromkeys(NAMES, ALIVE)
    judge.judge(reading_of(alive | {b"a": Pair(ttl=1)}, 0, names=NAMES))
    reading = reading_of(alive | {b"a": CRASHED, b"b": Pair(ttl=5)}, 1, names=NAMES)
    assert judge.judge(reading).states[0] is State.OFFLINE


def test_node_in_its_last_millisecond_is_counted_once_among_the_dead() -> None:
    judge = Judge(TTL, BEAT)
    alive = dict.fromkeys(NAMES, ALIVE)
    judge.judge(reading_of(alive | dict.fromkeys(NAMES[:2], Pair(ttl=1)), 0, names=NAMES))
    reading = reading_of(alive | {b"a": CRASHED, b"b": Pair(ttl=0.0)}, 1, names=NAMES)
    assert judge.judge(reading).states == [State.OFFLINE, State.OFFLINE, State.ONLINE, State.ONLINE]


def test_one_late_node_that_is_read_alone_counts_as_one() -> None:
    judge = Judge(TTL, BEAT)
    both = {b"a": Pair(ttl=1), b"b": Pair(ttl=1)}
    judge.judge(reading_of(dict.fromkeys(NAMES, ALIVE) | both, 0, names=NAMES))
    judge.look_for_late(reading_of({b"c": Pair(ttl=5)}, 1), of=1)
    assert judge.judge(reading_of(dict.fromkeys(both, CRASHED), 1)).states == [State.UNDECIDED, State.UNDECIDED]
