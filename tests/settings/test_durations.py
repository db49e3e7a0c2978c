"""Durations, as Prometheus writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.settings.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("1m", 60), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), ("1y", 31_536_000),
     ("1h1m1s1ms", 3661.001), ("0", 0), ("0s", 0), ("90s", 90)],
)  # fmt: skip
def test_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "10", "1.5s", "-1s", "+1s", "1 s", " 1s", "1s ", "s", "10S", "1s1m", "1m1m", "1sec", "1e3s", "\u0661s",
     "1s\n", "inf", "off"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_formatted_duration_reads_back_to_the_millisecond(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds
