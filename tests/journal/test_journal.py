"""The journal: memory, file, what a restart knows, and what stops nothing."""

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.journal.event import Event, EventKind, Query, headline
from exporter.journal.file import JournalFile, read_back
from exporter.journal.journal import MOST_BYTES, Journal
from exporter.liveness import Judge, Leftovers, State
from exporter.liveness.judge import WORK_MOVED
from exporter.portfolios.ledger import NodeReport
from exporter.settings import Nodes, Settings
from exporter.telemetry import Telemetry
from journal_events import T0, told
from lab.nodes import ALIVE, CRASHED, GONE, reading_of
from lab.servers import wait_for
from portfolio_example import SINCE, account_of

Start = Callable[..., Journal]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Print no log line for each of many thousand events."""
    with capture_logs():
        yield


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Start journals on the same file; all end with the test."""
    journals: list[Journal] = []

    def start(max_size: int = 1 << 20, **clocks: Callable[[], float]) -> Journal:
        journals.append(Journal(JournalFile(path, max_size), Telemetry(), **clocks))
        journals[-1].start()
        return journals[-1]

    yield start
    for journal in journals:
        journal.close()


def lines(path: Path) -> list[str]:
    """Return the new states of all events in a file."""
    values = [json.loads(line) for line in path.read_bytes().splitlines() if line] if path.is_file() else []
    return [value["to"] for value in values if "to" in value]


def metric(journal: Journal, name: str, **labels: str) -> float:
    return journal._telemetry.registry.get_sample_value(name, labels) or 0


def begin(journal: Journal) -> None:
    journal.note(EventKind.EXPORTER, EventKind.EXPORTER, None, "started")


def die(journal: Journal, *nodes: str, loss: str | None = None) -> None:
    """Tell a journal that nodes went offline."""
    own = {"offline_since": T0, "deadline": T0, "heartbeat": "x"}
    common = {"because": "no heartbeat came in time"} | ({"loss": loss, "loss_first": T0 - 1} if loss else {})
    journal.add(EventKind.NODE, "online", "offline", dict.fromkeys(nodes, own), common)


def test_event_is_there_at_once_counted_by_kind_and_has_the_time_of_the_look() -> None:
    journal = Journal(None, Telemetry(), wall=lambda: 5000.0, monotonic=lambda: 100.0)
    journal.note(EventKind.REDIS, "redis", None, "answers", role="master")
    journal.add(EventKind.NODE, None, "online", {"n": {}}, {}, at=40.0)
    later, first = journal.page(Query(), 10)[0]
    assert (first.subjects, first.after, first.evidence) == (("redis",), "answers", {"role": "master"})
    assert (first.time, later.time) == (5000, 4940)
    assert later.id > first.id, "ids rise whatever the clock does"
    counted = [kind for kind in EventKind if metric(journal, "ginkgo_journal_events_total", kind=kind) == 1]
    assert counted == [EventKind.NODE, EventKind.REDIS]


