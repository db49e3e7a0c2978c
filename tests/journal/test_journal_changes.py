"""Changes become events: many like ones at one moment become one."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.journal.changes import Entry, events_of
from exporter.journal.event import Event, EventKind


def entry(subject: str, after: str = "offline", at: float = 0.0, **own: object) -> Entry:
    return Entry(at, EventKind.NODE, subject, None, after, {"hash": True}, own)


def made(*entries: Entry, last_id: int = 0) -> list[Event]:
    return events_of(entries, last_id, lambda at: 1000 + at)


def test_like_changes_are_one_event() -> None:
    (burst,) = made(entry("a", deadline=1, heartbeat="x"), entry("b", at=0.2, deadline=2, heartbeat="x"))
    assert burst.subjects == ("a", "b")
    assert burst.time == 1000
    assert burst.evidence == {"hash": True, "heartbeat": "x", "each": {"deadline": [1, 2]}}


def test_event_has_its_time_to_the_millisecond() -> None:
    assert made(entry("a", at=0.00051))[0].time == 1000.001


def test_single_change_has_plain_evidence() -> None:
    assert made(entry("a", deadline=1))[0].evidence == {"hash": True, "deadline": 1}


def test_changes_that_lie_apart_are_events_of_their_own() -> None:
    assert len(made(entry("a"), entry("b", at=1.0))) == 1
    assert len(made(entry("a"), entry("b", at=1.1))) == 2


def test_changes_with_other_evidence_are_events_of_their_own() -> None:
    other = Entry(0, EventKind.NODE, "b", None, "offline", {"hash": False})
    assert len(made(entry("a"), other)) == 2


def test_changes_of_one_subject_stay_in_their_order() -> None:
    events = made(entry("a"), entry("a", "online"), entry("b", "online"), entry("a"), entry("b"))
    assert [(each.subjects, each.after) for each in events] == [
        (("a",), "offline"),
        (("a", "b"), "online"),
        (("a", "b"), "offline"),
    ]


def test_ids_are_the_time_and_rise_whatever_the_clock_does() -> None:
    first, second = made(entry("a"), entry("b", "online"), last_id=5)
    assert (first.id, second.id) == (1_000_000_000, 1_000_000_001)
    assert made(entry("a"), last_id=2_000_000_000)[0].id == 2_000_000_001


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("online", "offline")), st.floats(0, 3))))
def test_nothing_is_lost_and_no_subject_changes_its_order(changes: list[tuple[str, str, float]]) -> None:
    events = made(*(entry(*change) for change in changes))
    for subject in "abc":
        told = [after for name, after, _ in changes if name == subject]
        assert [event.after for event in events if subject in event.subjects] == told
