"""Events: like changes become one, each has its line, and sentences say what holds for all of its subjects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.journal.event import EACH, Event, EventKind, Query, event_of, page_of, parse_time
from exporter.journal.journal import Journal
from exporter.journal.sentences import alertmanager_refuses, headline, reasons, redis_away, undecided, writes_refused
from exporter.liveness import State
from exporter.telemetry import Telemetry
from journal_events import T0, event
from lab.readings import WALL


def test_like_changes_are_one_event_with_the_evidence_of_each_subject() -> None:
    journal = Journal(None, Telemetry())
    rows = {"a": {"deadline": 1, "heartbeat": "x"}, "b": {"deadline": 2, "heartbeat": "x"}}
    journal.add(EventKind.NODE, None, "offline", rows, {"hash": True})
    journal.add(EventKind.NODE, None, "offline", {"c": {"deadline": 1}})
    journal.add(EventKind.NODE, None, "offline", {})
    alone, burst = journal.page(Query(), 10).events
    assert burst.subjects == ("a", "b")
    assert burst.evidence == {"hash": True, "heartbeat": "x", EACH: {"deadline": [1, 2]}}
    assert burst.evidence_of("b") == {"hash": True, "heartbeat": "x", "deadline": 2}
    assert burst.evidence_of("c") == {"hash": True, "heartbeat": "x"}
    assert (alone.subjects, alone.evidence) == (("c",), {"deadline": 1})


@given(
    st.lists(st.text(st.characters(codec="utf-8")), min_size=1),
    st.sampled_from(EventKind),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda key: key != EACH), st.integers() | st.none()),
)
def test_event_comes_back_from_its_line(
    subjects: list[str], kind: EventKind, before: str | None, evidence: Any
) -> None:
    sent = Event(7, 1.5, kind, tuple(subjects), before, "x", evidence)
    assert list(sent.to_json()) == ["id", "time", "kind", "subjects", "from", "to", "evidence"]
    line = sent.line()
    assert line.count(b"\n") == 1
    assert line[:-1].decode().isprintable()
    assert event_of(json.loads(line)) == sent
    assert list(Query(subjects=frozenset(subjects[-1:])).found([line])) == [sent]


def test_value_that_is_no_event_is_refused() -> None:
    good = {"id": 1, "time": 2.5, "kind": "node", "subjects": ["n"], "from": None, "to": "online", "evidence": {}}
    assert event_of(good).subjects == ("n",)
    for change in (
        *({"id": value} for value in ("x", None)),
        *({"time": value} for value in ("x", None, [])),
        *({"subjects": value} for value in ([], [1], None)),
        *({"evidence": value} for value in (1, {EACH: []}, {EACH: {"deadline": [1]}})),
        {"kind": "weather"},
    ):
        with pytest.raises(ValueError, match="not an event"):
            event_of(good | {"subjects": ["a", "b"]} | change)
    for value in (None, [], "x", {}, 1):
        with pytest.raises(ValueError, match="not an event"):
            event_of(value)


def test_query_accepts_what_meets_all_of_its_conditions() -> None:
    found = event(5, "a", "b")
    cases = [
        (Query(), True),
        (Query(subjects=frozenset("bc")), True),
        (Query(subjects=frozenset("c")), False),
        (Query(kinds=frozenset([EventKind.NODE])), True),
        (Query(kinds=frozenset([EventKind.PUSH])), False),
        (Query(since=T0 + 5, until=T0 + 5), True),
        (Query(since=T0 + 5.1), False),
        (Query(until=T0 + 4.9), False),
        (Query(before=5), False),
        (Query(before=6), True),
    ]
    assert [query.accepts(found) for query, _ in cases] == [wanted for _, wanted in cases]
    assert page_of(iter([event(3), event(2), event(1)]), 2) == ([event(3), event(2)], 2)
    assert page_of(iter([event(2)]), 1) == ([event(2)], None)


def test_time_is_unix_seconds_or_iso() -> None:
    for text, unix in (("1767702645.5", T0 + 0.5), ("2026-01-06T12:30:45Z", T0), ("2026-01-06T20:30:45+08:00", T0)):
        assert parse_time(text) == unix
    assert parse_time("2026-01-06 12:30:45") == T0, "without a zone it is UTC"
    for text in ("", "yesterday", "-1", "nan", "inf", "1e300", "9999-99-99"):
        with pytest.raises(ValueError, match="not a time such as"):
            parse_time(text)


def test_headlines_name_what_changed_and_how() -> None:
    cases: list[tuple[Event, str | None, str]] = [
        (event(1, "a", before=None, after="online"), None, "Node a is online."),
        (event(1, "a", after="online", before="offline"), None, "Node a is back online."),
        (event(1, "a", "b", before="undecided", after="online"), None, "2 nodes (a, b) are online after all."),
        (event(1, *"abcde"), "c", "Node c, with 4 nodes more, is offline."),
        (event(1, "a", "b"), "b", "Node b, with 1 node more, is offline."),
        (event(1, *"abcde"), None, "5 nodes (a, b, c and 2 more) are offline."),
        (event(1, "a", before="takes events", after="drops events"), None, "Node a is dropping events."),
        (event(1, "a\n\x1b[2J"), None, "Node a\\n\\x1b[2J is offline."),
        (
            event(1, "p", kind=EventKind.PORTFOLIO, before="traded", after="untraded"),
            None,
            "Portfolio p is untraded; it was traded before.",
        ),
        (
            event(
                1, "p", kind=EventKind.PORTFOLIO, before="untraded", after="untraded", evidence={"reason": "dropped"}
            ),
            None,
            "Portfolio p is still untraded: no plan names it any more.",
        ),
        (event(1, "redis", kind=EventKind.REDIS, before=None, after="another run"), None, "Redis: another run."),
        (event(1, "exporter", kind=EventKind.EXPORTER, before=None, after="started"), None, "The exporter started."),
        (
            event(
                1,
                "GinkgoNodeOffline",
                "a",
                kind=EventKind.PUSH,
                before=None,
                after="taken",
                evidence={"alertmanager": "u"},
            ),
            None,
            "Alertmanager u took the alert GinkgoNodeOffline for a.",
        ),
        (
            event(1, "a", after="gone", evidence={"because": "its heartbeat and its hash were deleted"}),
            None,
            "Node a stopped.",
        ),
    ]
    assert [headline(each, subject) for each, subject, _ in cases] == [said for *_, said in cases]


def test_reasons_say_what_holds_for_all_subjects_or_for_the_one_that_is_asked_about() -> None:
    moved = event(1, "p1", "p2", kind=EventKind.PORTFOLIO, after="traded", evidence={EACH: {"node": ["a", "b"]}})
    assert reasons(moved) == []
    assert reasons(moved, "p2") == ["The plan gives it to node b."]
    dead = event(
        1,
        "a",
        evidence={
            "because": "its heartbeat ended",
            "heartbeat_ttl_seconds": 0,
            "deadline": T0,
            "heartbeat": "2026",
            "hash": True,
            "offline_since": T0,
            "offline_since_exact": True,
            "fault": "another run",
            "fault_since": T0,
            "fault_until": None,
        },
    )
    assert reasons(dead) == [
        "The reason: its heartbeat ended.",
        "The node had no heartbeat.",
        "Its last heartbeat was to end at 2026-01-06 12:30:45 UTC.",
        'The last heartbeat said "2026".',
        "Its metrics hash was there.",
        "It is offline since 2026-01-06 12:30:45 UTC.",
        "Redis's last fault was: another run, from 2026-01-06 12:30:45 UTC until now.",
    ]
    assert "Redis had no fault that may explain it." in reasons(event(1, "a", "b", evidence={"because": "x"}))


def test_outage_refusal_and_alertmanager_are_told_with_time_and_reason() -> None:
    counts = {State.ONLINE: 5, State.OFFLINE: 0, State.UNDECIDED: 1}
    assert redis_away(WALL + 60, "no answer", WALL, counts) == (
        "Redis cannot be read since 2026-01-06 12:31:45 UTC: no answer. So nothing is known of the nodes now."
        " The last that was known is old, of 2026-01-06 12:30:45 UTC: 5 online, 1 undecided."
        " No node is called dead for this; GinkgoRedisUnreachable pages when it lasts for a minute."
    )
    assert "The last" not in redis_away(None, "", None, {})
    assert writes_refused(WALL, {"MISCONF": 7, "OOM": 0}).startswith(
        "Redis refuses writes since 2026-01-06 12:30:45 UTC (MISCONF 7), so no node can beat."
    )
    assert alertmanager_refuses("http://a", WALL, "HTTP 401").startswith(
        "Alertmanager http://a takes no posts since 2026-01-06 12:30:45 UTC: HTTP 401."
    )


def test_undecided_nodes_with_one_reason_share_a_sentence_and_the_earliest_time() -> None:
    def row(name: str, because: str | None, until: float | None = None) -> dict[str, object]:
        return {"node_id": name, "state": "undecided", "undecided_because": because, "undecided_until": until}

    rows = [*(row(f"n{n}", f"cause {n}") for n in range(7)), row("m", "cause 5", WALL + 1), row("o", "cause 5", WALL)]
    said = undecided([{"node_id": "x", "state": "online"}, *rows])
    assert len(said) == 6
    assert said[0] == (
        "3 nodes (n5, m, o) are undecided: cause 5. They cannot be called dead before 2026-01-06 12:30:45 UTC."
    )
    assert said[-1] == "2 more nodes are undecided for other reasons."
    (alone,) = undecided([row("a\n", None)])
    assert alone == "Node a\\n is undecided: the reason is unknown."
