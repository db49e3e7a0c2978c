"""A log entry is one line, whatever text it contains; repeated events are counted and told once a minute."""

import json
import logging

import pytest
import structlog
from structlog.testing import capture_logs

from exporter import logs
from exporter.escaping import printable
from exporter.logs import LINES, LONGEST, RepeatLimit
from exporter.settings import Log

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
