"""/api/v1/events: filters, pages, and what is refused."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.telemetry import Telemetry
from exporter.web import event_list
from exporter.web.event_list import EventQuery, events_json
from journal_events import T0
from lab.nodes import beat
from lab.servers import RedisServer, running_exporter, wait_for


@pytest.fixture
def journal() -> Journal:
    journal = Journal(None, Telemetry(), lambda: T0, lambda: 0.0)
    for number in range(250):
        entry = Entry(float(2 * number), EventKind.NODE, f"n{number % 5}", None, "online")
        journal.tell(lambda entry=entry: [entry])
    journal.note(EventKind.REDIS, "redis", None, "answers")
    return journal


def answer(journal: Journal, query: str = "") -> Any:
    arguments = {name: [v.encode() for v in values] for name, values in parse_qs(query).items()}
    return json.loads(b"".join(events_json(journal, EventQuery.of(arguments))))


def test_newest_events_come_first_a_hundred_at_a_time(journal: Journal) -> None:
    events = answer(journal)["events"]
    assert (len(events), events[0]["kind"], events[0]["subjects"]) == (100, "redis", ["redis"])
    ids = [event["id"] for event in events]
    assert ids == sorted(ids, reverse=True)


def test_pages_hold_every_event_once(journal: Journal) -> None:
    seen: list[int] = []
    cursor = ""
    while cursor is not None:
        page = answer(journal, f"limit=60&cursor={cursor}")
        seen += [event["id"] for event in page["events"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 251


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("subject=n1&limit=1000", 50),
        ("subject=n1&subject=n2&limit=1000", 100),
        ("kind=redis", 1),
        ("kind=redis&kind=node&limit=1000", 251),
        (f"since={T0 + 490}", 5),
        (f"until={T0 + 9}&kind=node", 5),
        ("until=2026-01-06T12:30:45Z&kind=node", 1),
        ("until=2026-01-06T13:30:45%2B01:00&kind=node", 1),
        ("subject=unknown", 0),
        ("surprise=1", 100),
        ("limit=99999", 251),
    ],
)
def test_filters_choose_events(journal: Journal, query: str, count: int) -> None:
    assert len(answer(journal, query)["events"]) == count


@pytest.mark.parametrize(
    "query", ["kind=weather", "since=yesterday", "until=nan", "limit=0", "limit=-1", "limit=x", "cursor=x", "cursor=٣"]
)
def test_invalid_argument_is_named(query: str) -> None:
    arguments = {name: [v.encode() for v in values] for name, values in parse_qs(query).items()}
    with pytest.raises(ValueError, match=f"^{query.partition('=')[0]}: (must be|not a time)"):
        EventQuery.of(arguments)


def test_page_ends_before_it_is_too_large(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_list, "MOST_BYTES", 500)
    page = answer(journal)
    assert 1 <= len(page["events"]) < 10
    following = answer(journal, f"cursor={page['next']}")
    assert following["events"][0]["id"] < page["events"][-1]["id"]


def test_exporter_serves_what_happened_and_reads_it_back_after_a_restart(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    hostile = "n\"'`$(x)\n\x1b[31m<script>"
    path = tmp_path / "journal.jsonl"
    flags = ("--redis.url", redis_server.url, "--journal.file", str(path))
    with redis_server.client() as client:
        beat(client, hostile)
        beat(client, "stops")
        with running_exporter(tmp_path / "exporter", *flags) as exporter:

            def events(query: str) -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = json.loads(exporter.get(f"/api/v1/events{query}").body)["events"]
                return found

            wait_for(lambda: events(f"?subject={quote(hostile)}"))
            (seen,) = events("?subject=stops")
            assert (seen["from"], seen["to"], seen["kind"]) == (None, "online", "node")
            assert seen["evidence"]["redis_role"] == "master"
            client.delete("heartbeat:node:stops", "node:metrics:stops")
            exporter.get("/metrics")
            wait_for(lambda: events("?subject=stops")[0]["to"] == "gone")
            assert exporter.get("/api/v1/events?kind=x").status == 400
            assert b'ginkgo_journal_events_total{kind="exporter"} 1.0\n' in exporter.get("/metrics").body
        with running_exporter(tmp_path / "exporter", *flags) as exporter:
            kinds = [(event["from"], event["to"]) for event in events("?kind=exporter")]
            assert kinds == [("stopped", "started"), ("started", "stopped"), (None, "started")]
            assert events("?subject=stops")[0]["to"] == "gone"
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert path.read_text().replace("\n", "").isprintable()
