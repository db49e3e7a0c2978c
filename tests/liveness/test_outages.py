"""Outages: since when Redis cannot be read, why, and for how much of the last two minutes. Time is passed in."""

import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.liveness.outages import PROBED, READ, WINDOW, Outages


class Times:
    """Outages with a clock set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.outages = Outages(lambda: self.now)

    def fail(self, what: str = PROBED, why: str = "away", took: float = 0.0) -> None:
        self.now += took
        self.outages.failed(what, SourceError(why), self.now - took)

    def succeed(self, what: str = PROBED, after: float = 0.0) -> bool:
        self.now += after
        return self.outages.succeeded(what)


@pytest.fixture
def times() -> Times:
    return Times()


def test_before_any_answer_nothing_has_failed_and_nothing_answered(times: Times) -> None:
    assert times.outages.since is None
    assert not times.outages.ever_answered
    assert times.outages.seconds() == 0


def test_outage_begins_with_the_attempt_that_failed(times: Times) -> None:
    times.fail(took=5)
    times.fail(took=5)
    assert times.outages.since == 1000
    assert times.outages.seconds() == 10


def test_outage_is_over_when_all_that_failed_has_succeeded(times: Times) -> None:
    times.fail(READ, "too slow")
    times.fail(PROBED)
    assert times.outages.error(READ) == "too slow"
    times.succeed(PROBED, after=7)
    assert times.outages.since == 1000
    assert times.outages.error(PROBED) == ""
    times.succeed(READ, after=3)
    assert times.outages.since is None
    assert times.outages.seconds() == 10


def test_success_without_failure_ends_nothing(times: Times) -> None:
    times.fail(READ)
    times.succeed(PROBED, after=5)
    assert times.outages.since == 1000


def test_first_success_and_first_one_after_a_failure_are_told_from_others(times: Times) -> None:
    assert times.succeed()
    assert not times.succeed()
    times.fail()
    assert times.succeed()
    assert not times.succeed()
    assert times.outages.ever_answered


def test_outages_add_up_over_two_minutes(times: Times) -> None:
    for _ in range(6):  # up for 4 s, down for 20 s
        times.fail()
        times.succeed(after=20)
        times.now += 4
    assert times.outages.seconds() == 100  # the first one began 144 s ago, and ended at the edge of the two minutes


def test_read_that_fails_after_an_outage_in_which_it_began_counts_no_second_twice(times: Times) -> None:
    times.fail(PROBED, took=5)
    times.succeed(PROBED)
    times.fail(PROBED, took=5)
    times.succeed(PROBED)
    end = times.now
    times.now += 1
    times.outages.failed(READ, SourceError("too slow"), end - 4)
    assert times.outages.since == end
    times.succeed(READ)
    assert times.outages.seconds() == times.now - 1000


def test_outages_of_long_ago_do_not_count(times: Times) -> None:
    times.fail()
    times.succeed(after=50)
    times.now += WINDOW - 30
    assert times.outages.seconds() == 30
    times.now += 30
    assert times.outages.seconds() == 0
    times.succeed(after=1)
    assert not times.outages._past


def test_outage_that_lasts_for_longer_counts_as_two_minutes(times: Times) -> None:
    times.fail()
    times.now += 500
    assert times.outages.seconds() == 120


def test_outage_of_the_last_two_minutes_counts_although_it_began_before_and_redis_answers_since(times: Times) -> None:
    times.fail()
    times.succeed(after=100)
    times.succeed(after=60)
    assert times.outages.seconds() == 60


def test_outages_of_long_ago_are_dropped_although_others_follow(times: Times) -> None:
    for _ in range(100):
        times.fail()
        times.succeed(after=20)
        times.now += 4
    assert len(times.outages._past) == 6


def test_begin_and_end_are_logged_and_each_new_cause_once(times: Times) -> None:
    with capture_logs() as logs:
        times.succeed()
        times.succeed()
        for _ in range(2):
            times.fail(READ, "refused")
            times.fail(PROBED, "away")
        times.succeed(PROBED)
        times.succeed(READ)
        times.succeed(READ)
        times.fail(READ, "away")
    assert [(entry["event"], entry.get("error")) for entry in logs] == [
        ("Redis answers", None),
        ("Redis cannot be read", "refused"),
        ("Redis still cannot be read", "away"),
        ("Redis answers", None),
        ("Redis cannot be read", "away"),
    ]


def test_an_outage_with_ever_new_causes_is_five_lines(times: Times) -> None:
    with capture_logs() as logs:
        for number in range(100):
            times.fail(READ, f"cause {number}")
    assert [entry["error"] for entry in logs] == [f"cause {number}" for number in range(5)]


def test_listeners_are_told_of_each_begin_and_end_with_the_time_of_the_begin(times: Times) -> None:
    told: list[tuple[str, float]] = []
    times.outages.on_change(lambda cause, began: told.append((cause, began)))
    times.succeed()
    times.fail(why="away", took=5)
    times.fail(READ, "too slow")
    times.succeed(PROBED, after=1)
    times.succeed(READ)
    times.succeed(READ)
    assert told == [("away", 1000.0), ("", 1000.0)]
