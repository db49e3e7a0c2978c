"""Numbers and times from Redis: compared with a strict reference and with the standard library, for any bytes."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.contract import NUMBERS, parse_number
from exporter.snapshot.maker import (
    _MEMO_ITEMS,
    Column,
    HeartbeatTimes,
    Memo,
    are_whole_numbers,
    number_parser,
)
from fleets import NUMBERS as NUMBER_TEXTS

EVENTS, CPU, MEMORY = METRICS = [
    next(metric for metric in NUMBERS if metric.field == field)
    for field in ("total_events", "cpu_usage", "memory_usage")
]
ANYTHING = st.one_of(
    st.none(), NUMBER_TEXTS, st.binary(max_size=8), st.text("0123456789+-.eE_ nainf", max_size=8).map(str.encode)
)
BAD = [
    b"", b"abc", b"1_000", b" 5", b"5 ", b"5\n", b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"-1", b"-1e-300",
    b"1e400", b"1" * 310, b"1e", b"e5", b"1.", b".5", b".", b"+", b"-", b"--5", b"+-5", b"0x10", b"1,5", b"5%",
    b"1e5.5", b"1 000", "\u0665".encode(), "\uff15".encode(), b"\xb2", b"5\x00", b"\xff", b"True", b"None", b"\n5",
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


def test_number_is_ascii_decimal_finite_and_not_negative() -> None:
    assert parse_number(b"007") == 7
    assert number_parser(EVENTS)(BAD).values == [None] * len(BAD)


@given(ANYTHING.filter(lambda text: text is not None))
def test_number_is_read_as_the_grammar_says(text: bytes) -> None:
    assert parse_number(text) == reference(text)


@given(columns=st.lists(st.lists(ANYTHING, max_size=6), min_size=1, max_size=3))
def test_column_is_read_value_by_value(columns: Sequence[Sequence[bytes | None]]) -> None:
    for metric in METRICS:
        parse = number_parser(metric)
        for raw in columns:
            read, text, whole = parse(raw)
            assert (text.split(b"\n")[:-1], whole) == ([value or b"" for value in read], None not in read)
            numbers = [None if value is None else reference(value) for value in raw]
            scaled = [None if number is None else number * metric.multiply / metric.divide for number in numbers]
            expected = [number if number is not None and math.isfinite(number) else None for number in scaled]
            assert [float(value) if value else None for value in read] == expected
            if metric is EVENTS:
                assert all(re.fullmatch(rb"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", value) for value in read if value)


def test_text_of_a_megabyte_is_never_passed_on() -> None:
    million = 1_000_000
    for metric in METRICS:
        for text in (b"0" * million + b"7", b"7." + b"0" * million, b"9" * million, b"x" * million):
            assert number_parser(metric)([text]).values == [None]


def test_scaled_values_are_finite_and_written_as_prometheus_client_writes_them() -> None:
    assert number_parser(MEMORY)([b"512", b"1e308"]).values == [floatToGoString(512 * 1048576).encode(), None]
    assert number_parser(CPU)([b"12.5", None]).values == [b"0.125", None]
    assert number_parser(EVENTS)([b"1e308", None]).values == [b"1e308", None]


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=4), st.integers(0, 10**6).map(lambda n: b"%d" % n)), max_size=5)
)
def test_bulk_check_accepts_only_digits(raw: Sequence[bytes | None]) -> None:
    digits = all(value is not None and re.fullmatch(rb"[0-9]+", value) for value in raw)
    assert are_whole_numbers(Column.of(raw)) == digits


def test_bulk_check_accepts_usual_columns_and_leaves_empty_and_long_values_to_the_check_of_each() -> None:
    for count in (1, 25, 1_000):
        assert are_whole_numbers(Column.of([b"9" * 64, *[b"5"] * count]))
        for wrong in (b"", None, b"9" * 65):
            assert not are_whole_numbers(Column.of([*[b"5"] * count, wrong]))
    assert number_parser(EVENTS)([*[b"5"] * 999, b"9" * 310]).values[-1] is None


@given(st.data())
def test_texts_are_replaced_at_the_given_positions_only(data: st.DataObject) -> None:
    kinds = st.sampled_from([None, b"1", b"2"])
    texts = data.draw(st.lists(kinds, min_size=1))
    others = data.draw(st.dictionaries(st.integers(0, len(texts) - 1), kinds))
    column = Column.of(texts)
    new = column.replaced(others)
    assert new == Column.of([others.get(i, text) for i, text in enumerate(texts)])
    assert (new.whole, column) == (all(new.values), Column.of(texts))


def test_memo_is_bounded_in_items_and_keeps_no_invalid_texts() -> None:
    memo = Memo(lambda number: b"%d" % number)
    assert [memo[number] for number in range(_MEMO_ITEMS)][-1] == b"%d" % (_MEMO_ITEMS - 1)
    assert len(memo) == _MEMO_ITEMS, "nothing is forgotten before the memo is full"
    assert (memo[-1], memo) == (b"-1", {-1: b"-1"})
    nothing = Memo(lambda _: None)
    assert (nothing[b"x" * 1000], nothing[None], nothing) == (None, None, {None: None})


# --- times -----------------------------------------------------------------------------------

ZONES = [ZoneInfo(name) for name in ("UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin")]
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1971, 1, 2), datetime(2200, 1, 1), timezones=st.one_of(st.none(), OFFSETS))  # noqa: DTZ001
USUAL = b"2026-01-06T12:30:45.123456"


def read_by_datetime(text: bytes, zone: ZoneInfo) -> float | None:
    try:
        moment = datetime.fromisoformat(text.decode("ascii"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None


@given(
    st.one_of(
        MOMENTS.map(lambda moment: moment.isoformat().encode()),
        st.binary(max_size=40),
        st.text("0123456789-+:.TZ W", max_size=40).map(str.encode),
    ),
    st.sampled_from(ZONES),
)
def test_time_is_read_as_datetime_reads_it(text: bytes, zone: ZoneInfo) -> None:
    read = HeartbeatTimes(zone).parse_one(text)
    assert (None if read is None else float(read)) == read_by_datetime(text, zone)


def test_hours_that_summer_time_skips_or_repeats_and_odd_offsets_are_read_as_datetime_reads_them() -> None:
    for text in (
        b"2026-03-29T02:30:00.000001",
        b"2026-10-25T02:30:00.000001",
        b"1969-12-31T23:59:59.500000",
        b"2026-01-06T12:30:45.123456+00:00:07",
        b"2026-01-06T12:30:45.123456Z",
    ):
        for zone in ZONES:
            assert float(HeartbeatTimes(zone).parse_one(text) or "nan") == read_by_datetime(text, zone)


@pytest.mark.parametrize("offset", [b"", b"+00:00", b"+08:00", b"Z"])
def test_times_of_the_same_form_are_parsed_together(offset: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    times = HeartbeatTimes(ZONES[0])
    first = datetime(2026, 1, 6, 12, 30, 35, 1, UTC)
    moments = [first + timedelta(seconds=number / 20, microseconds=number) for number in range(500)]
    raw = [f"{moment:%Y-%m-%dT%H:%M:%S.%f}".encode() + offset for moment in moments]
    expected = [read_by_datetime(text, ZONES[0]) for text in raw]
    monkeypatch.setattr(times, "parse_one", None)
    assert list(map(float, times.parse(raw).values)) == expected  # type: ignore[arg-type]
    column = times.parse([None, *raw, None]).values
    assert (column[0], column[-1]) == (None, None)
    assert list(map(float, column[1:-1])) == expected  # type: ignore[arg-type]


def test_text_that_is_almost_a_time_is_found_among_valid_times() -> None:
    almost = {
        USUAL[:at] + other + USUAL[at + 1 :] for at in range(len(USUAL)) for other in (b"x", b"9", b".", b"T", b"\n")
    }
    almost |= {b"T026-01-06T12:30:45.123456", b"2026-01-0T12:30:45.1234567", b"1767702645.123456", b"", b"noon"}
    almost |= {b"2026-01-06T123040.1.123456", USUAL + b"\n" + USUAL}
    for text in sorted(almost):
        for offset in (b"", b"+00:00"):
            wrong, good = text + offset, USUAL + offset
            read = read_by_datetime(wrong, ZONES[0])
            for raw in ([wrong], [good, wrong], [wrong, good], [good, wrong, good], [wrong, wrong]):
                column = HeartbeatTimes(ZONES[0]).parse(raw).values
                expected = [1767702645.123456 if beat is good else read for beat in raw]
                assert [None if beat is None else float(beat) for beat in column] == expected
