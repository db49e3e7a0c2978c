"""The log of invalid values: one line per node and field, within bounds."""

import tracemalloc
from collections.abc import Iterable
from threading import Thread

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from exporter.invalid_values import LINES_PER_MINUTE, PERIOD, REMEMBERED, InvalidValueLog
from exporter.telemetry import Telemetry
from fleets import Exporter
from lab.readings import Pair


class Clock:
    """Monotonic seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def invalid(clock: Clock) -> InvalidValueLog:
    return InvalidValueLog(clock)


def logged(invalid: InvalidValueLog, field: str, node_ids: Iterable[str]) -> list[EventDict]:
    with capture_logs() as lines:
        invalid.add(field, node_ids)
    return lines


def ids(count: int, first: int = 0) -> list[str]:
    return [f"node-{number}" for number in range(first, first + count)]


def test_eight_thousand_nodes_with_two_invalid_fields_log_some_lines_and_one_count(clock: Clock) -> None:
    telemetry = Telemetry(InvalidValueLog(clock))
    fields = {"queue_size": b"many", "total_events": b"few"}
    pairs = {f"node-{number}".encode(): Pair(ttl=30, fields=fields) for number in range(8_000)}
    exporter = Exporter(telemetry.invalid, part=1_000)
    lines: list[list[EventDict]] = []
    for _ in range(20):
        with capture_logs() as scrape:
            exporter.snapshot(pairs, clock.now - 1_000)
        lines.append(scrape)
        clock.now += 15
    assert [len(scrape) for scrape in lines] == [LINES_PER_MINUTE, 0, 0, 0, 1, *[0] * 15]
    (count,) = lines[4]
    assert (count["event"], count["not_logged"]) == ("more invalid values dropped", 16_000 - LINES_PER_MINUTE)
    for field in fields:
        value = telemetry.registry.get_sample_value("ginkgo_exporter_invalid_values_total", {"field": field})
        assert value == 20 * 8_000, "every one is counted"


def test_line_names_node_and_field_and_each_pair_has_its_own(invalid: InvalidValueLog) -> None:
    lines = logged(invalid, "queue_size", ["a", "b", "a"]) + logged(invalid, "cpu_usage", ["a"])
    assert [(line["field"], line["node_id"]) for line in lines] == [
        ("queue_size", "a"),
        ("queue_size", "b"),
        ("cpu_usage", "a"),
    ]
    assert {(line["event"], line["log_level"]) for line in lines} == {("invalid value dropped", "warning")}


def test_lines_are_limited_anew_in_each_minute_and_a_minute_within_its_limit_tells_no_count(
    invalid: InvalidValueLog, clock: Clock
) -> None:
    assert len(logged(invalid, "queue_size", ids(LINES_PER_MINUTE))) == LINES_PER_MINUTE
    clock.now += 60
    assert len(logged(invalid, "cpu_usage", ids(LINES_PER_MINUTE))) == LINES_PER_MINUTE
    clock.now += 59.9
    assert logged(invalid, "status", ["a", "b"]) == []
    clock.now += 0.1
    count, line = logged(invalid, "memory_usage", ["a"])
    assert (count["not_logged"], line["node_id"]) == (2, "a")
    clock.now += 60
    assert len(logged(invalid, "memory_usage", ["b"])) == 1, "a count is told once"


def test_minute_without_invalid_values_is_a_minute_too(invalid: InvalidValueLog, clock: Clock) -> None:
    assert len(logged(invalid, "queue_size", ids(LINES_PER_MINUTE))) == LINES_PER_MINUTE
    clock.now += 1_030
    assert len(logged(invalid, "cpu_usage", ["a"])) == 1


def test_pair_that_stays_invalid_is_logged_once_in_a_day(invalid: InvalidValueLog, clock: Clock) -> None:
    lines = []
    for _ in range(24 * 60):
        lines += logged(invalid, "queue_size", ["a"])
        clock.now += 60
    assert len(lines) == 1


def test_pair_that_was_well_for_two_periods_is_logged_again(invalid: InvalidValueLog, clock: Clock) -> None:
    assert len(logged(invalid, "queue_size", ["a"])) == 1
    clock.now += PERIOD
    assert logged(invalid, "queue_size", ["a"]) == [], "it was invalid in the period before"
    for _ in range(2):
        clock.now += PERIOD
        logged(invalid, "queue_size", [])
    assert len(logged(invalid, "queue_size", ["a"])) == 1


def test_pair_that_is_missing_for_less_than_a_period_stays_known(invalid: InvalidValueLog, clock: Clock) -> None:
    assert len(logged(invalid, "queue_size", ["a"])) == 1
    clock.now += PERIOD
    assert logged(invalid, "queue_size", ["a"]) == []
    for _ in range(4):
        clock.now += 15
        logged(invalid, "cpu_usage", ["b"])
    assert logged(invalid, "queue_size", ["a"]) == []


def test_pairs_beyond_the_memory_are_counted_and_never_logged(invalid: InvalidValueLog, clock: Clock) -> None:
    logged(invalid, "queue_size", ids(REMEMBERED))
    clock.now += 60
    (count,) = logged(invalid, "queue_size", ids(REMEMBERED + 5))
    assert count["not_logged"] == REMEMBERED - LINES_PER_MINUTE
    clock.now += 60
    (count,) = logged(invalid, "queue_size", ids(REMEMBERED))
    assert count["not_logged"] == 5
    clock.now += PERIOD
    assert logged(invalid, "queue_size", ids(REMEMBERED + 5)[5:]) != [], "another period has room again"


def test_memory_is_bounded_whatever_the_nodes_are_called(invalid: InvalidValueLog, clock: Clock) -> None:
    tracemalloc.start()
    try:
        with capture_logs():
            for period in range(3):
                for first in range(0, REMEMBERED + 10_000, 1_000):
                    invalid.add("queue_size", (f"{name:x<500}" for name in ids(1_000, 2 * period * REMEMBERED + first)))
                clock.now += PERIOD
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 20 * 2**20


def test_threads_that_share_the_log_log_each_pair_once(invalid: InvalidValueLog) -> None:
    with capture_logs() as lines:
        threads = [Thread(target=invalid.add, args=("queue_size", ids(LINES_PER_MINUTE))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(line["node_id"] for line in lines) == sorted(ids(LINES_PER_MINUTE))
