"""The ids of nodes, as bytes in Redis and as text for people."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.source.reading import Names, names_of, shown_id
from fleets import NODE_IDS


def test_ids_that_look_alike_or_are_too_many_are_left_out_and_counted() -> None:
    assert names_of([b"b", b"a", b"c"], 10) == Names((b"a", b"b", b"c"), ("a", "b", "c"))
    for order in ([b"\xff", b"\\xff"], [b"\\xff", b"\xff"]):
        assert names_of(order, 10) == Names((b"\\xff",), ("\\xff",), ambiguous=1)
    both = [b"\xff\\xfe", b"\\xff\xfe"]
    assert names_of(both, 10) == names_of(both[::-1], 10) == Names((b"\\xff\xfe",), ("\\xff\\xfe",), ambiguous=1)
    assert names_of([b"c", b"a", b"d", b"b"], 2) == Names((b"a", b"b"), ("a", "b"), over_limit=2)


@given(st.sets(NODE_IDS), st.integers(1, 10))
def test_names_are_unique_sorted_and_counted(found: set[bytes], limit: int) -> None:
    names = names_of(found, limit)
    assert list(names.shown) == sorted(set(names.shown))
    assert [shown_id(raw) for raw in names.raw] == list(names.shown)
    "".join(names.shown).encode()
    assert len(names.raw) + names.ambiguous + names.over_limit == len(found)
    assert set(names.raw) <= found
