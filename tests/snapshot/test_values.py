"""Numbers from Redis: compared with a strict reference, for any bytes."""

import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.contract import NUMBERS, Metric
from exporter.snapshot.values import _MEMO_ITEMS, Memo, NumberParser, are_whole_numbers, parse_number, removed, replaced
from fleets import NUMBERS as NUMBER_TEXTS

EVENTS, CPU, MEMORY = (
    next(metric for metric in NUMBERS if metric.field == field)
    for field in ("total_events", "cpu_usage", "memory_usage")
)
ANYTHING = st.one_of(
    st.none(), NUMBER_TEXTS, st.binary(max_size=8), st.text("0123456789+-.eE_ nainf", max_size=8).map(str.encode)
)
SPACES = st.sampled_from([b" 5", b"5 ", b"\t5", b"5\n", b"\n5", b"5\x00", b"5\x0b"])
GOOD = [b"0", b"5", b"007", b"+5", b"-0", b"1.5", b"1e3", b"1E+3", b"1.25e-3", b"1e-400", b"1" * 309]
BAD = [
    b"", b"abc", b"1_000", b" 5", b"5 ", b"5\n", b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"-1",
    b"-1e-300", b"1e400",
    b"1" * 310, b"1e", b"e5", b"1.", b".5", b".", b"+", b"-", b"--5", b"+-5", b"0x10", b"1,5",
    b"5%", b"1e5.5", b"1 000",
    "\u0665".encode(), "\uff15".encode(), b"\xb2", b"5\x00", b"\xff", b"True", b"None",
]  # fmt: skip


def reference(text: bytes) -> float | None:
    """A number by the contract's words, written a second time: letter by letter."""
    rest = text.decode("latin-1")
    rest = rest[1:] if rest[:1] in ("+", "-") else rest
    mantissa, e, exponent = rest.replace("E", "e").partition("e")
    whole, dot, fraction = mantissa.partition(".")
    exponent_digits = exponent[1:] if exponent[:1] in ("+", "-") else exponent
    parts = [whole, *([fraction] if dot else []), *([exponent_digits] if e else [])]
    if not all(part and set(part) <= set("0123456789") for part in parts):
        return None
    number = float(text)
    return number if 0 <= number < math.inf else None


@pytest.mark.parametrize("text", GOOD)
def test_number_is_read(text: bytes) -> None:
    assert parse_number(text) == float(text)


@pytest.mark.parametrize("text", BAD)
def test_text_that_is_not_a_number_is_invalid(text: bytes) -> None:
    assert parse_number(text) is None
    assert NumberParser(EVENTS).parse([text]) == ([None], [0])


@given(st.one_of(ANYTHING.filter(lambda text: text is not None), SPACES))
def test_number_is_read_as_the_grammar_says(text: bytes) -> None:
    assert parse_number(text) == reference(text)


@pytest.mark.parametrize("metric", [EVENTS, CPU, MEMORY], ids=lambda metric: str(metric.field))
@given(columns=st.lists(st.lists(ANYTHING, max_size=6), min_size=1, max_size=3))
def test_column_is_read_value_by_value(metric: Metric, columns: Sequence[Sequence[bytes | None]]) -> None:
    parser = NumberParser(metric)
    for raw in columns:
        read, unreadable = parser.parse(raw)
        expected = []
        for text in raw:
            number = None if text is None else reference(text)
            scaled = None if number is None else number * metric.multiply / metric.divide
            expected.append(scaled if scaled is not None and math.isfinite(scaled) else None)
        assert [float(text) if text else None for text in read] == expected
        assert list(unreadable) == [
            i for i, (text, number) in enumerate(zip(raw, expected, strict=True)) if text is not None and number is None
        ]


@given(st.lists(ANYTHING, max_size=6))
def test_texts_that_are_passed_on_can_be_parsed_by_prometheus(raw: Sequence[bytes | None]) -> None:
    read, _ = NumberParser(EVENTS).parse(raw)
    number = rb"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
    assert all(re.fullmatch(number, text) for text in read if text)


