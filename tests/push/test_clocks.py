"""The times that an alert is given, by two clocks of which either may be wrong."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.push.transport import Clocks

NOON = datetime(2026, 11, 25, 12, 0, 0, 700_000, tzinfo=UTC).timestamp()
HOUR, YEAR = 3600.0, 365.25 * 86_400
FIRST, LAST = "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"


def clocks_of(date: float | str | None, off: float = 0.0) -> Clocks:
    """Return clocks after an answer whose date is so many seconds off, or reads so; ours is ``off``."""
    clocks = Clocks("http://am", wall=lambda: NOON + off, monotonic=lambda: 1000.0)
    clocks.observe(http_date(date) if isinstance(date, (int, float)) else date, 1000.0)
    return clocks


def http_date(off: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(NOON + off), UTC), usegmt=True)


def times(clocks: Clocks) -> tuple[float | None, float | None]:
    """Return, in seconds from now, the start and the end of an alert that began 30 s ago and ends in 120 s."""
    told = clocks.times(970.0, 1120.0)
    unix = {name: datetime.fromisoformat(text).timestamp() - NOON for name, text in told.items()}
    return unix.get("startsAt"), unix.get("endsAt")


def test_an_alert_starts_by_the_earlier_and_ends_by_the_later_of_two_clocks_that_agree_to_a_minute() -> None:
    cases: list[tuple[float | str | None, float, float | None, float | None]] = [
        # the date, our clock; the start and the end (a date is cut to the second)
        (0, 0, -30.7, 120),
        (-40, 0, -70.7, 120),
        (60, 0, -30, 179.3),
        (61, 0, -30, None),
        (-59, 0, -89.7, 120),
        (-62, 0, -92.7, None),
        (HOUR, 0, -30, None),
        (FIRST, 0, -NOON - 30, None),
        (LAST, 0, -30, None),
        ("yesterday", 0, -30, None),
        (None, 0, -30, None),
        ("Wed, 25 Nov 2026 20:00:00 +0800", 0, -30.7, 120),
        ("Wed, 25 Nov 2026 12:00:00", 0, -30.7, 120),
        (0, -HOUR, -HOUR - 30, None),
        (0, HOUR, -30.7, None),
        (0, -60 * YEAR, -60 * YEAR - 30, None),
    ]
    wrong = {case[:2]: times(clocks_of(*case[:2])) for case in cases}
    assert wrong == {case[:2]: pytest.approx(case[2:], abs=0.01) for case in cases}


def test_an_alert_that_is_over_ends_in_the_past_of_both_clocks() -> None:
    for date, ends in ((0, -0.7), (40, 0), (HOUR, 0), (-HOUR, -HOUR - 0.7)):
        told = clocks_of(date).times(970.0, 1000.0, over=True)
        unix = [datetime.fromisoformat(told[key]).timestamp() - NOON for key in ("startsAt", "endsAt")]
        assert unix == pytest.approx([ends - 30, ends], abs=0.01)


def test_a_clock_that_is_unknown_or_was_set_gives_no_end() -> None:
    off = [0.0]
    clocks = Clocks("http://am", wall=lambda: NOON + off[0], monotonic=lambda: 1000.0)
    assert times(clocks) == (pytest.approx(-30), None)
    clocks.observe(http_date(0), 1000.0)
    for off[0], start, known in ((0.0, -30.7, True), (-90.0, -120, False), (90.0, -30.7, False)):
        assert times(clocks)[0] == pytest.approx(start)
        assert (times(clocks)[1] is not None) is known
    clocks.observe(None, 1000.0)
    assert times(clocks)[1] is None, "a date that is missing after a good one"


@given(st.text() | st.dates().map(str) | st.from_regex(r"\w{3}, \d{1,2} \w{3} \d{1,5} \d+:\d+:\d+ [-+]?\w{0,5}"))
def test_no_date_is_an_error(text: str) -> None:
    assert (times(clocks_of(text))[0] or 0) <= -30


def test_a_disagreement_is_logged_once() -> None:
    clocks = Clocks("http://am", wall=lambda: NOON, monotonic=lambda: 1000.0)
    with capture_logs() as logs:
        for date in (http_date(0), None, None, http_date(0), http_date(0), http_date(HOUR), http_date(-HOUR)):
            clocks.observe(date, 1000.0)
    assert [entry["date"] for entry in logs] == [None, http_date(HOUR)]
