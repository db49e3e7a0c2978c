"""The journal: telling, collecting, writing, and what stops nothing."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.journal.memory import Query
from exporter.telemetry import Telemetry
from journal_events import told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def started(path: Path) -> Iterator[Callable[[], Journal]]:
    journals: list[Journal] = []

    def start() -> Journal:
        journals.append(Journal(JournalFile(path, 1 << 20), Telemetry()))
        journals[-1].start()
        return journals[-1]

    yield start
    for journal in journals:
        journal.close()


def eventually(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def lines(path: Path) -> list[str]:
    return [json.loads(line)["to"] for line in path.read_bytes().splitlines()] if path.exists() else []


def errors(journal: Journal) -> float:
    return journal._telemetry.registry.get_sample_value("ginkgo_journal_write_errors_total") or 0


def test_event_is_there_as_soon_as_somebody_asks() -> None:
    journal = Journal(None, Telemetry())
    journal.note(EventKind.REDIS, "redis", None, "answers", role="master")
    (event,) = journal.page(Query(), 10).events
    assert (event.subjects, event.after, event.evidence) == (("redis",), "answers", {"role": "master"})
    assert abs(event.time - time.time()) < 60


def test_events_are_counted_by_kind() -> None:
    telemetry = Telemetry()
    journal = Journal(None, telemetry)
    journal.note(EventKind.REDIS, "redis", None, "answers")
    journal.page(Query(), 10)
    value = telemetry.registry.get_sample_value
    assert value("ginkgo_journal_events_total", {"kind": "redis"}) == 1
    assert {value("ginkgo_journal_events_total", {"kind": kind}) for kind in set(EventKind) - {EventKind.REDIS}} == {0}


def test_time_is_that_of_the_look_and_not_that_of_the_telling() -> None:
    journal = Journal(None, Telemetry(), wall=lambda: 5000.0, monotonic=lambda: 100.0)
    journal.tell(lambda: [Entry(40.0, EventKind.NODE, "n", None, "online")])
    assert journal.page(Query(), 1).events[0].time == 4940


def test_changes_that_nobody_asks_for_do_not_pile_up() -> None:
    journal = Journal(None, Telemetry())
    for number in range(5000):
        journal.note(EventKind.NODE, f"n{number}", None, "online")
    assert len(journal._told) <= 1000


def test_events_are_written_and_read_back_in_order(started: Callable[[], Journal], path: Path) -> None:
    first = started()
    first.note(EventKind.EXPORTER, "exporter", None, "started")
    first.note(EventKind.EXPORTER, "exporter", "started", "stopped")
    first.close()
    second = started()
    assert [event.after for event in second.earlier] == ["started", "stopped"]
    second.note(EventKind.EXPORTER, "exporter", "stopped", "started")
    assert [after for _, after in told(second)] == ["started", "stopped", "started"]
    ids = [event.id for event in second.page(Query(), 10).events]
    assert ids == sorted(ids, reverse=True)
    eventually(lambda: len(lines(path)) == 3)


def test_burst_is_one_event(started: Callable[[], Journal], path: Path) -> None:
    journal = started()
    names = [f"node-{number:05}" for number in range(10_000)]
    for start in range(0, 10_000, 500):
        some = names[start : start + 500]
        at = journal.now()
        journal.tell(lambda some=some, at=at: [Entry(at, EventKind.NODE, name, "online", "offline") for name in some])
    assert journal.page(Query(subjects=frozenset({names[-1]})), 1).events
    eventually(lambda: len(lines(path)) > 0)
    assert sum(len(event.subjects) for event in journal.page(Query(), 100).events) == 10_000
    assert len(journal.page(Query(), 100).events) <= 3


def test_second_exporter_runs_without_the_file_and_says_so(started: Callable[[], Journal], path: Path) -> None:
    first = started()
    first.note(EventKind.EXPORTER, "exporter", None, "started")
    eventually(lambda: lines(path))
    with capture_logs() as logs:
        second = started()
        second.note(EventKind.EXPORTER, "exporter", None, "started")
        eventually(lambda: second.problem)
    assert "another process writes it" in second.problem
    assert errors(second) == 1
    assert [entry["error"] for entry in logs if entry["log_level"] == "error"] == ["another process writes it"]
    assert told(second)[-1] == (("exporter",), "started")
    assert lines(path) == ["started"]


def test_journal_that_cannot_be_written_is_written_when_it_can(
    started: Callable[[], Journal], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.journal.journal.TRY_AGAIN", 0.01)
    path.mkdir()
    with capture_logs() as logs:
        journal = started()
        for number in range(3):
            journal.note(EventKind.NODE, "n", None, f"{number}")
            eventually(lambda number=number: errors(journal) > number)
        assert journal.problem.startswith(str(path))
        path.rmdir()
        eventually(lambda: path.is_file() and lines(path) == ["0", "1", "2"])
        eventually(lambda: not journal.problem)
    said = [entry["event"] for entry in logs if entry["log_level"] in ("error", "info")]
    assert said == [
        "the journal is not written: the exporter runs without its file",
        "the journal is written again",
    ]


def test_lines_that_cannot_be_read_are_counted_and_said_once(path: Path, started: Callable[[], Journal]) -> None:
    path.write_text("nonsense\n{}\n")
    with capture_logs() as logs:
        journal = started()
    assert errors(journal) == 2
    assert [entry["lines"] for entry in logs] == [2]


def test_waiting_events_are_bounded(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr("exporter.journal.journal.MOST_WAITING", 1000)
    path.mkdir()
    journal = Journal(JournalFile(path, 1 << 20), Telemetry())
    for number in range(100):
        journal.note(EventKind.NODE, f"n{number}", None, "online")
        journal.page(Query(), 1)
    assert journal._waiting_bytes <= 1000
    assert journal._waiting_bytes == sum(map(len, journal._waiting))


def test_error_in_a_change_costs_only_itself(started: Callable[[], Journal], path: Path) -> None:
    journal = started()
    journal.tell(lambda: [1 / 0])  # type: ignore[list-item]
    eventually(
        lambda: journal._telemetry.registry.get_sample_value(
            "ginkgo_exporter_internal_errors_total", {"part": "journal"}
        )
    )
    journal.note(EventKind.NODE, "n", None, "online")
    eventually(lambda: lines(path) == ["online"])


WRITER = """
import sys, time
from pathlib import Path
from exporter.journal.event import EventKind
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.telemetry import Telemetry
journal = Journal(JournalFile(Path(sys.argv[1]), 20_000), Telemetry())
journal.start()
number = 0
while True:
    number += 1
    journal.note(EventKind.NODE, "n", None, str(number))
    print(number, time.time(), flush=True)
    time.sleep(0.001)
"""


def test_kill_loses_at_most_the_last_second_and_leaves_a_readable_file(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, path]
    said: list[tuple[int, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while len(said) < 800 or said[-1][1] - said[0][1] < 2:
            number, at = process.stdout.readline().split()
            said.append((int(number), float(at)))
        process.kill()
        killed = time.time()
    journal = Journal(JournalFile(path, 20_000), Telemetry())
    numbers = [int(event.after) for event in journal.earlier]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    late = [number for number, at in said if at < killed - 1 and number > numbers[-1]]
    assert late == []
    assert errors(journal) <= 1
