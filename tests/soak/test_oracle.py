"""The soak's judge accuses the exporter of what the contract forbids, and of nothing else."""

import math
from typing import Any

import pytest
from by_hand import COUNTS, GONE, Truth, seen_online

from lab.oracle import OFFLINE, ONLINE, UNDECIDED, Answer, answer_of
from lab.truth import Write, covered


def test_node_is_online_for_a_ttl_after_its_beat_and_then_offline() -> None:
    cases: list[tuple[float, str | None, bool]] = [
        (101, ONLINE, True),
        (101, OFFLINE, False),
        (103.5, OFFLINE, True),
        (103.5, ONLINE, False),
        (103.5, UNDECIDED, True),  # it may be part of a mass loss
        (119.5, UNDECIDED, False),
        (119.5, GONE, False),
        (119.5, OFFLINE, True),
    ]
    failed = [case for case in cases if (not seen_online().wrong(case[0], case[1])) is not case[2]]
    assert not failed


def test_node_that_stopped_is_gone_and_one_that_beats_is_online() -> None:
    for state in (ONLINE, OFFLINE, UNDECIDED):
        truth = seen_online()
        truth.stop(101)
        assert not truth.wrong(101.1, GONE)
        assert truth.wrong(115, state), state
    for state in (OFFLINE, UNDECIDED, GONE):
        truth = seen_online()
        for second in range(101, 120):
            truth.beat(second)
        assert truth.wrong(119.5, state), state


def test_value_that_was_not_written_last_is_wrong() -> None:
    wrong: list[dict[str, Any]] = [{"queue_size": 16}, {"events_total": 99}, {"status": None}, {"portfolios": None}]
    assert not [values for values in wrong if not seen_online().wrong(101.5, ONLINE, **values)]
    assert seen_online().wrong(103.5, OFFLINE, queue_size=15), "the gauge of a dead node"


def test_new_node_may_be_found_late_but_not_very_late() -> None:
    truth = Truth()
    for second in range(100, 112):
        truth.beat(second)
    assert not truth.wrong(100.5, GONE)
    assert truth.wrong(111.5, GONE)


def test_node_whose_data_were_lost_is_no_false_death_and_may_die_later() -> None:
    truth = seen_online()
    truth.fault(101, 101.01, loses=True, readable=True)
    truth.stop(101, lost=True)
    assert truth.wrong(101.5, OFFLINE, COUNTS)
    assert not truth.wrong(105, OFFLINE, COUNTS)


def test_beat_that_was_lost_at_once_need_not_have_been_seen() -> None:
    truth = seen_online()
    truth.beat(101.5)
    truth.stop(101.51, lost=True)
    truth.fault(101.51, 101.53, loses=True, readable=True)
    assert not truth.wrong(104.3, OFFLINE, COUNTS)


def test_dead_node_whose_new_beats_were_lost_soon_after_them_may_stay_dead() -> None:
    truth = seen_online()
    assert not truth.wrong(103.5, OFFLINE)
    truth.beat(110)
    truth.beat(110.02)
    truth.stop(110.05, lost=True)
    truth.fault(110.05, 110.06, loses=True, readable=True)
    assert not truth.wrong(110.5, OFFLINE, COUNTS)
    assert not truth.wrong(111, OFFLINE, COUNTS)


def test_stop_before_a_restart_may_be_taken_for_lost_data() -> None:
    truth = seen_online()
    truth.stop(100.2)
    truth.fault(100.3, 100.5, loses=True)
    assert truth.wrong(102, OFFLINE, COUNTS)
    assert not truth.wrong(105.5, OFFLINE, COUNTS)


def test_chance_of_a_node_adds_up_over_crashes_of_redis() -> None:
    for at, right in ((108.5, False), (110.6, True)):
        truth = seen_online()
        for down, up in ((100.5, 104.5), (106, 108)):
            truth.fault(down, up, loses=True)
        assert (not truth.wrong(at, OFFLINE)) is right, at


def test_redis_that_is_well_must_be_read_and_one_that_is_down_cannot_be() -> None:
    truth = seen_online()
    unreadable = Answer(110, 110.01, None)
    assert list(truth.oracle.judge(unreadable))
    truth.fault(109.5, math.inf)
    assert not list(truth.oracle.judge(unreadable))
    assert truth.wrong(110.1, ONLINE)


def test_refused_writes_give_no_chance_until_a_beat_is_taken() -> None:
    truth = Truth()
    for number in range(20):
        truth.recorder.refuse(100 + number / 2, 100.1 + number / 2)
    assert [*truth.recorder.refusals] == truth.chance.sure() == [(100, 109.6)]
    assert not truth.chance.may_be_over(Write("beat", 99, 99.1), 99, 110)
    truth.recorder.refuse(110.6, 110.7)
    truth.recorder.beaten = True
    truth.recorder.refuse(111.5, 111.6)
    assert [*truth.recorder.refusals] == [(100, 111.6)]
    assert [*truth.recorder.blocked] == [(100, 110.7), (111.5, 111.6)]


def test_possible_values_are_those_between_the_last_sure_write_and_the_end() -> None:
    key = Truth().recorder.keys["x"]
    assert key.values(1, 2) == [None]
    key.writes += [Write(1, 1, 1.1, sure=True), Write(2, 3, 9), Write(3, 5, 5.1, sure=True)]
    assert (key.values(2, 4), key.values(6, 7), key.values(2, 2.5)) == ([2, 1], [3], [1])
    assert covered([(0, 2), (1, 3), (5, 9)], 1, 6) == 3


def test_scrape_becomes_an_answer_and_one_that_contradicts_itself_is_wrong() -> None:
    text = b'ginkgo_redis_up 1\nginkgo_node_up{node_id="a"} 1\nginkgo_node_queue_size{node_id="a"} 3\n'
    answer = answer_of(1, 2, text)
    assert (answer.states, answer.values) == ({"a": ONLINE}, {"a": {"ginkgo_node_queue_size": 3}})
    broken = b'ginkgo_exporter_internal_errors_total{part="read"} 1\n'
    for wrong in (text.replace(b"redis_up 1", b"redis_up 0"), text + broken):
        with pytest.raises(ValueError, match="ginkgo_"):
            answer_of(1, 2, wrong)
