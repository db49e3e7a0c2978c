"""A log entry is one line, whatever text it contains; repeated events are counted and told once a minute."""

import csv
import io
import json
import logging
import platform
from collections.abc import Iterable

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter import __revision__, __version__, logs, telemetry
from exporter.escaping import cell, printable, printable_json
from exporter.logs import LINES, LONGEST, RepeatLimit
from exporter.settings import Log
from exporter.telemetry import PARTS, Telemetry

HOSTILE = "a\x1b[2J\nts=feigned\u202e\x9b"


def test_lines_of_the_exporter_and_of_libraries_are_escaped_and_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("logfmt", "json"):
        logs.configure(Log(level="info", format=form))
        structlog.get_logger("test").warning("dropped", node_id=HOSTILE, long="x" * (LONGEST + 5), where=object)
        logging.getLogger("tornado.general").warning("odd %s", HOSTILE)
        ours, theirs = capsys.readouterr().err.splitlines()
        assert (ours + theirs).isprintable()
        assert ("… (5 characters more)" if form == "logfmt" else r"\u2026 (5 characters more)") in ours
        if form == "json":
            assert json.loads(ours)["node_id"] == printable(HOSTILE)
            assert json.loads(theirs)["level"] == "warning"
        else:
            assert r'node_id="a\\x1b[2J\\nts=feigned\\u202e\\x9b"' in ours  # logfmt escapes a backslash in quotes
            assert "level=warning" in theirs


def test_logger_that_has_logged_before_follows_a_later_configuration() -> None:
    log = structlog.get_logger("tests.once")
    logs.configure(Log())
    log.info("before")
    structlog.reset_defaults()
    with capture_logs() as lines:
        log.info("after")
    assert [line["event"] for line in lines] == ["after"]


def test_repeated_event_is_logged_some_times_a_minute_and_one_line_tells_that_others_are_left_out() -> None:
    now = 0.0
    limit = RepeatLimit(lambda: now)

    def passed(event: object, times: int, level: int = logging.WARNING) -> int:
        record = logging.LogRecord("x", level, "file", 1, event, (), None)
        return sum(limit.filter(record) for _ in range(times))

    with capture_logs() as lines:
        assert passed({"event": "again", "node_id": 1}, 1000) == LINES
        assert passed({"event": "another"}, 3) == 3
        assert passed("Malformed HTTP request from %s", 100) == LINES
        assert passed({"event": "request"}, 1000, logging.DEBUG) == 1000
    assert [line["like"] for line in lines] == ["again", "Malformed HTTP request from %s"]
    now = 60.0
    assert passed({"event": "again"}, 1000) == LINES


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_any_text_is_printable_means_the_same_in_json_and_is_one_harmless_cell(text: str) -> None:
    assert printable(text).isprintable()
    assert printable_json(text).isprintable()
    assert json.loads(printable_json({"id": text})) == {"id": text}
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerow([cell(text), "next"])
    assert output.getvalue().count("\n") == 1
    (row,) = csv.reader(io.StringIO(output.getvalue()))
    assert row == [cell(text), "next"]
    assert not row[0].startswith(("=", "+", "-", "@"))


def test_letters_of_all_scripts_stay_and_control_characters_do_not() -> None:
    assert printable("节点-1 ñ") == cell("节点-1 ñ") == "节点-1 ñ"
    assert printable("a\x1b[31m\r\n\u202e\u200b\x9b") == r"a\x1b[31m\r\n\u202e\u200b\x9b"
    assert [cell(f"{sign}1+1") for sign in "=+-@"] == [f"'{sign}1+1" for sign in "=+-@"]


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
    assert "test_logs.py" in error_line["where"], "the place is told"
    assert budget_line["effect"] == "cut off"
