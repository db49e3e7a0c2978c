"""Repeated events are counted and told once a minute."""

import logging
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from exporter.log_limit import LINES, LONGEST, RepeatLimit, shortened


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []
        self.limit = RepeatLimit(lambda: self.now, lambda _, call: self.calls.append(call))

    def passes(self, event: object, level: int = logging.WARNING) -> bool:
        return self.limit.filter(logging.LogRecord("x", level, "file", 1, event, (), None))

    def passed(self, event: object, times: int) -> int:
        return sum(self.passes(event) for _ in range(times))


@pytest.fixture
def world() -> World:
    return World()


def test_event_is_logged_some_times_a_minute_and_then_told_with_its_count(world: World) -> None:
    assert world.passed({"event": "again", "node_id": 1}, 1000) == LINES
    assert world.passed({"event": "another"}, 3) == 3
    assert len(world.calls) == 1
    with capture_logs() as lines:
        world.calls.pop()()
    assert [(line["like"], line["count"]) for line in lines] == [("again", 1000 - LINES)]
    assert world.passed({"event": "again"}, 1000) == LINES


def test_lines_of_libraries_are_told_apart_by_their_template(world: World) -> None:
    assert world.passed("Malformed HTTP request from %s", 100) == LINES
    assert world.passes("odd %s")


def test_minute_without_too_many_lines_is_forgotten(world: World) -> None:
    for _ in range(5):
        assert world.passed({"event": "again"}, LINES) == LINES
        world.now += 60
    assert not world.calls


def test_debug_lines_always_pass(world: World) -> None:
    assert all(world.passes({"event": "request"}, logging.DEBUG) for _ in range(1000))


def test_texts_without_number_are_bounded_too(world: World) -> None:
    assert sum(world.passes(f"text {number}") for number in range(10_000)) <= 500 + LINES


def test_long_value_is_shortened() -> None:
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert shortened("x" * (LONGEST + 5)).endswith("… (5 characters more)")
