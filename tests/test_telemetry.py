"""The exporter's own metrics: an invalid value is always counted, and logged once for each node and field."""

import platform
from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from exporter import __revision__, __version__, telemetry
from exporter.logs import LINES
from exporter.telemetry import PARTS, Telemetry


class World:
    """A telemetry with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.telemetry = Telemetry(lambda: self.now)

    def logged(self, field: str, node_ids: Iterable[str]) -> list[object]:
        """Return what the log says of invalid values: the node of each line."""
        with capture_logs() as lines:
            self.telemetry.invalid(field, list(node_ids))
        return [line["node_id"] for line in lines]

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
    many = ids(LINES + 7)
    assert [world.logged("status", many) for _ in range(3)] == [many[:LINES], many[LINES:], []]


def test_memory_is_bounded_and_what_does_not_fit_is_never_logged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "REMEMBERED", 3)
    assert world.logged("queue_size", ids(5)) == ids(3)
    assert world.logged("queue_size", ids(5)) == []


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
