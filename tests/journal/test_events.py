"""Events: like changes become one, each has its line, and sentences say what holds for all of its subjects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.journal.event import (
    EACH,
    Event,
    EventKind,
    Query,
    event_of,
    headline,
    reasons,
    redis_away,
    undecided,
    writes_refused,
)
from exporter.journal.journal import Journal, judged
from exporter.liveness import Change, Evidence, State
from exporter.telemetry import Telemetry
from journal_events import T0, event
from lab.nodes import WALL

TEXTS = st.text(st.characters(codec="utf-8"))


def test_like_changes_are_one_event_with_the_evidence_of_each_subject() -> None:
    journal = Journal(None, Telemetry())
    rows = {"a": {"deadline": 1, "heartbeat": "x"}, "b": {"deadline": 2, "heartbeat": "x"}}
    journal.add(EventKind.NODE, None, "offline", rows, {"hash": True})
    journal.add(EventKind.NODE, None, "offline", {"c": {"deadline": 1}}, {})
    journal.add(EventKind.NODE, None, "offline", {}, {})
    alone, burst = journal.page(Query(), 10)[0]
    assert burst.subjects == ("a", "b")
    assert burst.evidence == {"hash": True, EACH: rows}
    assert burst.evidence_of("b") == {"hash": True, "heartbeat": "x", "deadline": 2}
    assert burst.evidence_of("c") == burst.evidence_of(None) == {"hash": True}
    assert (alone.subjects, alone.evidence) == (("c",), {"deadline": 1})


@given(
    st.lists(TEXTS, min_size=1),
    st.sampled_from(EventKind),
    st.none() | TEXTS,
    st.dictionaries(TEXTS.filter(lambda key: key != EACH), st.integers() | st.none()),
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


def test_value_that_is_no_event_is_refused() -> None:
    good = {"id": 1, "time": 2.5, "kind": "node", "subjects": ["n"], "from": None, "to": "online", "evidence": {}}
    assert event_of(good).subjects == ("n",)
    others = ({"id": "x"}, {"time": None}, {"subjects": []}, {"evidence": {EACH: []}}, {"kind": "weather"})
    for value in (*(good | other for other in others), None, [], "x", {}):
        with pytest.raises(ValueError, match="not an event"):
            event_of(value)


def test_query_accepts_what_meets_all_of_its_conditions() -> None:
    found = event(5, "a", "b")
    cases = [
        (Query(subjects=frozenset("bc")), True),
        (Query(subjects=frozenset("c")), False),
        (Query(kinds=frozenset([EventKind.PUSH])), False),
        (Query(since=T0 + 5, until=T0 + 5), True),
        (Query(since=T0 + 5.1), False),
        (Query(before=5), False),
    ]
    for query, wanted in cases:
        assert query.accepts(found) is wanted
    journal = Journal(None, Telemetry())
    for state in "abc":
        journal.note(EventKind.NODE, "n", None, state)
    first, cursor = journal.page(Query(), 2)
    assert [each.after for each in first] == ["c", "b"]
    last, end = journal.page(Query(before=cursor), 1)
    assert ([each.after for each in last], end) == (["a"], None)


def test_headlines_name_what_changed_and_how() -> None:
    push = {"kind": EventKind.PUSH, "before": None, "after": "taken"}
    cases = [
        (event(1, "a", before=None, after="online"), "", "Node a is online."),
        (
            event(1, "a", "b", before="undecided", after="online"),
            "",
            "Nodes a, b are online; they were undecided before.",
        ),
        (event(1, *"abcde"), "c", "Nodes c, a, b and 2 more are offline; they were online before."),
        (event(1, "a\n\x1b[2J"), "", "Node a\\n\\x1b[2J is offline; it was online before."),
        (
            event(1, "b", kind=EventKind.MASS_LOSS, before=None, after="lost together"),
            "",
            "Nodes were lost together: the mass loss is named b.",
        ),
        (event(1, "GinkgoNodeOffline", "a", **push), "", "Alertmanager took the alert about GinkgoNodeOffline, a."),
    ]
    for each, subject, said in cases:
        assert headline(each, subject) == said


def test_reasons_say_what_holds_for_all_subjects_or_for_the_one_that_is_asked_about() -> None:
    each = {"p1": {"planned_node": "a"}, "p2": {"planned_node": "b", "loaded_nodes": ["c", "d"]}}
    moved = event(1, "p1", "p2", kind=EventKind.PORTFOLIO, evidence={EACH: each, "reason": "dropped"})
    assert reasons(moved) == ["The reason is: dropped from the plan, and loaded nowhere."]
    assert reasons(moved, "p2")[1:] == ["The plan gives it to b.", "It is loaded on c, d."]
    evidence = {
        "because": "no heartbeat came in time",
        "pttl": -2,
        "deadline": T0,
        "heartbeat": "2026\n",
        "hash": False,
        "x": 1,
    }
    assert reasons(event(1, "a", evidence=evidence)) == [
        "The reason is: no heartbeat came in time.",
        "The PTTL of its heartbeat was -2 ms (-2: missing, -1: no expiry).",
        "Its last heartbeat was to end at 2026-01-06 12:30:45 UTC.",
        "Its last heartbeat said 2026\\n.",
        "Its metrics hash was missing.",
    ]


def test_outage_and_refusal_are_told_with_time_and_reason() -> None:
    counts = {State.ONLINE: 5, State.OFFLINE: 0, State.UNDECIDED: 1}
    assert redis_away(WALL + 60, "no answer", WALL, counts) == (
        "Redis cannot be read: no answer. This began at 2026-01-06 12:31:45 UTC. Nothing is known"
        " of the nodes now, and no node is called dead for this."
        " The last known states are old, of 2026-01-06 12:30:45 UTC: 5 online, 1 undecided."
    )
    assert redis_away(None, "", None, {}).endswith("for this.")
    assert writes_refused(WALL, {"MISCONF": 7, "OOM": 0}).startswith(
        "Redis has refused writes since 2026-01-06 12:30:45 UTC, so no node can beat. No node is called dead for this."
        " Refused writes since Redis started: MISCONF 7 times."
    )


def test_undecided_nodes_with_one_reason_share_a_sentence() -> None:
    rows = [
        {"node_id": name, "state": "undecided", "undecided_because": f"cause {name[0]}"} for name in ("a\n", "ab", "b")
    ]
    assert undecided([{"node_id": "x", "state": "online"}, *rows]) == [
        "It is undecided whether these nodes live: a\\n, ab. The reason is: cause a.",
        "It is undecided whether these nodes live: b. The reason is: cause b.",
    ]


def test_empty_heartbeat_is_no_evidence() -> None:
    (group,) = judged([Change(b"a", None, State.OFFLINE, 0.0, evidence=Evidence(text=b""))], lambda at: at, 1.0)
    assert group[3] == {"a": {}}
