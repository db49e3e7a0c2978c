"""The last events, and which of them a query finds."""

from secrets import token_hex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.journal.event import Event, EventKind
from exporter.journal.lines import line_of
from exporter.journal.memory import MOST_EVENTS, Memory, Query, page_of
from journal_events import T0, event

EVENTS = (
    event(1, "a"),
    event(2, "b"),
    event(3, "a", "b"),
    event(4, "redis", kind=EventKind.REDIS),
    event(5, "a", after="online"),
)


def memory_of(*events: Event, **limits: int) -> Memory:
    memory = Memory(**limits)
    for each in events:
        memory.add(each, line_of(each))
    return memory


def ids(memory: Memory, query: Query | None = None) -> list[int]:
    return [each.id for each in memory.kept().found(query or Query())]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (Query(), [5, 4, 3, 2, 1]),
        (Query(subjects=frozenset({"a"})), [5, 3, 1]),
        (Query(subjects=frozenset({"b", "redis"})), [4, 3, 2]),
        (Query(kinds=frozenset({EventKind.REDIS})), [4]),
        (Query(since=T0 + 3), [5, 4, 3]),
        (Query(until=T0 + 3), [3, 2, 1]),
        (Query(before=3), [2, 1]),
        (Query(subjects=frozenset({"c"})), []),
    ],
)
def test_query_finds_the_events_that_it_describes_newest_first(query: Query, wanted: list[int]) -> None:
    assert ids(memory_of(*EVENTS), query) == wanted


def test_pages_follow_each_other_without_a_gap() -> None:
    kept = memory_of(*EVENTS).kept()
    first = page_of(kept.found(Query()), 2)
    second = page_of(kept.found(Query(before=first.next)), 2)
    third = page_of(kept.found(Query(before=second.next)), 2)
    assert [[each.id for each in page.events] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert third.next is None


def test_cursor_is_the_last_event_of_a_page() -> None:
    assert page_of(reversed(EVENTS), 3).next == 3


def test_page_that_is_just_full_has_no_next_one() -> None:
    assert page_of(EVENTS, 5).next is None


def test_memory_keeps_the_last_events() -> None:
    memory = memory_of(*EVENTS, most_events=3)
    assert ids(memory) == [5, 4, 3]
    assert memory.last_id == 5
    assert Memory().last_id == 0


def test_last_10_000_events_are_found_exactly() -> None:
    memory = memory_of(*(event(number, f"n{number}") for number in range(1, 10_101)))
    assert ids(memory) == list(range(10_100, 100, -1))
    assert ids(memory, Query(subjects=frozenset({"n101"}))) == [101]
    assert ids(memory, Query(subjects=frozenset({"n100"}))) == []
    assert ids(memory, Query(until=T0 + 103)) == [103, 102, 101]
    assert ids(memory, Query(before=103)) == [102, 101]
    assert _size(memory) < 50 * MOST_EVENTS


def test_memory_is_bounded_whatever_the_events_name() -> None:
    memory = memory_of(*(event(number, token_hex(40_000)) for number in range(1, 20)), most_bytes=100_000)
    assert ids(memory)
    assert _size(memory) <= 100_000
    assert _size(memory) > 50_000, "no more are dropped than must be"
    assert ids(memory_of(*(event(number, token_hex(40_000)) for number in (4, 5)), most_bytes=10)) == [5]


def test_events_are_compressed_sixty_four_together_or_when_they_are_large() -> None:
    assert _chunks(memory_of(*(event(number) for number in range(1, 131)))) == ([64, 64], 2)
    assert _chunks(memory_of(event(1), event(2, "x" * 70_000), event(3))) == ([2], 1)
    assert _chunks(memory_of(*(event(number, "x" * 20_000) for number in range(1, 6)))) == ([4], 1)


def test_no_more_than_a_chunk_is_kept_beyond_the_last_events() -> None:
    memory = memory_of(*(event(number) for number in range(1, 1001)), most_events=65)
    chunks, recent = _chunks(memory)
    assert 65 <= sum(chunks) + recent < 65 + 64
    assert ids(memory_of(*(event(number) for number in range(1, 129)), most_events=65)) == list(range(128, 63, -1))


def test_burst_takes_little_memory_and_each_of_its_nodes_is_found() -> None:
    names = [f"node-{number:05}" for number in range(10_000)]
    each = {"deadline": [T0 + number / 1000 for number in range(10_000)]}
    memory = memory_of(event(1, *names, evidence={"each": each}))
    assert _size(memory) < 120_000
    (burst,) = memory.kept().found(Query(subjects=frozenset({"node-07654"})))
    assert burst.evidence_of("node-07654") == {"deadline": T0 + 7.654}


def _chunks(memory: Memory) -> tuple[list[int], int]:
    """Return how many events each chunk has, and how many events are not compressed."""
    kept = memory.kept()
    return [chunk.count for chunk in kept.chunks], len(kept.recent)


def _size(memory: Memory) -> int:
    return sum(len(chunk.lines) for chunk in memory.kept().chunks)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=3), st.data())
def test_subject_is_found_whatever_its_text(subjects: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from(subjects))
    memory = memory_of(event(1, *subjects))
    assert ids(memory, Query(subjects=frozenset({wanted}))) == [1]
    assert ids(memory, Query(subjects=frozenset({f"{wanted}!?"}) - set(subjects))) == []
