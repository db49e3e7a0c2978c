"""Times from heartbeats: compared with the standard library's reading, for any bytes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.snapshot.times import HeartbeatTimes

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
        assert seconds(times.parse_one(moment.isoformat().encode())) == moment.replace(tzinfo=zone, fold=0).timestamp()


@pytest.mark.parametrize("zone", ZONES, ids=str)
@given(moment=st.datetimes(datetime(1971, 1, 2), datetime(2200, 1, 1), timezones=OFFSETS))  # noqa: DTZ001
def test_offset_overrides_the_zone(zone: ZoneInfo, moment: datetime) -> None:
    assert seconds(HeartbeatTimes(zone).parse_one(moment.isoformat().encode())) == moment.timestamp()


@pytest.mark.parametrize("ending", ["", "Z", "+00:00"])
def test_utc_may_be_written_in_three_ways(ending: str) -> None:
    expected = datetime(2026, 1, 6, 12, 30, 45, 123456, UTC).timestamp()
    assert (
        seconds(HeartbeatTimes(ZoneInfo("UTC")).parse_one(f"2026-01-06T12:30:45.123456{ending}".encode())) == expected
    )


def test_hour_that_summer_time_skips_or_repeats_is_read_as_datetime_reads_it() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for text in ("2026-03-29T02:30:00.000001", "2026-10-25T02:30:00.000001"):
        expected = datetime.fromisoformat(text).replace(tzinfo=berlin).timestamp()
        assert seconds(HeartbeatTimes(berlin).parse_one(text.encode())) == expected


@given(st.one_of(st.binary(max_size=40), st.text("0123456789-+:.TZ W", max_size=40).map(str.encode)))
def test_any_bytes_are_read_as_datetime_reads_them(text: bytes) -> None:
    try:
        moment = datetime.fromisoformat(text.decode("ascii"))
        expected = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        expected = None
    assert seconds(HeartbeatTimes(ZoneInfo("UTC")).parse_one(text)) == expected


@pytest.mark.parametrize(
    "text",
    [b"", b"noon", b"1767702645", b"2026-13-01T00:00:00", b"2026-01-06T25:00:00", b"20260106T12:30:45.0.123456",
     b"\xff",
     b"2026-01-06T12:30:45.12345\xb2", b"2026-01-06T12:30:45.x23456", b"x" * 1_000_000],
)  # fmt: skip
def test_text_that_is_not_a_time_is_invalid(text: bytes) -> None:
    assert HeartbeatTimes(ZoneInfo("UTC")).parse_one(text) is None


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
def test_column_of_times_is_read_as_each_time_alone(zone: ZoneInfo, raw: Sequence[bytes | None]) -> None:
    times = HeartbeatTimes(zone)
    alone = [None if text is None else times.parse_one(text) for text in raw]
    read, unread = times.parse(raw)
    assert [float(text) if text else None for text in read] == list(map(seconds, alone))
    assert list(unread) == [i for i, text in enumerate(alone) if text is None is not raw[i]]


def test_thousand_beats_in_one_second_are_computed_once() -> None:
    times = HeartbeatTimes(ZoneInfo("UTC"))
    for micros in range(1000):
        times.parse_one(b"2026-01-06T12:30:45.%06d" % micros)
    assert len(times._memo) == 1


@pytest.mark.parametrize("ending", ["", "+00:00", "+08:00", "Z"])
@pytest.mark.parametrize("gaps", [False, True], ids=["all there", "some missing"])
def test_times_of_the_same_form_are_parsed_together(
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
    monkeypatch.setattr(times, "parse_one", None)
    column, invalid = times.parse(written)
    assert [seconds(text) for text in column] == expected
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
def test_text_that_is_almost_a_time_is_found_among_valid_times(text: bytes) -> None:
    good = b"2026-01-06T12:30:45.123456"
    times = HeartbeatTimes(ZoneInfo("UTC"))
    assert times.parse_one(text) is None
    for raw in ([text], [good, text], [text, good], [good, text, good], [text, text]):
        column, invalid = times.parse(raw)
        assert column == [None if beat is text else b"1767702645.123456" for beat in raw]
        assert list(invalid) == [i for i, beat in enumerate(raw) if beat is text]


def test_offset_with_seconds_is_read() -> None:
    raw = [b"2026-01-06T12:30:45.123456+00:00:07", b"2026-01-06T12:30:46.000001+00:00:07"]
    column, invalid = HeartbeatTimes(ZoneInfo("UTC")).parse(raw)
    assert column == [b"1767702638.123456", b"1767702639.000001"]
    assert not invalid


@pytest.mark.parametrize("offset", [b"", b"+00:00"])
@pytest.mark.parametrize("other", [b"x", b"9", b".", b"T", b"\n"])
def test_column_with_one_wrong_character_is_read_as_each_time_alone(offset: bytes, other: bytes) -> None:
    times = HeartbeatTimes(ZONES[0])
    usual = b"2026-01-06T12:30:45.123456" + offset
    for position in range(len(usual)):
        wrong = usual[:position] + other + usual[position + 1 :]
        for raw in ([usual, wrong, usual], [wrong, usual], [usual, wrong]):
            alone = list(map(HeartbeatTimes(ZONES[0]).parse_one, raw))
            assert times.parse(raw)[0] == alone


def test_fraction_of_a_second_before_1970_is_read() -> None:
    times = HeartbeatTimes(ZONES[0])
    assert seconds(times.parse_one(b"1969-12-31T23:59:59.500000")) == -0.5
    assert seconds(times.parse_one(b"1970-01-01T00:00:00.500000")) == 0.5
