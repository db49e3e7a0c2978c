"""The exporter's own metrics: an invalid value is always counted, an internal error is logged once."""

import platform

from structlog.testing import capture_logs

from exporter import __revision__, __version__
from exporter.telemetry import PARTS, Telemetry


def count(telemetry: Telemetry, field: str) -> float | None:
    return telemetry.registry.get_sample_value("ginkgo_exporter_invalid_values_total", {"field": field})


def test_every_invalid_value_is_counted_though_it_is_logged_once() -> None:
    telemetry = Telemetry()
    with capture_logs() as lines:
        for _ in range(3):
            telemetry.invalid("queue_size", ["a", "b"])
    assert (count(telemetry, "queue_size"), count(telemetry, "cpu_usage")) == (6, 0)
    assert [line["node_id"] for line in lines] == ["a", "b"]


def test_internal_error_is_counted_and_logged_once_however_many_values_are_invalid() -> None:
    telemetry = Telemetry()
    with capture_logs() as lines:
        for _ in range(2):
            try:
                int("never expected")
            except ValueError as error:
                telemetry.fault("probe", error)
            telemetry.invalid("queue_size", [f"node-{number}" for number in range(10_001)])
    assert telemetry.registry.get_sample_value("ginkgo_exporter_internal_errors_total", {"part": "probe"}) == 2
    (line,) = (line for line in lines if line["event"] == "internal error")
    assert "never expected" in line["error"]
    assert "test_telemetry.py" in line["where"], "the place is told"


def test_counters_are_0_rather_than_absent_and_the_process_is_measured() -> None:
    value = Telemetry().registry.get_sample_value
    assert {value("ginkgo_exporter_internal_errors_total", {"part": part}) for part in PARTS} == {0}
    assert value("ginkgo_exporter_invalid_values_total", {"field": "node_id"}) == 0
    version = {"version": __version__, "revision": __revision__, "python_version": platform.python_version()}
    assert value("ginkgo_exporter_build_info", version) == 1
    assert value("process_cpu_seconds_total") is not None
    assert value("python_gc_collections_total", {"generation": "0"}) is not None
