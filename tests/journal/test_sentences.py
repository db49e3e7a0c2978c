"""Sentences about several subjects say only what holds for all of them."""

from exporter.journal.event import EACH, EventKind
from exporter.journal.sentences import reasons
from journal_events import event

MOVED = event(
    1,
    "p1",
    "p2",
    kind=EventKind.PORTFOLIO,
    before="untraded",
    after="traded",
    evidence={EACH: {"node": ["a", "b"]}},
)


def test_what_differs_between_subjects_is_said_of_one_subject_only() -> None:
    assert reasons(MOVED) == []
    assert reasons(MOVED, "p2") == ["The plan gives it to node b."]


def test_an_event_of_one_subject_needs_no_name() -> None:
    alone = event(1, "p1", kind=EventKind.PORTFOLIO, after="traded", evidence={EACH: {"node": ["a"]}})
    assert reasons(alone) == ["The plan gives it to node a."]
