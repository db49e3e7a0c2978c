"""The page's section on what changed last."""

from pathlib import Path

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.settings import load
from exporter.telemetry import Telemetry
from exporter.web import page
from exporter.web.event_section import event_section
from fleets import snapshot_of
from journal_events import T0
from lab.servers import wait_for

HOSTILE = "n'\"`$(x)\n\x1b[2J<script>alert(1)</script>"


def journal_of(*entries: Entry) -> Journal:
    journal = Journal(None, Telemetry(), lambda: T0, lambda: 0.0)
    for entry in entries:
        journal.tell(lambda entry=entry: [entry])
    return journal


def died(name: str, at: float = 0.0) -> Entry:
    evidence = {"because": "its heartbeat ended", "hash": True}
    return Entry(at, EventKind.NODE, name, "online", "offline", evidence, {"heartbeat": name})


def test_change_has_its_evidence_on_a_click() -> None:
    section = event_section(journal_of(died("n1"))).decode()
    assert '<h2 id="events-title">Recent changes</h2>' in section
    assert "<summary><time>2026-01-06 12:30:45 UTC</time> Node n1 is offline.</summary>" in section
    assert "<li>The reason: its heartbeat ended.</li>" in section


def test_newest_changes_come_first_and_older_ones_are_elsewhere() -> None:
    section = event_section(journal_of(*(died(f"n{number}", 2.0 * number) for number in range(30)))).decode()
    assert section.index("Node n29 ") < section.index("Node n28 ")
    assert "Node n9 " not in section
    assert "Older ones" in section


def test_section_without_changes_says_so() -> None:
    assert "Nothing has changed" in event_section(journal_of()).decode()


def test_burst_is_a_number_and_the_first_names() -> None:
    section = event_section(journal_of(*(died(f"n{number}") for number in range(100)))).decode()
    assert "100 nodes (n0, n1, n2 and 97 more) are offline." in section


def test_hostile_names_are_text() -> None:
    section = event_section(journal_of(died(HOSTILE))).decode()
    assert "<script" not in section
    assert "\x1b" not in section
    assert "&lt;script&gt;" in section


def test_journal_that_is_not_written_is_said_on_the_page(tmp_path: Path) -> None:
    journal = Journal(JournalFile(tmp_path, 1000), Telemetry())
    journal.start()
    journal.note(EventKind.EXPORTER, "exporter", None, "started")
    wait_for(lambda: journal.problem)
    assert "The journal is not written: " in event_section(journal).decode()
    journal.close()


def test_page_holds_the_section() -> None:
    section = event_section(journal_of(died("n1")))
    body = page.render(snapshot_of({}), load({}), None, events=section).decode()
    assert section.decode() in body
    assert '<section id="events" aria-labelledby="events-title" hidden>' in page.render(None, load({}), None).decode()
