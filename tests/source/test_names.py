"""The ids of nodes, as bytes in Redis and as text for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.source.names import Names, names_of, shown_id
from fleets import NODE_IDS


def test_names_are_sorted_by_their_text() -> None:
    assert names_of([b"b", b"a", b"c"], 10) == Names((b"a", b"b", b"c"), ("a", "b", "c"))


def test_bytes_that_are_not_utf8_are_escaped_in_the_text() -> None:
    assert shown_id(b"\xff") == "\\xff"
    assert shown_id(b"caf\xe9") == "caf\\xe9"


@pytest.mark.parametrize("node_id", ["\N{DEER}", 'a"b', "a\\b", "a\nb", "a:b", "\x00", "\x1b[31m", "\u202e", " "])
def test_utf8_id_is_its_own_text(node_id: str) -> None:
    assert shown_id(node_id.encode()) == node_id


@pytest.mark.parametrize("order", [[b"\xff", b"\\xff"], [b"\\xff", b"\xff"]])
def test_if_two_ids_have_the_same_text_the_utf8_id_is_kept(order: list[bytes]) -> None:
    assert names_of(order, 10) == Names((b"\\xff",), ("\\xff",), ambiguous=1)


def test_if_two_ids_have_the_same_text_and_neither_is_utf8_the_first_is_kept() -> None:
    both = [b"\xff\\xfe", b"\\xff\xfe"]
    assert shown_id(both[0]) == shown_id(both[1])
    assert names_of(both, 10) == names_of(both[::-1], 10) == Names((b"\\xff\xfe",), ("\\xff\\xfe",), ambiguous=1)


def test_if_there_are_too_many_ids_the_first_by_name_are_kept() -> None:
    assert names_of([b"c", b"a", b"d", b"b"], 2) == Names((b"a", b"b"), ("a", "b"), over_limit=2)


@given(st.sets(NODE_IDS), st.integers(1, 10))
def test_names_are_unique_sorted_and_counted(found: set[bytes], limit: int) -> None:
    names = names_of(found, limit)
    assert list(names.shown) == sorted(set(names.shown))
    assert [shown_id(raw) for raw in names.raw] == list(names.shown)
    assert len(names.raw) + names.ambiguous + names.over_limit == len(found)
    assert set(names.raw) <= found


@given(NODE_IDS)
def test_text_of_any_id_is_valid_utf8(raw: bytes) -> None:
    shown_id(raw).encode()
