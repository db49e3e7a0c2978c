"""The soak's model gives a node its chance: Redis's faults excuse a missing heartbeat, and not for longer."""

import pytest
from by_hand import Truth, seen_online

from exporter.liveness.judge import State
from lab.soak.truth import Fault, Write


@pytest.mark.parametrize(
    ("at", "state", "right"),
    [
        (106.3, State.OFFLINE, False),
        (106.3, State.UNDECIDED, True),
        (109.8, State.OFFLINE, False),
        (110.1, State.OFFLINE, True),
        (112.5, State.UNDECIDED, False),
    ],
)
def test_long_hang_excuses_a_missing_heartbeat_until_the_node_has_had_its_chance(
    at: float, state: State, *, right: bool
) -> None:
    truth = seen_online()
    truth.model.chance.faults.append(Fault("hangs", 100.2, 100.2, 106.2, 106.2))
    assert (not truth.faults_found(at, state)) is right


def test_beat_that_redis_wrote_at_the_end_of_a_hang_lives_for_a_ttl() -> None:
    truth = seen_online()
    truth.beat(100.5)
    truth.node.heartbeat.writes[-1].ended = 110.1
    truth.model.chance.faults.append(Fault("hangs", 100.4, 100.4, 110, 110))
    assert not truth.faults_found(111, State.ONLINE, last_heartbeat=1100.5)
    assert not truth.faults_found(113.2, State.OFFLINE, last_heartbeat=1100.5)


@pytest.mark.parametrize("beaten", [100.0, 9000.0])  # a sum of floats is rounded differently after some hours
def test_node_that_died_just_before_a_fault_may_be_offline(beaten: float) -> None:
    chance = Truth().model.chance
    began = beaten + 3.1
    chance.faults.append(Fault("writes paused", began, began, began + 9, paused=True, readable=True))
    beat = Write(1, beaten, beaten + 0.001, sure=True)
    assert chance.may_be_over(beat, since=began - 0.1, until=began + 0.2)
    assert not chance.may_be_over(beat, since=began + 0.1, until=began + 0.2)


def test_short_hang_excuses_nothing() -> None:
    truth = seen_online()
    truth.model.chance.faults.append(Fault("hangs", 100.2, 100.2, 104.2, 104.2))
    assert not truth.faults_found(104.3, State.OFFLINE)
    assert seen_online().faults_found(104.6, State.UNDECIDED)


@pytest.mark.parametrize(
    ("at", "state", "right"),
    [
        (107.1, State.UNDECIDED, True),
        (110, State.OFFLINE, False),
        (110.6, State.OFFLINE, True),
        (112, State.UNDECIDED, True),
        (113.5, State.UNDECIDED, False),
    ],
)
def test_chance_adds_up_over_faults(at: float, state: State, *, right: bool) -> None:
    truth = seen_online()
    restart = Fault("killed", 108.5, 108.5, 109, 109, restart=True)
    truth.model.chance.faults += [Fault("hangs", 101, 101, 107, 107), restart]
    assert (not truth.faults_found(at, state)) is right


@pytest.mark.parametrize("at", [104, 110, 129])
@pytest.mark.parametrize(("state", "right"), [(State.UNDECIDED, True), (State.OFFLINE, False)])
def test_refused_writes_excuse_a_missing_heartbeat_for_as_long_as_they_last(
    at: float, state: State, *, right: bool
) -> None:
    truth = seen_online()
    truth.refused += [(100.5 + second, 100.501 + second) for second in range(30)]
    assert (not truth.faults_found(at, state)) is right


@pytest.mark.parametrize(("at", "state", "right"), [(113.1, State.OFFLINE, True), (118, State.UNDECIDED, False)])
def test_refused_writes_that_stop_excuse_nothing_later(at: float, state: State, *, right: bool) -> None:
    truth = seen_online()
    truth.refused += [(100.5 + second, 100.501 + second) for second in range(10)]
    assert (not truth.faults_found(at, state)) is right


@pytest.mark.parametrize(("taken", "right"), [((), False), ((107.2,), True)])
def test_beat_between_refused_writes_may_end_a_refusal(taken: tuple[float, ...], *, right: bool) -> None:
    truth = seen_online()
    truth.refused += [(100.5 + second, 100.501 + second) for second in range(10)]
    truth.taken += taken
    assert (not truth.faults_found(112.1, State.OFFLINE)) is right


def test_nobody_is_undecided_for_longer_than_the_grace() -> None:
    truth = seen_online()
    truth.model.chance.faults.append(Fault("killed", 100.2, 100.2, 101, 101, restart=True))
    assert not truth.faults_found(103.1, State.UNDECIDED)
    assert truth.faults_found(108, State.UNDECIDED)