def test_memory_is_bounded_in_events_and_bytes_and_holds_no_event_objects() -> None:
    journal = Journal(None, Telemetry())
    for number in range(10_050):
        journal.note(EventKind.NODE, f"n{number}", None, "online")
    gc.collect()
    assert sum(isinstance(each, Event) for each in gc.get_objects()) < 100
    assert len(told(journal, 20_000)) == 10_000
    for number in range(40):
        journal.note(EventKind.NODE, f"n{number}", None, "online", text="x" * (MOST_BYTES // 20))
    assert sum(map(len, journal._lines)) == journal._bytes <= MOST_BYTES
    assert told(journal)[-1] == (("n39",), "online")


def test_restart_knows_all_nodes_however_long_the_journal_is(start: Start, path: Path) -> None:
    first = start(200_000)
    die(first, "old", "bé", loss="old")
    die(first, "back")
    first.note(EventKind.NODE, "back", "offline", "online")
    first.note(EventKind.NODE, "stopped", "online", "gone")
    for number in range(30_000):
        first.note(EventKind.PUSH, f"am{number % 7}", None, "active")
        if number % 1000 == 0:
            wait_for(lambda: first._written == first._end, "for the file")
    first.close()
    assert not any(b'"subjects":["old"' in part.read_bytes() for part in path.parent.glob("journal.jsonl*"))
    second = start(200_000)
    gc.collect()
    assert sum(isinstance(each, Event) for each in gc.get_objects()) < 100
    ids = [event.id for event in second.page(Query(), 10_000)[0]]
    assert ids == sorted(ids, reverse=True)
    known = {change.name: change for change in second.earlier_changes()}
    assert {name: str(change.after) for name, change in known.items()} == {
        b"old": "offline",
        "bé".encode(): "offline",
        b"back": "online",
    }
    assert known[b"old"].loss == known["bé".encode()].loss
    assert known[b"old"].exact


def test_restart_knows_one_loss_though_the_clocks_drifted_and_no_node_that_the_first_ledger_decides_on(
    start: Start,
) -> None:
    first = start()
    die(first, "a", loss="a")
    own = {"offline_since": T0 + 9, "loss": "a", "loss_first": T0 - 0.999}
    first.add(EventKind.NODE, "online", "offline", {"b": own}, {})
    first.note(EventKind.NODE, "old", None, "undecided")
    first.close()
    known = {change.name: change.loss for change in start().earlier_changes()}
    assert known.keys() == {b"a", b"b"}
    assert known[b"a"] == known[b"b"]


def test_drops_are_told_when_they_begin_and_end_and_change_no_state() -> None:
    journal = Journal(None, Telemetry())
    journal.note(EventKind.NODE, "a", None, "online")
    for dropping in ("a", "a", ""):
        journal.see_drops(frozenset(dropping))
    told = [headline(event) for event in reversed(journal.page(Query(), 9)[0])]
    assert told[1:] == [
        "Node a is dropping events.",
        "Node a is no longer dropping events.",
    ]
    assert [known[1] for known in journal.record.nodes.values()] == ["online"]


def test_nodes_whose_work_has_moved_are_one_event_and_one_line() -> None:
    journal = Journal(None, Telemetry())
    judge = Judge(Settings())
    old = {b"a": CRASHED, b"b": CRASHED}
    for now in (1000.0, 1001.0):
        judge.look(reading_of(old, now))
    judge.let_go(Leftovers(rehomed=frozenset(old)), 1001.0)
    with capture_logs() as logs:
        journal.see(*judge.take())
    (event,) = journal.page(Query(), 1)[0]
    assert (event.subjects, event.after, event.evidence["because"]) == (("a", "b"), "forgotten", WORK_MOVED)
    (line,) = [line for line in logs if line["because"] == WORK_MOVED]
    assert line["event"] == "Nodes a, b are forgotten; they were undecided before"


def test_event_of_many_portfolios_names_all_with_evidence_on_the_first_and_a_restart_knows_since_when(
    start: Start,
) -> None:
    first, many = start(), [b"p%04d" % number for number in range(1001)]
    first.see_read(account_of(dict.fromkeys(many, b"a"), [NodeReport(b"a", State.ONLINE, ())]))
    (event,) = first.page(Query(), 10)[0]
    common = {"reason": "undelivered", "since": SINCE}
    assert [*map(event.evidence_of, event.subjects[-2:])] == [common | {"planned_node": "a"}, common]
    first.close()
    assert start().record.faults() == dict.fromkeys(map(bytes.decode, many), ("untraded", SINCE))


def test_restart_with_a_clock_that_was_ahead_knows_nothing_of_the_future(start: Start) -> None:
    first = start()
    die(first, "a", loss="a")
    first.note(EventKind.PORTFOLIO, "p", None, "untraded", since=T0)
    first.note(EventKind.PORTFOLIO, "p", "untraded", "unknown", since=None)
    first.close()
    second = start(wall=lambda: T0 - 3600, monotonic=lambda: 50.0)
    (dead,) = second.earlier_changes()
    assert (dead.at, dead.died, dead.loss and dead.loss.first) == (50, 50, 50)
    assert second.record.faults() == {"p": ("untraded", T0)}, (
        "an unknown state ends no fault; the ledger bounds its time"
    )


def test_three_files_are_kept_each_with_a_checkpoint(start: Start, path: Path) -> None:
    journal = start(2000)
    for number in range(60):
        journal.note(EventKind.NODE, "n", None, f"{number}")
        wait_for(lambda: journal._written == journal._end, "for the file")
    assert {each.name.removeprefix(path.name) for each in path.parent.iterdir()} == {"", ".1", ".2", ".lock"}
    assert all(
        b'{"checkpoint":' in part.read_bytes() for part in path.parent.glob("journal.jsonl*") if part.stat().st_size
    )
    seen = [event.after for event in read_back(path)[0]]
    assert seen == [f"{number}" for number in range(60 - len(seen), 60)]
    assert len(seen) > 10
    path.unlink()
    journal.note(EventKind.NODE, "n", None, "new file")
    wait_for(lambda: lines(path) == ["new file"], "for the new file")


def test_second_exporter_runs_without_the_file_and_says_so(start: Start, path: Path) -> None:
    first = start()
    begin(first)
    wait_for(lambda: lines(path), "for the file")
    with capture_logs() as logs:
        second = start()
        begin(second)
        wait_for(lambda: second.problem, "for the problem")
    assert "another process writes it" in second.problem
    assert metric(second, "ginkgo_journal_write_errors_total") == 1
    assert [entry["error"] for entry in logs if entry["log_level"] == "error"] == [f"{path}: another process writes it"]
    assert told(second)[-1] == (("exporter",), "started")
    assert lines(path) == ["started"]


def test_journal_that_cannot_be_written_is_written_when_it_can_and_says_what_was_lost(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.journal.journal.TRY_AGAIN", 0.01)
    path.mkdir()
    with capture_logs() as logs:
        journal = start(1 << 24)
        die(journal, "dead")
        wait_for(lambda: journal.problem.startswith(str(path)), "for the problem")
        for number in range(10_002):
            journal.note(EventKind.NODE, "n", None, f"{number}")
        name = "ginkgo_journal_write_errors_total"
        tries = metric(journal, name)
        wait_for(lambda: metric(journal, name) > tries + 1, "for a try that began after the last event")
        path.rmdir()
        wait_for(lambda: path.is_file() and not journal.problem, "for the file")
        wait_for(lambda: lines(path)[-1] == "lost events", "for the event")
    assert lines(path)[:2] == ["2", "3"]
    assert journal.page(Query(), 1)[0][0].evidence == {"lost_events": 3}
    said = [entry["event"] for entry in logs if entry["log_level"] in ("error", "info")]
    assert said == [
        "the journal is not written: the exporter runs without its file",
        "the journal is written again",
    ]
    assert "dead" in read_back(path)[1].nodes, "what is known is not lost with them"


def test_line_that_cannot_be_written_whole_leaves_no_part(path: Path) -> None:
    file, limits = JournalFile(path, 1 << 20), resource.getrlimit(resource.RLIMIT_FSIZE)
    file.append(b'{"a":1}\n', lambda: b"{}\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (14, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.append(b'{"b":2}\n', lambda: b"{}\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b'{"a":1}\n{}\n'
    file.close()


def test_lines_that_cannot_be_read_are_counted_and_said_once(path: Path, start: Start) -> None:
    path.write_text('nonsense\n{}\n{"checkpoint":1}\n{"checkpoint":{"node":{"a":[1,"offline"]}}}\n[')
    with capture_logs() as logs:
        journal = start()
        begin(journal)
        wait_for(lambda: path.read_bytes().count(b"\n") == 6, "for a line of its own")
    assert metric(journal, "ginkgo_journal_write_errors_total") == 5
    assert [entry["lines"] for entry in logs if "lines" in entry] == [5]


WRITER = """
import sys, time
from pathlib import Path
from exporter.journal.event import EACH, EventKind
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.telemetry import Telemetry
journal = Journal(JournalFile(Path(sys.argv[1]), 20_000), Telemetry())
journal.start()
number = 0
while True:
    number += 1
    journal.note(EventKind.NODE, "n", None, str(number))
    print(number, time.time(), file=sys.stderr, flush=True)
    time.sleep(0.001)
"""


def test_kill_loses_at_most_the_last_tenth_of_a_second_and_leaves_a_readable_file(path: Path) -> None:
    said: list[tuple[int, float]] = []
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        while len(said) < 500:
            number, at = process.stderr.readline().split()
            said.append((int(number), float(at)))
        process.kill()
        killed = time.time()
    events, _, unreadable = read_back(path)
    numbers = [int(event.after) for event in events]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert [number for number, at in said if at < killed - 0.5 and number > numbers[-1]] == []
    assert unreadable <= 1


def test_restart_tells_what_changed_while_no_exporter_ran_and_nothing_else(start: Start) -> None:
    first = start()
    first.add(EventKind.NODE, None, "online", {"same": {}, "died": {}, "left": {}}, {})
    die(first, "back", "left later")
    first.close()
    second = start()
    judge = Judge(Settings(nodes=Nodes(forget_after=10.0)), second.earlier_changes())
    keys = {b"same": ALIVE, b"back": ALIVE, b"died": CRASHED}
    for now in (1000.0, 1001.0, 1041.0):
        judge.look(reading_of(dict.fromkeys(judge.names(), GONE) | keys, now))
        second.see(*judge.take())
    events = second.page(Query(kinds=frozenset([EventKind.NODE])), 10)[0]
    assert sorted((event.subjects, event.before, event.after) for event in events[:-2]) == [
        (("back",), "offline", "online"),
        (("died",), "online", "undecided"),
        (("died",), "undecided", "offline"),
        (("left",), "online", "gone"),
        (("left later",), "offline", "gone"),
    ]
    assert {name: state for name, (_, state, _) in second.record.nodes.items()} == {
        "same": "online",
        "back": "online",
        "died": "offline",
    }
