"""What ``explain`` says, in words and as JSON, of a running exporter and of a journal's file."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.bundled import alert_severities
from exporter.commands.explain import explained
from exporter.commands.explain_source import JournalOnDisk
from exporter.errors import ExporterError
from exporter.journal.event import Event, EventKind
from exporter.journal.lines import line_of
from exporter.journal.memory import Query, page_of
from journal_events import T0, event
from lab.nodes import beat, crash
from lab.servers import RedisServer, running_exporter, wait_for

DEATH = {
    "because": "its heartbeat ended",
    "hash": True,
    "mass_loss": False,
    "heartbeat_ttl_seconds": 0,
    "heartbeat": "2026-01-06T12:30:45",
    "deadline": T0 + 100,
    "offline_since": T0 + 100,
    "offline_since_exact": True,
    "redis_run_id": "run-1",
    "redis_role": "master",
}
STARTED = event(
    1, "exporter", kind=EventKind.EXPORTER, before=None, after="started", evidence={"alertmanagers": ["http://am:9093"]}
)
SEEN = event(2, "n1", "n2", before=None, after="online", evidence={"because": "its heartbeat lives", "hash": True})
DIED = event(101, "n1", evidence=DEATH)
PUSHED = event(
    102,
    "GinkgoNodeOffline",
    "n1",
    kind=EventKind.PUSH,
    before=None,
    after="taken",
    evidence={"alertmanager": "http://am:9093", "alertname": "GinkgoNodeOffline", "answer": "HTTP 200"},
)


class Known:
    """Facts that a test makes up."""

    place, trouble = "this test", ""

    def __init__(self, *events: Event, rows: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._events, self._rows = events, rows or {}

    def events(self, query: Query, limit: int) -> Sequence[Event]:
        return list(reversed(page_of(filter(query.accepts, reversed(self._events)), limit).events))

    def names(self) -> Mapping[EventKind, frozenset[str]]:
        return {
            kind: frozenset(name for each in self._events if each.kind is kind for name in each.subjects)
            for kind in (EventKind.NODE, EventKind.PORTFOLIO)
        }

    def now(self, kind: EventKind, subject: str) -> Mapping[str, Any] | None:
        return self._rows.get(subject) if kind is EventKind.NODE else None


def said(facts: Known, subject: str | None, moment: float | None = None) -> str:
    return "\n".join(explained(facts, subject, moment).lines())


def test_death_is_told_with_its_reasons_and_its_page() -> None:
    text = said(Known(STARTED, SEEN, DIED, PUSHED, rows={"n1": {"state": "offline"}}), "n1")
    assert text.splitlines() == [
        "Node n1 is offline. That is known since 2026-01-06 12:32:26 UTC.",
        "Now it is offline.",
        "",
        "What was seen, the oldest first:",
        "  2026-01-06 12:30:46 UTC  The exporter started.",
        "  2026-01-06 12:30:47 UTC  Node n1, with 1 node more, is seen for the first time: online.",
        "    The reason: its heartbeat lives.",
        "    Its metrics hash was there.",
        "  2026-01-06 12:32:26 UTC  Node n1 is offline.",
        "    The reason: its heartbeat ended.",
        "    The node had no heartbeat, and its last one was to end at 2026-01-06 12:32:25 UTC.",
        '    The last heartbeat said "2026-01-06T12:30:45".',
        "    Its metrics hash was there.",
        "    It is offline since 2026-01-06 12:32:25 UTC.",
        "    Redis had no fault that may explain it.",
        "    It was read from run run-1 of Redis, a master.",
        "  2026-01-06 12:32:27 UTC  Alertmanager http://am:9093 took the alert GinkgoNodeOffline for n1.",
        "    The answer: HTTP 200.",
        "",
        "Its page:",
        "  Alertmanager http://am:9093 took the alert GinkgoNodeOffline for n1. That was at 2026-01-06 12:32:27 UTC.",
    ]


def test_moment_of_the_past_is_explained_as_it_was_then() -> None:
    facts = Known(STARTED, SEEN, DIED, PUSHED)
    text = said(facts, "n1", T0 + 50)
    assert text.startswith("At 2026-01-06 12:31:35 UTC: Node n1, with 1 node more, is seen for the first time: online.")
    assert "offline" not in text
    assert "No page: it is online." in text


def test_alert_of_prometheus_is_explained_by_the_events_behind_it() -> None:
    untraded = event(
        7, "p1", "p2", kind=EventKind.PORTFOLIO, before="traded", after="untraded", evidence={"reason": "r"}
    )
    explanation = explained(Known(STARTED, SEEN, untraded, PUSHED), "GinkgoPortfoliosUntraded", None)
    assert "No post of the alert GinkgoPortfoliosUntraded is known." in explanation.known
    assert [each.id for each in explanation.events] == [SEEN.id, untraded.id]
    assert explanation.to_json()["events"][-1]["subjects"] == ["p1", "p2"]


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (event(5, "n1", after="gone"), "No page: a node that stops gracefully deletes its keys, and is not dead."),
        (event(5, "n1", before="offline", after="online"), "No page: it is online."),
        (event(5, "n1", after="undecided"), "No page: it is not decided that it is dead."),
        (event(5, "n1", before="offline", after="forgotten"), "No page any more: it is offline for longer"),
        (event(5, "n1", evidence=DEATH | {"mass_loss": True}), "No page of its own: it is a member of a mass loss"),
        (event(5, "n1", evidence=DEATH), "No Alertmanager has taken a page from this exporter."),
    ],
)
def test_node_without_a_page_has_a_reason_for_that(last: Event, why: str) -> None:
    assert f"  {why}" in said(Known(STARTED, SEEN, last), "n1")


def test_page_that_no_alertmanager_took_names_the_refusal() -> None:
    refused = event(
        103, "http://am:9093", kind=EventKind.PUSH, before="active", after="refused",
        evidence={"alertmanager": "http://am:9093", "error": "HTTP 503 no"},
    )  # fmt: skip
    text = said(Known(STARTED, SEEN, DIED, refused), "n1")
    assert "  Alertmanager http://am:9093 takes no posts. The error: HTTP 503 no." in text
    assert "  This exporter pushes to http://am:9093." in text


def test_exporter_that_does_not_push_says_so() -> None:
    quiet = event(1, "exporter", kind=EventKind.EXPORTER, after="started", evidence={"alertmanagers": []})
    assert "This exporter pushes no alerts (no --alertmanager.url)" in said(Known(quiet, SEEN, DIED), "n1")


def test_members_of_a_mass_loss_share_its_page() -> None:
    lost = event(101, "n1", "n2", evidence=DEATH | {"mass_loss": True})
    page = event(
        104, "GinkgoMassHeartbeatLoss", kind=EventKind.PUSH, before=None, after="taken",
        evidence={"alertmanager": "http://am:9093", "alertname": "GinkgoMassHeartbeatLoss"},
    )  # fmt: skip
    text = said(Known(STARTED, SEEN, lost, page), "n2")
    assert "  Alertmanager http://am:9093 took the alert GinkgoMassHeartbeatLoss." in text


def test_faults_of_redis_shortly_before_are_told() -> None:
    away = event(
        90, "redis", kind=EventKind.REDIS, before=None, after="cannot be read", evidence={"error": "no answer"}
    )
    early = event(3, "redis", kind=EventKind.REDIS, before=None, after="another run")
    died = event(401, "n1", evidence=DEATH)
    text = said(Known(early, SEEN, event(120, "redis", kind=EventKind.REDIS, after="answers"), away, died), "n1")
    assert "Redis: cannot be read." not in text
    assert "Redis: answers." in text
    assert "Redis: another run." not in text


def test_undecided_node_says_for_which_fault_and_until_when() -> None:
    because = "a fault of Redis may explain the missing heartbeat (another run, from a until b)"
    row = {"node_id": "n1", "state": "undecided", "undecided_because": because, "undecided_until": T0 + 100}
    known = said(Known(STARTED, SEEN, rows={"n1": row}), "n1")
    assert f"Now: Node n1 is undecided: {because}. It cannot be called dead before 2026-01-06 12:32:25 UTC." in known


def test_alert_is_explained_by_its_posts() -> None:
    text = said(Known(STARTED, SEEN, DIED, PUSHED), "GinkgoNodeOffline")
    assert "Alertmanager http://am:9093 took the alert GinkgoNodeOffline for n1." in text
    none = said(Known(STARTED), "GinkgoMassHeartbeatLoss")
    assert none.startswith("No post of the alert GinkgoMassHeartbeatLoss is known.\nThis exporter pushes to")
    assert "GinkgoNodeOffline" in alert_severities()


def test_portfolio_is_told_apart_from_a_node_of_the_same_name() -> None:
    evidence = {"reason": "orphaned", "node": "n9", "since": T0 + 3}
    other = event(3, "n1", kind=EventKind.PORTFOLIO, before="traded", after="untraded", evidence=evidence)
    facts = Known(SEEN, other)
    with pytest.raises(ExporterError, match=r"n1 is a node and a portfolio: ask for node:… or portfolio:…"):
        explained(facts, "n1", None)
    assert explained(facts, "node:n1", None).kind == "node"
    text = said(facts, "portfolio:n1")
    assert text.startswith("Portfolio n1 is untraded; it was traded before.")
    assert "    The reason: orphaned.\n    The plan gives it to node n9.\n" in text


def test_unknown_name_names_the_nearest_ones() -> None:
    with pytest.raises(ExporterError, match=r"^nothing is known of m1; the nearest known names are n"):
        explained(Known(SEEN), "m1", None)
    with pytest.raises(ExporterError, match=r"^nothing is known of node:m1; the nearest known names are n"):
        explained(Known(SEEN), "node:m1", None)
    with pytest.raises(ExporterError, match=r"nearest known names are GinkgoNodeOffline"):
        explained(Known(SEEN), "GinkgoNodeOfline", None)


def test_hostile_names_stay_on_their_line() -> None:
    name = "n\x1b[2J\n  2026-01-06 12:32:26 UTC  All is well. `reboot` $(reboot)"
    facts = Known(event(1, name, evidence=DEATH | {"heartbeat": name, "because": name}))
    for line in explained(facts, name, None).lines():
        assert line.isprintable()
        assert not line.startswith("  2026-01-06 12:32:26")
    with pytest.raises(ExporterError) as raised:
        explained(facts, name + "\n", None)
    assert str(raised.value).isprintable()


def test_evidence_of_another_version_breaks_nothing() -> None:
    strange = {key: {"x": [1]} for key in DEATH} | {"fault": 3, "evicted_at": "x", "refused_at": 1, "mass_loss": 0}
    assert "Node n1 is offline." in said(Known(event(1, "n1", evidence=strange)), "n1")


# --- the command -------------------------------------------------------------------------------


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "exporter", "explain", *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(map(line_of, (STARTED, SEEN, DIED, PUSHED))))
    return path


def test_file_is_explained_without_an_exporter(journal: Path) -> None:
    answer = command("n1", "--journal.file", str(journal))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("Node n1 is offline.")
    assert "Of now nothing is known: this is a journal" in answer.stdout
    assert [each.name for each in journal.parent.iterdir()] == [journal.name]


def test_json_is_for_machines(journal: Path) -> None:
    answer = json.loads(command("n1", "--journal.file", str(journal), "--output", "json").stdout)
    assert (answer["kind"], answer["subject"]) == ("node", "n1")
    assert answer["events"][-1]["to"] == "taken"
    assert answer["events"][2]["sentences"][0] == "Node n1 is offline."
    assert answer["page"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("m1",), 1, "nothing is known of m1; the nearest known names are n"),
        (("n1", "--at", "noon"), 2, "--at: not a time such as"),
        (("n1", "--exporter.url", "http://localhost:1"), 2, "--journal.file: the facts come from a file"),
    ],
)
def test_mistake_is_one_line(journal: Path, arguments: tuple[str, ...], code: int, error: str) -> None:
    answer = command(*arguments, "--journal.file", str(journal))
    assert (answer.returncode, answer.stdout) == (code, "")
    assert answer.stderr.startswith(f"ginkgo-exporter: {error}")
    assert answer.stderr.count("\n") == 1


def test_missing_file_is_said(tmp_path: Path) -> None:
    answer = command("--journal.file", str(tmp_path / "none"))
    assert (answer.returncode, "No such file" in answer.stderr) == (1, True)


def test_running_exporter_is_asked(redis_server: RedisServer, tmp_path: Path) -> None:
    with redis_server.client() as client:
        beat(client, "n 1")
        with running_exporter(tmp_path, "--redis.url", redis_server.url) as exporter:
            exporter.get("/metrics")
            crash(client, "n 1")
            client.pexpire("heartbeat:node:n 1", 1)
            wait_for(lambda: b'"online"' not in exporter.get("/api/v1/nodes").body or exporter.get("/metrics"))
            answer = command("n 1", "--exporter.url", f"http://localhost:{exporter.port}")
            everything = command("--exporter.url", f"http://localhost:{exporter.port}")
            unknown = command("n 2", "--exporter.url", f"http://localhost:{exporter.port}")
    assert answer.returncode == 0, answer.stderr
    assert "Node n 1 is seen for the first time: online." in answer.stdout
    assert "Its metrics hash was there." in answer.stdout
    assert everything.stdout.startswith("These are the last events that the exporter at http://localhost:")
    assert (unknown.returncode, "the nearest known names are n 1" in unknown.stderr) == (1, True)


def test_large_journal_on_disk_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for name, numbers in ((".2", range(1, 5001)), (".1", range(5001, 10_001)), ("", range(10_001, 15_001))):
        lines = (line_of(event(number, f"n{number}")) for number in numbers)
        path.with_name(f"journal{name}").write_bytes(b"".join(lines))
    facts = JournalOnDisk(path)
    assert explained(facts, "n1", None).events[0].id == 1
    assert len(facts.names()[EventKind.NODE]) == 15_000
