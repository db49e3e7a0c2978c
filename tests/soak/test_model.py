"""The soak's model accuses the exporter of what the contract forbids, and of nothing else."""

import math
from typing import Any

import pytest
from by_hand import COUNTERS, GONE, Truth, lose, seen_online

from exporter.liveness.judge import State
from lab.soak.answers import Answer
from lab.soak.truth import Fault, Write


@pytest.mark.parametrize(
    ("at", "state", "right"),
    [
        (101, State.ONLINE, True),
        (101, State.OFFLINE, False),
        (101, State.UNDECIDED, False),
        (101, GONE, False),
        (103.5, State.OFFLINE, True),
        (103.5, State.ONLINE, False),
        (103.5, State.UNDECIDED, True),  # it may be part of a mass loss
        (104.6, State.UNDECIDED, False),
        (103.5, GONE, False),
    ],
)
def test_node_is_online_for_a_ttl_after_its_beat_and_then_offline(
    at: float, state: State | None, *, right: bool
) -> None:
    assert (not seen_online().faults_found(at, state)) is right


@pytest.mark.parametrize(("at", "right"), [(105.9, True), (106.1, False)])
def test_death_that_a_short_hang_hid_may_be_held_back_from_its_end_on(at: float, *, right: bool) -> None:
    truth = seen_online()
    truth.model.chance.faults.append(Fault("hangs", 102.5, 102.5, 104.3, 104.3))
    assert (not truth.faults_found(at, State.UNDECIDED)) is right


@pytest.mark.parametrize("state", [State.ONLINE, State.OFFLINE, State.UNDECIDED])
def test_node_that_stopped_is_gone(state: State) -> None:
    truth = seen_online()
    truth.stop(101)
    assert not truth.faults_found(101.1, GONE)
    assert truth.faults_found(101.2, state)


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue_size": 16},
        {"events": 99},
        {"status": None},
        {"portfolios": None},
        {"heartbeat_ttl_seconds": 2.9},
        {"heartbeat_ttl_seconds": 0},
        {"last_heartbeat": 1},
    ],
)
def test_value_that_was_not_written_last_is_wrong(wrong: dict[str, Any]) -> None:
    assert seen_online().faults_found(101, State.ONLINE, **wrong)


def test_gauge_of_a_dead_node_is_wrong() -> None:
    assert seen_online().faults_found(103.5, State.OFFLINE, queue_size=15)


def test_new_node_may_be_found_late_but_not_very_late() -> None:
    truth = Truth()
    truth.beat(100)
    assert not truth.faults_found(100.5, GONE)
    for second in range(1, 9):
        truth.beat(100 + second)
    assert truth.faults_found(108.5, GONE)


def test_counter_that_goes_back_is_wrong_without_another_life() -> None:
    truth = seen_online()
    truth.beat(101, events=50)
    assert truth.faults_found(101.1, State.ONLINE, events=50) == ["'a': events went back from 100 to 50"]
    truth.node.births.append(101.5)
    truth.beat(102, events=7)
    assert not truth.faults_found(102.1, State.ONLINE, events=7)


@pytest.mark.parametrize(("at", "state", "right"), [(101.5, GONE, False), (105, State.OFFLINE, True)])
def test_node_whose_data_were_deleted_after_its_crash_is_offline_and_not_gone(
    at: float, state: State | None, *, right: bool
) -> None:
    truth = seen_online()
    truth.model.chance.faults.append(Fault("all data deleted", 101, until=101.01, flush=True, readable=True))
    for key in (truth.node.heartbeat, truth.node.hash):
        key.writes.append(Write(None, 101, 101.01, sure=True, lost=True))
    assert (not truth.faults_found(at, state, without=COUNTERS)) is right


@pytest.mark.parametrize("state", [State.UNDECIDED, GONE])
def test_beat_and_stop_between_two_answers_after_a_loss_need_not_be_noticed(state: State | None) -> None:
    truth = seen_online()
    for key in (truth.node.heartbeat, truth.node.hash):
        key.writes.append(Write(None, 100.2, 100.4, sure=True, lost=True))
    truth.model.chance.faults.append(Fault("killed, back empty", 100.2, 100.2, 100.3, 100.4, restart=True))
    truth.beat(100.5)
    truth.stop(100.6)
    assert not truth.faults_found(100.7, state, without=COUNTERS)
    assert not truth.faults_found(100.8, state, without=COUNTERS)


@pytest.mark.parametrize("state", [State.UNDECIDED, GONE])
def test_stop_between_the_last_answer_and_a_restart_may_be_taken_for_a_loss(state: State | None) -> None:
    truth = seen_online()
    truth.stop(100.2)
    truth.model.chance.faults.append(Fault("killed", 100.3, 100.3, 100.4, 100.5, restart=True))
    assert not truth.faults_found(100.7, state, without=COUNTERS)
    assert not truth.faults_found(100.8, state, without=COUNTERS)


@pytest.mark.parametrize("state", [State.UNDECIDED, GONE])
def test_node_that_came_and_was_lost_between_two_answers_may_be_known(state: State | None) -> None:
    truth = Truth()
    assert not truth.faults_found(99.9, GONE)
    truth.beat(100)
    lose(truth, 100.5)
    assert not truth.faults_found(100.6, state, without=COUNTERS, last_heartbeat=None)


@pytest.mark.parametrize(("at", "right"), [(108.5, False), (109.6, True)])
def test_chance_of_a_node_that_was_never_seen_adds_up_over_crashes_of_redis(at: float, *, right: bool) -> None:
    truth = Truth()
    truth.beat(100)
    for down, up in ((100.5, 104.5), (106, 108)):
        truth.model.chance.faults.append(Fault("killed", down, down, up, up, restart=True))
    assert (not truth.faults_found(at, State.OFFLINE)) is right


def test_beat_that_was_lost_before_an_answer_need_not_be_known() -> None:
    truth = seen_online()
    lose(truth, 101)
    assert not truth.faults_found(104.2, State.UNDECIDED, without=COUNTERS)
    truth.beat(104.4)
    lose(truth, 104.5)
    assert not truth.faults_found(105.2, State.OFFLINE, without=COUNTERS, last_heartbeat=1100)


def test_redis_that_is_well_must_be_read_and_one_that_is_down_cannot_be() -> None:
    truth = seen_online()
    unreadable = Answer("scrape", 101, 101.01, None)
    assert list(truth.model.judge(unreadable))
    truth.model.chance.faults.append(Fault("hangs", 100.5, 100.6, math.inf, math.inf))
    assert not list(truth.model.judge(unreadable))
    assert truth.faults_found(101.1, State.ONLINE)


def test_what_was_written_after_an_answer_does_not_count() -> None:
    truth = seen_online()
    truth.model.chance.faults.append(Fault("killed, back empty", 100.2, 100.2, 101, 101, restart=True))
    for key in (truth.node.heartbeat, truth.node.hash):
        key.writes.append(Write(None, 100.2, 101, sure=True, lost=True))
    truth.beat(102)
    assert not truth.faults_found(101.5, State.UNDECIDED, without=COUNTERS)
    assert truth.faults_found(102.1, State.UNDECIDED)
