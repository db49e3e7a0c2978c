"""The JSON of nodes, portfolios and events: their keys, filters, order and pages."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.snapshot.rows import NODE_KEYS, PORTFOLIO_KEYS
from exporter.snapshot.snapshot import Snapshot
from exporter.telemetry import Telemetry
from exporter.web import api
from fleets import FLEETS, snapshot_of
from lab.nodes import CRASHED, ENDLESS, WALL, Pair
from portfolio_example import EXPECTED, SINCE, example

FLEET = {
    b"a": Pair(ttl=30, fields={"portfolio_count": b"2", "status": b"RUNNING"}),
    b"b": Pair(ttl=30, fields={"portfolio_count": b"1"}),
    b"c": CRASHED,
    b"d": Pair(ttl=30, fields={"portfolio_count": b"2", "status": b"PAUSED"}),
    b"e": ENDLESS,
}


def asked(name: str, snapshot: Snapshot | None, fleet: Any = None, **query: Any) -> dict[str, Any]:
    arguments = {key: [str(value)] for key, value in query.items()}
    parse, make = api.LISTS[name]
    answer: dict[str, Any] = json.loads(b"".join(make(snapshot, parse(arguments), fleet)))
    return answer


def ids(answer: Mapping[str, Any]) -> str:
    return "".join(node["node_id"] for node in answer["nodes"])


def test_all_nodes_are_given_sorted_and_with_all_keys() -> None:
    answer = asked("nodes", snapshot_of(FLEET))
    assert answer.keys() == {"redis_up", "nodes"}
    assert ids(answer) == "abcde"
    assert all(list(node) == list(NODE_KEYS) for node in answer["nodes"])
    a, _, c, _, e = answer["nodes"]
    assert (a["state"], a["portfolios"], a["status"], a["heartbeat_age_seconds"]) == ("online", 2, "RUNNING", 0)
    assert (c["state"], c["portfolios"], c["offline_since"], c["offline_since_exact"]) == ("offline", None, WALL, False)
    assert (e["heartbeat_ttl_seconds"], e["queue_size"], e["events_per_second"]) == (-1, None, None)


def test_nodes_are_filtered_and_sorted() -> None:
    snapshot = snapshot_of(FLEET)
    assert ids(asked("nodes", snapshot, state="online", sort="portfolios", limit=1)) == "b"
    assert ids(asked("nodes", snapshot, sort="portfolios")) == "badce"
    assert ids(asked("nodes", snapshot, sort="-portfolios")) == "adbce", "a node without a value comes last"
    assert ids(asked("nodes", snapshot, sort="-node_id")) == "edcba"
    assert ids(asked("nodes", snapshot, filter=" C ")) == "c"
    assert ids(asked("nodes", snapshot, state="offline", unknown=1)) == "ce"


@given(pairs=FLEETS, limit=st.integers(1, 3), sort=st.sampled_from(["", "events", "-events", "status", "-state"]))
def test_pages_together_are_the_whole_list(pairs: dict[bytes, Pair], limit: int, sort: str) -> None:
    snapshot, cursor, found = snapshot_of(pairs), "", list[Any]()
    while cursor is not None:
        page = asked("nodes", snapshot, sort=sort, limit=limit, cursor=cursor)
        assert len(page["nodes"]) <= limit
        found += page["nodes"]
        cursor = page["next"]
    assert found == asked("nodes", snapshot, sort=sort)["nodes"]


def test_invalid_arguments_are_named_and_not_repeated() -> None:
    for name, query in (
        ("nodes", {"state": "SECRET"}),
        ("nodes", {"sort": "SECRET"}),
        ("nodes", {"sort": "-"}),
        ("nodes", {"limit": "0"}),
        ("nodes", {"limit": "1e3"}),
        ("portfolios", {"cursor": "SECRET"}),
        ("portfolios", {"state": "online"}),
        ("events", {"kind": "SECRET"}),
        *(("events", {"since": text}) for text in ("SECRET", "-1", "nan", "inf", "1e300", "9999-99-99")),
        ("events", {"limit": "9" * 17}),
    ):
        with pytest.raises(ValueError, match=f"^{next(iter(query))}: ") as refused:
            asked(name, None, **query)
        assert "SECRET" not in str(refused.value)


def test_times_are_unix_seconds_or_iso_and_utc_without_a_zone() -> None:
    for text, unix in (
        *(("1767702645.5", 1767702645.5), ("2026-01-06T12:30:45Z", 1767702645)),
        *(("2026-01-06T20:30:45+08:00", 1767702645), ("2026-01-06 12:30:45", 1767702645)),
    ):
        assert api.LISTS["events"][0]({"since": [text]})[0].since == unix


def test_without_redis_the_answer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "trouble", lambda _: "Redis is away.")
    for name in ("nodes", "portfolios"):
        assert asked(name, None, limit=1) == {"redis_up": False, name: [], "next": None, "trouble": "Redis is away."}
    answer = asked("portfolios", replace(snapshot_of({}), problem="no right"))
    assert (answer["redis_up"], answer["portfolios"]) == (False, [])
    assert answer["trouble"] == "The portfolios cannot be read: no right."
    assert asked("portfolios", snapshot_of({})) == {"redis_up": True, "portfolios": []}


def test_portfolios_are_given_with_their_open_positions() -> None:
    snapshot = snapshot_of({}, account=example())
    answer = asked("portfolios", snapshot)["portfolios"]
    assert {row["portfolio_id"].encode(): (row["state"], row["reason"]) for row in answer} == EXPECTED
    assert all(list(row) == list(PORTFOLIO_KEYS) for row in answer)
    assert answer[2]["portfolio_id"] == "p03"
    assert (answer[2]["positions"], answer[3]["positions"], answer[2]["since"]) == (3, None, SINCE)
    untraded = asked("portfolios", snapshot, state="untraded", limit=3)
    assert (len(untraded["portfolios"]), untraded["next"]) == (3, "3")


def test_events_come_newest_first_in_pages() -> None:
    journal = Journal(None, Telemetry(), lambda: WALL, lambda: 0.0)
    for number in range(5):
        journal.note(EventKind.SCHEDULER, f"s{number}", None, "stalled")
    journal.note(EventKind.REDIS, "redis", None, "gone")
    fleet = Mock(journal=journal)
    answer = asked("events", None, fleet, kind="scheduler", limit=2)
    assert [event["subjects"] for event in answer["events"]] == [["s4"], ["s3"]]
    following = asked("events", None, fleet, kind="scheduler", cursor=answer["next"])
    assert [event["subjects"] for event in following["events"]] == [["s2"], ["s1"], ["s0"]]
    assert following["next"] is None
    assert len(asked("events", None, fleet, subject="s1")["events"]) == 1
    assert len(asked("events", None, fleet, until=WALL - 60)["events"]) == 0
    seen = [event["id"] for event in asked("events", None, fleet)["events"]]
    assert len(seen) == 6
    assert all(later > earlier for later, earlier in pairwise(seen))
