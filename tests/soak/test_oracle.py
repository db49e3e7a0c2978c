"""The soak's judge accuses the exporter of what the contract forbids, and of nothing else."""

import math
from typing import Any

from by_hand import COUNTERS, GONE, Truth, seen_online

from lab.oracle import OFFLINE, ONLINE, UNDECIDED, Answer, of_json, of_scrape
from lab.truth import TTL, Chance, Recorder, Write, covered


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
    wrong: list[dict[str, Any]] = [{"queue_size": 16}, {"events": 99}, {"status": None}, {"portfolios": None}]
    wrong += [{"heartbeat_ttl_seconds": 2.9}, {"heartbeat_ttl_seconds": 0}, {"last_heartbeat": 1}]
    assert not [values for values in wrong if not seen_online().wrong(101.5, ONLINE, **values)]
    assert seen_online().wrong(103.5, OFFLINE, queue_size=15), "the gauge of a dead node"


def test_new_node_may_be_found_late_but_not_very_late() -> None:
    truth = Truth()
    for second in range(100, 112):
        truth.beat(second)
    assert not truth.wrong(100.5, GONE)
    assert truth.wrong(111.5, GONE)


def test_counter_that_goes_back_is_wrong_without_another_life() -> None:
    truth = seen_online()
    truth.beat(101, total_events="50")
    assert truth.wrong(101.1, ONLINE, events=50) == ["'a': events went back from 100.0 to 50"]
    truth.nodes["a"].births.append(101.5)
    truth.beat(102, total_events="7")
    assert not truth.wrong(102.1, ONLINE, events=7)


def test_node_whose_data_were_lost_is_no_false_death_and_may_die_later() -> None:
    truth = seen_online()
    truth.fault(101, 101.01, flush=True, readable=True)
    truth.stop(101, lost=True)
    assert truth.wrong(101.5, OFFLINE, COUNTERS)
    assert not truth.wrong(105, OFFLINE, COUNTERS)


def test_beat_that_was_lost_at_once_need_not_have_been_seen() -> None:
    truth = seen_online()
    truth.beat(101.5)
    truth.stop(101.51, lost=True)
    truth.fault(101.51, 101.53, flush=True, readable=True)
    assert not truth.wrong(104.3, OFFLINE, COUNTERS)


def test_stop_before_a_restart_may_be_taken_for_lost_data() -> None:
    truth = seen_online()
    truth.stop(100.2)
    truth.fault(100.3, 100.5, restart=True)
    assert truth.wrong(102, OFFLINE, COUNTERS)
    assert not truth.wrong(105.5, OFFLINE, COUNTERS)


def test_chance_of_a_node_adds_up_over_crashes_of_redis() -> None:
    for at, right in ((108.5, False), (110.6, True)):
        truth = seen_online()
        for down, up in ((100.5, 104.5), (106, 108)):
            truth.fault(down, up, restart=True)
        assert (not truth.wrong(at, OFFLINE)) is right, at


def test_redis_that_is_well_must_be_read_and_one_that_is_down_cannot_be() -> None:
    truth = seen_online()
    unreadable = Answer("scrape", 110, 110.01, None)
    assert list(truth.oracle.judge(unreadable))
    truth.fault(109.5, math.inf)
    assert not list(truth.oracle.judge(unreadable))
    assert truth.wrong(110.1, ONLINE)


def test_ledger_about_which_nothing_has_changed_is_judged() -> None:
    for state, right in (("", "traded"), ("misplaced", "b"), ("unplanned", ""), ("duplicated", "a")):
        truth = Truth("a", "b")
        truth.plan(90, **({"p": right if right in ("a", "b") else "a"} if state != "unplanned" else {}))
        for second in range(90, 111):
            truth.beat(second, "a", loaded_portfolio_ids='["p"]')
            truth.beat(second, "b", loaded_portfolio_ids='["p"]' if state == "duplicated" else "[]")
        fault = {"p": (state, "a", 1095.0)} if state else {}
        assert not truth.ledger(110, fault, a=ONLINE, b=ONLINE), state
        assert truth.ledger(110.2, {"p": ("untraded", "a", 1095.0)}, a=ONLINE, b=ONLINE), state
        if state:
            assert not truth.ledger(110.3, fault, a=ONLINE, b=ONLINE)
            assert truth.ledger(110.4, {"p": (state, "a", 1099.0)}, a=ONLINE, b=ONLINE), "its begin has moved"


def test_refused_writes_give_no_chance_until_a_beat_is_taken() -> None:
    recorder = Truth().recorder
    chance = Chance(recorder)
    recorder.refused += [(100 + i / 2, 100.1 + i / 2) for i in range(20)]
    assert chance.refusals() == [(100, 109.6)]
    assert round(chance.most(99, 110), 3) == 1.4
    assert not chance.may_be_over(Write("beat", 99, 99.1), 99, 110)
    recorder.taken.append(104.3)
    recorder.refused.append((110.0, 110.1))
    assert chance.most(99, 110.1) > 11.1 - 10.1 + 0.3, "a beat in between"


def test_possible_values_are_those_between_the_last_sure_write_and_the_end() -> None:
    key = Truth().recorder.keys["x"]
    assert key.values(1, 2) == [None]
    key.writes += [Write(1, 1, 1.1, sure=True), Write(2, 3, 9), Write(3, 5, 5.1, sure=True)]
    assert (key.values(2, 4), key.values(6, 7), key.values(2, 2.5)) == ([2, 1], [3], [1])
    assert covered([(0, 2), (1, 3), (5, 9)], 1, 6) == 3


def test_scrape_and_json_become_the_same_answer() -> None:
    text = 'ginkgo_redis_up 1\nginkgo_node_up{node_id="a"} 1\nginkgo_node_queue_size{node_id="a"} 3\n'
    row = '{"redis_up": true, "nodes": [{"node_id": "a", "state": "online", "queue_size": 3}]}'
    scrape, api = of_scrape(1, 2, text), of_json(1, 2, row)
    assert (scrape.states, scrape.values) == (api.states, api.values) == ({"a": ONLINE}, {"a": {"queue_size": 3}})
    assert TTL == 3
    assert isinstance(Truth().recorder, Recorder)
