from itertools import pairwise

import pytest

from exporter.demo.load import QUEUE_LIMIT, Load
from exporter.reporter import NodeMetrics

BEATS = range(0, 1800, 10)


def life(number: int, *floods: range) -> list[NodeMetrics]:
    """What a node reports in half an hour of beats."""
    load = Load(number, [f"p{place}" for place in range(1 + number % 5)])
    reports = []
    for age in BEATS:
        load.flooded = any(age in flood for flood in floods)
        reports.append(load.at(age))
    return reports


@pytest.mark.parametrize("number", range(6))
def test_counters_begin_at_zero_and_never_fall(number: int) -> None:
    reports = life(number, range(300, 330))
    assert (reports[0].total_events, reports[0].backpressure_count, reports[0].dropped_events) == (0, 0, 0)
    for before, after in pairwise(reports):
        assert after.total_events > before.total_events
        assert after.backpressure_count >= before.backpressure_count
        assert after.dropped_events >= before.dropped_events


@pytest.mark.parametrize("number", range(6))
def test_usual_load_breathes_and_drops_nothing(number: int) -> None:
    reports = life(number)
    queues = [report.queue_size for report in reports]
    assert reports[-1].dropped_events == 0
    assert 0 <= min(queues) < max(queues) < 100
    assert len(set(queues)) > 10
    rate = reports[-1].total_events / BEATS[-1]
    assert 50 < rate < 300


@pytest.mark.parametrize("number", range(6))
def test_flood_of_the_story_fills_the_queue_drops_and_drains_within_two_minutes(number: int) -> None:
    reports = life(number, range(300, 325))
    assert max(report.queue_size for report in reports) == QUEUE_LIMIT
    assert reports[-1].dropped_events > 0
    assert reports[-1].backpressure_count > 0
    after = reports[BEATS.index(450)]
    assert after.queue_size < 100
    assert reports[-1].dropped_events == after.dropped_events


def test_node_without_portfolios_takes_no_events_and_has_no_queue() -> None:
    load = Load(0)
    assert load.at(10) == load.at(60)
    assert load.at(60).queue_size == load.at(60).total_events == load.at(60).portfolio_count == 0


def test_queue_of_a_node_is_the_mean_of_its_portfolios_and_these_differ() -> None:
    load = Load(1, ["p", "q", "r"])
    report = load.at(40)
    queues = [state.queue_size for state in (report.portfolio_states or {}).values()]
    assert len(set(queues)) > 1
    assert report.queue_size == sum(queues) // 3


def test_nodes_differ() -> None:
    totals = {life(number)[-1].total_events for number in range(5)}
    assert len(totals) == 5


@pytest.mark.parametrize("number", range(6))
def test_what_is_reported_is_what_a_node_may_report(number: int) -> None:
    for report in life(number, range(300, 330)):
        assert 1 <= report.portfolio_count <= 5
        assert len(report.loaded_portfolio_ids or ()) == report.portfolio_count
        assert list(report.portfolio_states or ()) == list(report.loaded_portfolio_ids or ())
        assert report.cpu_usage is not None
        assert 0 < report.cpu_usage < 100
        assert report.memory_usage is not None
        assert 100 < report.memory_usage < 1000
