"""Numbers and times from Redis: against a strict reference, and for any bytes."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.contract import NUMBERS, Metric
from exporter.snapshot.values import (
    _MEMO_ITEMS,
    Column,
    HeartbeatTimes,
    Memo,
    NumberColumn,
    column_of,
    parse_number,
    unpacked,
    whole_numbers,
)
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


def texts_of(column: Column) -> list[bytes | None]:
    """Return the texts of a column, which are the same in both its forms."""
    assert unpacked(column.packed) == [text or b"" for text in column.texts]
    assert list(column.missing) == [i for i, text in enumerate(column.texts) if text is None]
    return list(column.texts)


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
def test_what_is_no_number_is_left_out(text: bytes) -> None:
    assert parse_number(text) is None
    assert NumberColumn(EVENTS).read([text]) == (column_of([None]), [0])


@given(st.one_of(ANYTHING.filter(lambda text: text is not None), SPACES))
def test_number_is_what_the_grammar_says(text: bytes) -> None:
    assert parse_number(text) == reference(text)


@pytest.mark.parametrize("metric", [EVENTS, CPU, MEMORY], ids=lambda metric: str(metric.field))
@given(columns=st.lists(st.lists(ANYTHING, max_size=6), min_size=1, max_size=3))
def test_column_is_read_value_by_value(metric: Metric, columns: Sequence[Sequence[bytes | None]]) -> None:
    column = NumberColumn(metric)
    for raw in columns:
        read, unreadable = column.read(raw)
        expected = []
        for text in raw:
            number = None if text is None else reference(text)
            scaled = None if number is None else number * metric.multiply / metric.divide
            expected.append(scaled if scaled is not None and math.isfinite(scaled) else None)
        assert [float(text) if text else None for text in texts_of(read)] == expected
        assert list(unreadable) == [
            i for i, (text, number) in enumerate(zip(raw, expected, strict=True)) if text is not None and number is None
        ]


@given(st.lists(ANYTHING, max_size=6))
def test_texts_that_are_passed_on_are_such_as_prometheus_reads(raw: Sequence[bytes | None]) -> None:
    read, _ = NumberColumn(EVENTS).read(raw)
    number = rb"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
    assert all(re.fullmatch(number, text) for text in texts_of(read) if text)


@pytest.mark.parametrize("metric", [EVENTS, CPU, MEMORY], ids=lambda metric: str(metric.field))
@pytest.mark.parametrize(
    "text", [b"0" * 1_000_000 + b"7", b"7." + b"0" * 1_000_000, b"9" * 1_000_000, b"x" * 1_000_000]
)
def test_text_of_a_megabyte_is_never_passed_on(metric: Metric, text: bytes) -> None:
    (read,) = texts_of(NumberColumn(metric).read([text])[0])
    assert not read or (len(read) < 100 and float(read) == 7 * metric.multiply / metric.divide)


def test_value_that_is_infinite_only_after_scaling_is_left_out() -> None:
    assert NumberColumn(EVENTS).read([b"1e308"]) == (column_of([b"1e308"]), [])
    assert NumberColumn(MEMORY).read([b"1e308"]) == (column_of([None]), [0])


def test_scaled_values_are_written_as_prometheus_client_writes_them() -> None:
    assert NumberColumn(MEMORY).read([b"512"]) == (column_of([floatToGoString(512 * 1048576).encode()]), [])
    assert NumberColumn(CPU).read([b"12.5"]) == (column_of([b"0.125"]), [])


def test_missing_values_are_not_unreadable() -> None:
    assert NumberColumn(EVENTS).read([None, b"1", None]) == (column_of([None, b"1", None]), ())
    assert NumberColumn(MEMORY).read([None, None]) == (column_of([None, None]), [])


@given(before=st.integers(0, 1000), length=st.integers(300, 330))
def test_number_of_too_many_digits_is_found_wherever_it_stands(before: int, length: int) -> None:
    raw = [*[b"5"] * before, b"9" * length]
    read, unreadable = NumberColumn(EVENTS).read(raw)
    assert [float(text) for text in texts_of(read) if text] == [
        float(text) for text in raw if math.isfinite(float(text))
    ]
    assert list(unreadable) == [i for i, text in enumerate(raw) if not math.isfinite(float(text))]


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=4), st.integers(0, 10**6).map(lambda n: b"%d" % n)), max_size=5)
)
def test_bulk_check_says_yes_only_to_digits(raw: Sequence[bytes | None]) -> None:
    present = [value for value in raw if value is not None]
    plain = bool(present) and all(re.fullmatch(rb"[0-9]+", value) for value in present)
    assert whole_numbers(raw) == (column_of(raw) if plain else None)


@pytest.mark.parametrize("count", [1, 25, 150, 1_000])
def test_bulk_check_is_enough_for_usual_columns_of_any_length(count: int) -> None:
    assert whole_numbers([b"12345"] * count) == column_of([b"12345"] * count)
    assert whole_numbers([None, *[b"12345"] * count]) == column_of([None, *[b"12345"] * count])


@pytest.mark.parametrize("raw", [[b""], [b"5", b""], [b"", None, b"5"], [None], []])
def test_bulk_check_leaves_empty_values_to_the_check_of_each(raw: list[bytes | None]) -> None:
    assert whole_numbers(raw) is None


@given(st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=4).filter(lambda text: b"\n" not in text))))
def test_column_in_one_piece_is_unpacked_as_it_was(column: Sequence[bytes | None]) -> None:
    assert texts_of(column_of(column)) == column


@given(st.data())
def test_column_is_amended_at_the_positions_given_and_nowhere_else(data: st.DataObject) -> None:
    kinds = st.sampled_from([None, b"1", b"2"])
    texts = data.draw(st.lists(kinds, min_size=1))
    others = data.draw(st.dictionaries(st.integers(0, len(texts) - 1), kinds))
    assert texts_of(column_of(texts).amended(others)) == [others.get(i, text) for i, text in enumerate(texts)]
    positions = data.draw(st.sets(st.integers(0, len(texts) - 1)))
    expected = [None if i in positions else text for i, text in enumerate(texts)]
    assert texts_of(column_of(texts).without(positions)) == expected


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


# --- times -------------------------------------------------------------------------------------

ZONES = [ZoneInfo("UTC"), ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")]
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - naive as nodes write them


def seconds(text: bytes | None) -> float | None:
    return None if text is None else float(text)


@pytest.mark.parametrize("zone", ZONES, ids=str)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=3))
def test_naive_time_is_read_in_the_zone_given(zone: ZoneInfo, moments: list[datetime]) -> None:
    times = HeartbeatTimes(zone)
    for moment in moments * 2:
        assert seconds(times.read(moment.isoformat().encode())) == moment.replace(tzinfo=zone, fold=0).timestamp()


@pytest.mark.parametrize("zone", ZONES, ids=str)
@given(moment=st.datetimes(datetime(1971, 1, 2), datetime(2200, 1, 1), timezones=OFFSETS))  # noqa: DTZ001
def test_offset_goes_before_the_zone(zone: ZoneInfo, moment: datetime) -> None:
    assert seconds(HeartbeatTimes(zone).read(moment.isoformat().encode())) == moment.timestamp()


@pytest.mark.parametrize("ending", ["", "Z", "+00:00"])
def test_utc_may_be_written_in_three_ways(ending: str) -> None:
    expected = datetime(2026, 1, 6, 12, 30, 45, 123456, UTC).timestamp()
    assert seconds(HeartbeatTimes(ZoneInfo("UTC")).read(f"2026-01-06T12:30:45.123456{ending}".encode())) == expected


def test_hour_that_summer_time_skips_or_repeats_is_read_as_datetime_reads_it() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for text in ("2026-03-29T02:30:00.000001", "2026-10-25T02:30:00.000001"):
        expected = datetime.fromisoformat(text).replace(tzinfo=berlin).timestamp()
        assert seconds(HeartbeatTimes(berlin).read(text.encode())) == expected


@given(st.one_of(st.binary(max_size=40), st.text("0123456789-+:.TZ W", max_size=40).map(str.encode)))
def test_any_bytes_are_a_time_to_both_or_to_neither(text: bytes) -> None:
    try:
        moment = datetime.fromisoformat(text.decode("ascii"))
        expected = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        expected = None
    assert seconds(HeartbeatTimes(ZoneInfo("UTC")).read(text)) == expected


@pytest.mark.parametrize(
    "text",
    [b"", b"noon", b"1767702645", b"2026-13-01T00:00:00", b"2026-01-06T25:00:00", b"20260106T12:30:45.0.123456",
     b"\xff",
     b"2026-01-06T12:30:45.12345\xb2", b"2026-01-06T12:30:45.x23456", b"x" * 1_000_000],
)  # fmt: skip
def test_what_is_no_time_is_left_out(text: bytes) -> None:
    assert HeartbeatTimes(ZoneInfo("UTC")).read(text) is None


BEATS = st.one_of(
    st.tuples(MOMENTS, st.sampled_from(["", "+00:00", "+08:00", "+00:00:07", "Z"])).map(
        lambda it: f"{it[0].isoformat()}{it[1]}"
    ),
    st.integers(0, 60_999_999).map(lambda micros: f"2026-01-06T12:30:{micros / 1e6:09.6f}+00:00"),
    st.sampled_from(
        ["", "T", "noon", "2026-01-06T12:30:45", "2026-01-06T12:30:45.123456T", "\n2026-01-06T12:30:45.12345"]
    ),
).map(str.encode)


@pytest.mark.parametrize("zone", ZONES[:2], ids=str)
@given(raw=st.lists(st.one_of(st.none(), BEATS), max_size=4))
def test_column_of_times_is_read_as_each_is_alone(zone: ZoneInfo, raw: Sequence[bytes | None]) -> None:
    times = HeartbeatTimes(zone)
    alone = [None if text is None else times.read(text) for text in raw]
    read, unread = times.read_all(raw)
    assert [float(text) if text else None for text in texts_of(read)] == list(map(seconds, alone))
    assert list(unread) == [i for i, text in enumerate(alone) if text is None is not raw[i]]


def test_thousand_beats_in_one_second_are_reckoned_once() -> None:
    times = HeartbeatTimes(ZoneInfo("UTC"))
    for micros in range(1000):
        times.read(b"2026-01-06T12:30:45.%06d" % micros)
    assert len(times._memo) == 1


@pytest.mark.parametrize("ending", ["", "+00:00", "+08:00", "Z"])
@pytest.mark.parametrize("gaps", [False, True], ids=["all there", "some missing"])
def test_times_written_alike_are_read_without_a_look_at_each(
    ending: str, monkeypatch: pytest.MonkeyPatch, *, gaps: bool
) -> None:
    times = HeartbeatTimes(ZoneInfo("UTC"))
    first = datetime(2026, 1, 6, 12, 30, 35, 1, UTC)
    moments = [first + timedelta(seconds=number / 20, microseconds=number) for number in range(500)]
    written: list[bytes | None] = [f"{moment:%Y-%m-%dT%H:%M:%S.%f}{ending}".encode() for moment in moments]
    shift = 8 * 3600 if ending == "+08:00" else 0
    expected: list[float | None] = [moment.timestamp() - shift for moment in moments]
    if gaps:
        written, expected = [None, *written, None], [None, *expected, None]
    monkeypatch.setattr(times, "read", None)
    column, invalid = times.read_all(written)
    assert [seconds(text) for text in texts_of(column)] == expected
    assert not invalid


@pytest.mark.parametrize(
    "text",
    [
        b"2026-01-06T12:30:45.x23456",
        b"2026-01-06T12:30:45.12345x",
        b"2026-01-06T12:30:45.1234.6",
        b"2026-01-06T12:30:45/123456",
        b"2026-01-06T12:30:451.23456",
        b"2026-01-06T12:30:4.5123456",
        b"2026-01-06T12:30:4\n.123456",
        b"2026-01-06T12:30:45\n123456",
        b"2026-01-06T12:30:45.12345\n",
        b"2026-01-06T12:30:4x.123456",
        b"2026-01-06T12:30:45.123T56",
        b"T026-01-06T12:30:45.123456",
        b"2026-01-0T12:30:45.1234567",
    ],
)
def test_text_that_is_almost_a_time_is_found_among_good_ones(text: bytes) -> None:
    good = b"2026-01-06T12:30:45.123456"
    times = HeartbeatTimes(ZoneInfo("UTC"))
    assert times.read(text) is None
    for raw in ([text], [good, text], [text, good], [good, text, good], [text, text]):
        column, invalid = times.read_all(raw)
        assert texts_of(column) == [None if beat is text else b"1767702645.123456" for beat in raw]
        assert list(invalid) == [i for i, beat in enumerate(raw) if beat is text]


def test_offset_with_seconds_is_read_for_each_time_alone() -> None:
    raw = [b"2026-01-06T12:30:45.123456+00:00:07", b"2026-01-06T12:30:46.000001+00:00:07"]
    column, invalid = HeartbeatTimes(ZoneInfo("UTC")).read_all(raw)
    assert texts_of(column) == [b"1767702638.123456", b"1767702639.000001"]
    assert not invalid


@pytest.mark.parametrize("offset", [b"", b"+00:00"])
@pytest.mark.parametrize("other", [b"x", b"9", b".", b"T", b"\n"])
def test_column_in_which_one_time_has_a_wrong_character_is_read_as_each_is_alone(offset: bytes, other: bytes) -> None:
    times = HeartbeatTimes(ZONES[0])
    usual = b"2026-01-06T12:30:45.123456" + offset
    for position in range(len(usual)):
        wrong = usual[:position] + other + usual[position + 1 :]
        for raw in ([usual, wrong, usual], [wrong, usual], [usual, wrong]):
            alone = list(map(HeartbeatTimes(ZONES[0]).read, raw))
            assert texts_of(times.read_all(raw)[0]) == alone


def test_fraction_of_a_second_before_1970_is_read() -> None:
    times = HeartbeatTimes(ZONES[0])
    assert seconds(times.read(b"1969-12-31T23:59:59.500000")) == -0.5
    assert seconds(times.read(b"1970-01-01T00:00:00.500000")) == 0.5
