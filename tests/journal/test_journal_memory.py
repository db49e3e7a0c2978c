"""The last events, and which of them a query finds."""

import pytest

from exporter.journal.event import Kind
from exporter.journal.memory import Memory, Query, page_of
from journal_events import T0, event

EVENTS = (
    event(5, "a", after="online"),
    event(4, "redis", kind=Kind.REDIS),
    event(3, "a", "b"),
    event(2, "b"),
    event(1, "a"),
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [5, 4, 3, 2, 1]),
        (Query(subjects=frozenset({"a"})), [5, 3, 1]),
        (Query(subjects=frozenset({"b", "redis"})), [4, 3, 2]),
        (Query(kinds=frozenset({Kind.REDIS})), [4]),
        (Query(since=T0 + 3), [5, 4, 3]),
        (Query(until=T0 + 3), [3, 2, 1]),
        (Query(before=3), [2, 1]),
        (Query(subjects=frozenset({"c"})), []),
    ],
)
def test_query_finds_the_events_that_it_describes_newest_first(query: Query, found: list[int]) -> None:
    assert [each.id for each in page_of(EVENTS, query, 10).events] == found


def test_pages_follow_each_other_without_a_gap() -> None:
    first = page_of(EVENTS, Query(), 2)
    second = page_of(EVENTS, Query(before=first.next), 2)
    third = page_of(EVENTS, Query(before=second.next), 2)
    assert [[each.id for each in page.events] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert third.next is None


def test_page_that_is_just_full_has_no_next_one() -> None:
    assert page_of(EVENTS, Query(), 5).next is None


def test_memory_keeps_the_last_events() -> None:
    memory = Memory(most_events=3)
    memory.add(event(number) for number in range(1, 6))
    assert [each.id for each in memory.newest_first()] == [5, 4, 3]
    assert memory.last_id == 5


def test_memory_is_bounded_whatever_the_events_name() -> None:
    memory = Memory(most_text=1000)
    memory.add(event(number, "x" * 400) for number in range(1, 4))
    assert [each.id for each in memory.newest_first()] == [3, 2]
    memory.add([event(4, "x" * 5000)])
    assert [each.id for each in memory.newest_first()] == [4]