@pytest.mark.parametrize("metric", [EVENTS, CPU, MEMORY], ids=lambda metric: str(metric.field))
@pytest.mark.parametrize(
    "text", [b"0" * 1_000_000 + b"7", b"7." + b"0" * 1_000_000, b"9" * 1_000_000, b"x" * 1_000_000]
)
def test_text_of_a_megabyte_is_never_passed_on(metric: Metric, text: bytes) -> None:
    (read,) = NumberParser(metric).parse([text])[0]
    assert not read or (len(read) < 100 and float(read) == 7 * metric.multiply / metric.divide)


def test_value_that_is_infinite_only_after_scaling_is_invalid() -> None:
    assert NumberParser(EVENTS).parse([b"1e308"]) == ([b"1e308"], [])
    assert NumberParser(MEMORY).parse([b"1e308"]) == ([None], [0])


def test_scaled_values_are_written_as_prometheus_client_writes_them() -> None:
    assert NumberParser(MEMORY).parse([b"512"]) == ([floatToGoString(512 * 1048576).encode()], [])
    assert NumberParser(CPU).parse([b"12.5"]) == ([b"0.125"], [])


def test_missing_values_are_not_invalid() -> None:
    assert NumberParser(EVENTS).parse([None, b"1", None]) == ([None, b"1", None], [])
    assert NumberParser(MEMORY).parse([None, None]) == ([None, None], [])


@given(before=st.integers(0, 1000), length=st.integers(300, 330))
def test_number_of_too_many_digits_is_found_wherever_it_stands(before: int, length: int) -> None:
    raw = [*[b"5"] * before, b"9" * length]
    read, unreadable = NumberParser(EVENTS).parse(raw)
    assert [float(text) for text in read if text] == [float(text) for text in raw if math.isfinite(float(text))]
    assert list(unreadable) == [i for i, text in enumerate(raw) if not math.isfinite(float(text))]


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=4), st.integers(0, 10**6).map(lambda n: b"%d" % n)), max_size=5)
)
def test_bulk_check_accepts_only_digits(raw: Sequence[bytes | None]) -> None:
    digits = bool(raw) and all(value is not None and re.fullmatch(rb"[0-9]+", value) for value in raw)
    assert are_whole_numbers(raw) == digits


@pytest.mark.parametrize("count", [1, 25, 150, 1_000])
def test_bulk_check_accepts_usual_columns_of_any_length(count: int) -> None:
    assert are_whole_numbers([b"12345"] * count)
    assert are_whole_numbers([b"9" * 64, *[b"5"] * count])


@pytest.mark.parametrize("raw", [[b""], [b"5", b""], [b"", None, b"5"], [b"5", None], [None], [], [b"5", b"9" * 65]])
def test_bulk_check_leaves_missing_empty_and_long_values_to_the_check_of_each(raw: list[bytes | None]) -> None:
    assert not are_whole_numbers(raw)


@given(st.data())
def test_texts_are_replaced_and_removed_at_the_given_positions_only(data: st.DataObject) -> None:
    kinds = st.sampled_from([None, b"1", b"2"])
    texts = data.draw(st.lists(kinds, min_size=1))
    others = data.draw(st.dictionaries(st.integers(0, len(texts) - 1), kinds))
    before = [*texts]
    assert replaced(texts, others) == [others.get(i, text) for i, text in enumerate(texts)]
    positions = data.draw(st.sets(st.integers(0, len(texts) - 1)))
    assert removed(texts, positions) == [None if i in positions else text for i, text in enumerate(texts)]
    assert texts == before


def test_memo_is_bounded_in_items() -> None:
    memo = Memo[int](lambda number: b"%d" % number)
    for number in range(_MEMO_ITEMS):
        assert memo[number] == b"%d" % number
    assert len(memo) == _MEMO_ITEMS, "nothing is forgotten before the memo is full"
    assert memo[-1] == b"-1"
    assert memo == {-1: b"-1"}


def test_memo_keeps_no_long_texts() -> None:
    memo = Memo[bytes](bytes.upper)
    assert memo[b"x" * 65] == b"X" * 65
    assert not memo
    assert memo[b"x" * 64] == b"X" * 64
    assert len(memo) == 1
