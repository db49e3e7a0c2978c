"""Events as JSON, and their way through a line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.journal.event import Event, EventKind, event_of
from exporter.journal.lines import line_of
from journal_events import event

GOOD = {"id": 1, "time": 2.5, "kind": "node", "subjects": ["n"], "from": None, "to": "online", "evidence": {}}


def test_event_has_the_keys_of_the_contract() -> None:
    assert list(event(1).to_json()) == ["id", "time", "kind", "subjects", "from", "to", "evidence"]


@given(
    st.lists(st.text(st.characters(codec="utf-8")), min_size=1),
    st.sampled_from(EventKind),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda key: key != "each"), st.integers() | st.none()),
)
def test_event_comes_back_from_its_line(
    subjects: list[str], kind: EventKind, before: str | None, evidence: Any
) -> None:
    sent = Event(7, 1.5, kind, tuple(subjects), before, "x", evidence)
    line = line_of(sent)
    assert line.count(b"\n") == 1
    assert line[:-1].decode().isprintable()
    assert event_of(json.loads(line)) == sent


@pytest.mark.parametrize(
    "change",
    [
        {"id": 0},
        {"id": 2**53},
        {"id": True},
        {"id": "1"},
        {"time": float("nan")},
        {"time": 1e300},
        {"time": True},
        {"kind": "weather"},
        {"subjects": []},
        {"subjects": [1]},
        {"subjects": "n"},
        {"from": 1},
        {"to": None},
        {"evidence": []},
        {"evidence": {"each": []}},
        {"evidence": {"each": {"deadline": [1, 2]}}},
    ],
)
def test_value_that_is_no_event_is_refused(change: dict[str, Any]) -> None:
    event_of(GOOD)
    with pytest.raises(ValueError, match=r"event|EventKind"):
        event_of(GOOD | change)


def test_each_subject_of_a_burst_has_its_own_evidence() -> None:
    burst = event(1, "a", "b", evidence={"hash": True, "each": {"deadline": [1.0, 2.0]}})
    assert burst.evidence_of("b") == {"hash": True, "deadline": 2.0}
    assert burst.evidence_of("c") == {"hash": True}
