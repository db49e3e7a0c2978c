"""The exporter's own metrics: an invalid value is always counted, and logged once for each node and field."""

import platform
import tracemalloc
from collections.abc import Iterable
from threading import Thread

import pytest
from structlog.testing import capture_logs

from exporter import __revision__, __version__
from exporter.logs import LINES
from exporter.telemetry import PARTS, PERIOD, REMEMBERED, Telemetry


class World:
    """A telemetry with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.telemetry = Telemetry(lambda: self.now)

    def logged(self, field: str, node_ids: Iterable[str]) -> list[object]:
        """Return what the log says of invalid values: the node of a line, or the count of the others."""
        with capture_logs() as lines:
            self.telemetry.invalid(field, list(node_ids))
        return [line.get("node_id", line.get("not_logged")) for line in lines]

    def value(self, name: str, **labels: str) -> float | None:
        return self.telemetry.registry.get_sample_value(name, labels)


@pytest.fixture
def world() -> World:
    return World()


def ids(count: int, first: int = 0) -> list[str]:
    return [f"node-{number}" for number in range(first, first + count)]


def test_counters_are_0_rather_than_absent_and_the_process_is_measured(world: World) -> None:
    assert {world.value("ginkgo_exporter_internal_errors_total", part=part) for part in PARTS} == {0}
    assert world.value("ginkgo_exporter_invalid_values_total", field="node_id") == 0
    version = {"version": __version__, "revision": __revision__, "python_version": platform.python_version()}
    assert world.value("ginkgo_exporter_build_info", **version) == 1
    assert world.value("process_cpu_seconds_total") is not None


def test_invalid_value_is_counted_each_time_and_logged_once_for_each_node_and_field(world: World) -> None:
    assert [world.logged("queue_size", ["a", "b", "a"]) for _ in range(3)] == [["a", "b"], [], []]
    assert world.logged("cpu_usage", ["a"]) == ["a"]
    assert world.value("ginkgo_exporter_invalid_values_total", field="queue_size") == 9
    assert world.logged("status", ids(LINES + 7)) == [*ids(LINES), 7]


def test_value_that_was_well_for_two_periods_is_logged_again_and_one_that_stays_invalid_is_not(world: World) -> None:
    assert world.logged("queue_size", ["a", "b"]) == ["a", "b"]
    for _ in range(3):
        world.now += PERIOD
        assert world.logged("queue_size", ["b"]) == []
    assert world.logged("queue_size", ["a", "b"]) == ["a"]


def test_memory_is_bounded_and_what_does_not_fit_is_never_logged(world: World) -> None:
    tracemalloc.start()
    try:
        for period in range(3):
            for first in range(0, REMEMBERED, 1_000):
                world.logged("queue_size", [f"{name:x<500}" for name in ids(1_000, 2 * period * REMEMBERED + first)])
            assert world.logged("queue_size", ["one too many"]) == []
            world.now += PERIOD
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 20 * 2**20


def test_threads_log_each_pair_once(world: World) -> None:
    with capture_logs() as lines:
        threads = [Thread(target=world.telemetry.invalid, args=("queue_size", ids(LINES))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(line["node_id"] for line in lines) == sorted(ids(LINES))


def test_internal_error_is_counted_and_logged_once_and_a_budget_once_a_minute(world: World) -> None:
    with capture_logs() as lines:
        for _ in range(2):
            try:
                int("never expected")
            except ValueError as error:
                world.telemetry.fault("watch", error)
            world.telemetry.spent("answers", "cut off")
    assert world.value("ginkgo_exporter_internal_errors_total", part="watch") == 2
    assert world.value("ginkgo_exporter_budget_spent_total", budget="answers") == 2
    error_line, budget_line = lines
    assert "never expected" in error_line["error"]
    assert "test_telemetry.py" in error_line["where"], "the place is told"
    assert budget_line["effect"] == "cut off"
