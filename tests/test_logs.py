"""A log entry is one line, whatever text it contains."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from exporter import logs
from exporter.settings import Log

HOSTILE = "a\x1b[2J\nts=feigned\u202e\x9b"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_logfmt_escapes_control_characters_of_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(level="info", format="logfmt"))
    structlog.get_logger("test").warning("invalid value dropped", node_id=HOSTILE)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert r'node_id="a\\x1b[2J\\nts=feigned\\u202e\\x9b"' in line  # logfmt escapes a backslash in quotes


def test_json_escapes_control_characters_and_keeps_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(level="info", format="json"))
    structlog.get_logger("test").warning("invalid value dropped", node_id=HOSTILE, where=object)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert json.loads(line)["node_id"] == HOSTILE


def test_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(level="info", format="logfmt"))
    logging.getLogger("tornado.general").warning("odd %s", HOSTILE)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "level=warning" in line


def test_logger_that_has_logged_before_follows_a_later_configuration() -> None:
    log = structlog.get_logger("tests.once")
    logs.configure(Log(level="info", format="logfmt"))
    log.info("before")
    structlog.reset_defaults()
    with capture_logs() as lines:
        log.info("after")
    assert [line["event"] for line in lines] == ["after"]
