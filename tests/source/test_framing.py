"""What comes from Redis is measured before it is parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.source.framing import PLAN, USUAL, Frames, Meter, ReplyTooLargeError

PIECES = st.lists(st.integers(1, 9), min_size=1)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return data in pieces of these sizes, again and again."""
    pieces, position, number = [], 0, 0
    while position < len(data):
        size = sizes[number % len(sizes)]
        pieces.append(data[position : position + size])
        position, number = position + size, number + 1
    return pieces


def is_refused(data: bytes, sizes: list[int], *, exact: bool) -> bool:
    meter = Meter(exact=exact)
    try:
        for piece in cut(data, sizes):
            meter.take(bytearray(piece), len(piece))
    except ReplyTooLargeError as error:
        return error.doubtful is not exact
    return False


@given(PIECES, st.sampled_from(list("*%~>|")), st.booleans())
def test_huge_array_is_refused_however_its_bytes_come(sizes: list[int], kind: str, exact: bool) -> None:  # noqa: FBT001
    data = b"+OK\r\n%b%d\r\n" % (kind.encode(), USUAL.elements + 1)
    assert is_refused(data, sizes, exact=exact)


@given(PIECES, st.binary(max_size=30))
def test_value_that_looks_like_a_huge_array_is_doubted_and_then_taken(sizes: list[int], noise: bytes) -> None:
    value = noise + b"\r\n*300000000\r\n" + noise
    data = b"*1\r\n$%d\r\n%b\r\n:5\r\n" % (len(value), value)
    assert is_refused(data, sizes, exact=False)
    assert not is_refused(data, sizes, exact=True)
    assert is_refused(data + b"*300000000\r\n", sizes, exact=True), "what follows the value is followed exactly"


def test_usual_replies_are_taken() -> None:
    for exact in (True, False):
        assert not is_refused(
            b"*%d\r\n" % USUAL.elements + b"$-1\r\n*-1\r\n$0\r\n\r\n-ERR 1\r\n" * 10, [7], exact=exact
        )


@pytest.mark.parametrize(
    "element", [b"*0\r\n", b"*1\r\n", b"%0\r\n", b"~0\r\n", b"(7\r\n", b"$2\r\nab\r\n", b":70\r\n"]
)
def test_batch_of_too_many_small_elements_is_refused_before_it_has_all_its_bytes(element: bytes) -> None:
    data = element * (3 * USUAL.elements)
    assert len(data) < USUAL.size, "its bytes alone would be taken"
    for exact in (True, False):
        assert is_refused(data, [65_536], exact=exact)


def test_many_lines_of_values_are_doubted_and_then_taken() -> None:
    value = b"\n" * 1_000_000
    data = b"*1\r\n$%d\r\n%b\r\n" % (len(value), value)
    assert is_refused(data, [65_536], exact=False)
    assert not is_refused(data, [65_536], exact=True)


def test_elements_are_counted_anew_in_each_batch() -> None:
    block = bytearray(b"*0\r\n" * (USUAL.elements - 1))
    for exact in (True, False):
        meter = Meter(exact=exact)
        for _ in range(3):
            meter.begin()
            meter.take(block, len(block))
            meter.take(bytearray(b":1\r\n"), 4)


def test_batch_may_have_its_bytes_and_the_next_one_again_as_many() -> None:
    block = bytearray(b"x" * (USUAL.size // 2))
    meter = Meter(exact=False)
    for _ in range(3):
        meter.begin()
        meter.take(block, len(block))
        meter.take(block, len(block))
    with pytest.raises(ReplyTooLargeError):
        meter.take(block, 1)


def test_line_without_end_is_kept_no_longer_than_its_batch_allows() -> None:
    frames = Frames()
    for _ in range(5):
        frames.take(b"+" + b"x" * 10)
    frames.take(b"\r\n:1\r\n")


def test_plan_may_have_a_million_portfolios_and_no_more() -> None:
    for exact in (True, False):
        meter = Meter(exact=exact)
        meter.begin(PLAN)
        meter.take(bytearray(b"*999998\r\n"), 9)
        with pytest.raises(ReplyTooLargeError):
            meter.take(bytearray(b"$-1\r\n*2000000\r\n"), 15)
