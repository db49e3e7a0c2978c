"""The times that an alert is given, by two clocks of which either may be wrong."""

import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.push.clock import Clocks, offsets

NOON = datetime(2026, 11, 25, 12, 0, 0, 700_000, tzinfo=UTC).timestamp()
HOUR = 3600.0


class Now:
    """Both of our clocks, as a test sets them."""

    def __init__(self, off: float = 0.0) -> None:
        self.passed = 1000.0
        self.off = off

    def wall(self) -> float:
        return NOON + self.passed - 1000.0 + self.off

    def monotonic(self) -> float:
        return self.passed


def clocks_of(date: float | str | None, now: Now | None = None, took: float = 0.0) -> Clocks:
    """Return clocks after an answer whose date is so many seconds off, or reads so."""
    now = now or Now()
    clocks = Clocks("http://am", wall=now.wall, monotonic=now.monotonic)
    text = http_date(NOON + date) if isinstance(date, (int, float)) else date
    clocks.observe(text, now.passed - took, now.passed)
    return clocks


def http_date(unix: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(unix), UTC), usegmt=True)


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() - NOON


def times(clocks: Clocks) -> tuple[float, float | None]:
    """Return, in seconds from now, the start and the end of an alert that began 30 s ago and ends in 120 s."""
    given = clocks.firing(970.0, 1120.0)
    return unix(given["startsAt"]), unix(given["endsAt"]) if "endsAt" in given else None


def test_an_alert_starts_by_the_earlier_and_ends_by_the_later_of_two_clocks_that_agree() -> None:
    assert times(clocks_of(0)) == pytest.approx((-30.7, 120))  # a date is cut to the second
    assert times(clocks_of(-40)) == pytest.approx((-70.7, 120))
    assert times(clocks_of(40)) == pytest.approx((-30, 159.3))


@pytest.mark.parametrize("off", [60, -60])
def test_clocks_agree_up_to_a_minute(off: float) -> None:
    # The second that the date is cut to counts for the date.
    assert times(clocks_of(off))[1] is not None
    assert times(clocks_of(off + (0.5 if off < 0 else 0)))[1] is not None
    assert times(clocks_of(61 if off > 0 else -62))[1] is None
    assert times(clocks_of(off + (2 if off > 0 else -2)))[1] is None


@pytest.mark.parametrize(
    ("date", "starts"),
    [
        (-600, -630.7),
        (HOUR, -30),
        ("Thu, 01 Jan 1970 00:00:00 GMT", -30),
        ("Fri, 31 Dec 9999 23:59:59 GMT", -30),
        ("Fri, 31 Dec 2019 23:59:59 GMT", -30),
        ("Fri, 01 Jan 2100 00:00:00 GMT", -30),
        ("yesterday", -30),
        ("", -30),
        (None, -30),
    ],
)
def test_alertmanager_reckons_the_end_itself_where_no_date_confirms_our_clock(
    date: float | str | None, starts: float
) -> None:
    start, end = times(clocks_of(date))
    assert start == pytest.approx(starts)
    assert end is None


@pytest.mark.parametrize(("off", "starts"), [(-HOUR, -HOUR - 30), (HOUR, -30.7), (-60 * 365.25 * 24 * HOUR, -30.7)])
def test_an_alert_starts_in_the_past_though_our_own_clock_is_the_wrong_one(off: float, starts: float) -> None:
    assert times(clocks_of(0, Now(off))) == (pytest.approx(starts), None)


@pytest.mark.parametrize(
    ("ours", "sane"),
    [("2019-12-31T23:59", False), ("2020-01-01T00:01", True), ("2099-12-31T23:59", True), ("2100-01-01T00:01", False)],
)
def test_a_clock_is_used_from_2020_to_2099(ours: str, *, sane: bool) -> None:
    clocks = clocks_of(None, Now(unix(f"{ours}+00:00")))
    assert set(clocks.firing(970.0, 1120.0)) == ({"startsAt"} if sane else set())


def test_no_time_is_given_where_both_clocks_agree_on_1970() -> None:
    clocks = clocks_of("Thu, 01 Jan 1970 00:10:00 GMT", Now(600 - NOON))
    assert clocks.problem == ""
    assert clocks.firing(970.0, 1120.0) == {}


def test_no_time_is_given_where_no_clock_can_be_right() -> None:
    clocks = clocks_of("Thu, 01 Jan 1970 00:00:00 GMT", Now(-60 * 365.25 * 24 * HOUR))
    assert clocks.firing(970.0, 1120.0) == {}
    ended = clocks.ended(970.0, 1000.0)
    assert datetime.fromisoformat(ended["startsAt"]) < datetime.fromisoformat(ended["endsAt"])
    assert unix(ended["endsAt"]) < -HOUR


@pytest.mark.parametrize(("date", "ends"), [(0, -0.7), (-40, -40.7), (40, 0), (HOUR, 0), (-HOUR, -HOUR - 0.7)])
def test_an_alert_that_is_over_ends_in_the_past_of_both_clocks(date: float, ends: float) -> None:
    ended = clocks_of(date).ended(970.0, 1000.0)
    assert unix(ended["endsAt"]) == pytest.approx(ends)
    assert unix(ended["startsAt"]) == pytest.approx(ends - 30)


@pytest.mark.parametrize(
    ("date", "took", "offset"),
    [
        (0, 0, 0),  # between 0.7 s behind and 0.3 s ahead
        (-10, 0, -9.7),
        (10, 0, 9.3),
        (-80, 80, 0),  # the date may be from the beginning of a slow answer
        (-90, 80, -9.7),
        (10, 80, 9.3),
    ],
)
def test_an_offset_is_the_smallest_that_the_answer_allows(date: float, took: float, offset: float) -> None:
    assert clocks_of(date, took=took).offset == pytest.approx(offset)


def test_a_slow_answer_is_no_reason_to_leave_the_end_out() -> None:
    assert times(clocks_of(-80, took=80)) == pytest.approx((-110.7, 120))


def test_a_clock_is_doubtful_before_the_first_answer_and_when_ours_was_set() -> None:
    now = Now()
    clocks = Clocks("http://am", wall=now.wall, monotonic=now.monotonic)
    assert clocks.doubtful
    assert clocks.offset is None
    assert times(clocks) == (pytest.approx(-30), None)
    clocks.observe(http_date(NOON), 1000.0, 1000.0)
    assert not clocks.doubtful
    for jump in (-1.1, 1.1):
        now.off = jump
        assert clocks.doubtful
        assert times(clocks) == (pytest.approx(-30 + jump), None)
    for drift in (-0.9, 0.9):
        now.off = drift
        assert not clocks.doubtful


def test_the_last_date_counts_on_while_time_passes() -> None:
    now = Now()
    clocks = clocks_of(40, now)
    now.passed += 10
    assert times(clocks) == pytest.approx((-30, 159.3))  # the same moments, told later


def test_a_missing_date_after_a_good_one_makes_the_clock_unknown() -> None:
    clocks = clocks_of(40)
    clocks.observe(None, 1000.0, 1000.0)
    assert clocks.offset is None
    assert not clocks.doubtful
    assert times(clocks) == (pytest.approx(-30), None)


@pytest.mark.parametrize("text", ["12:00:00 -0000", "12:00:00", "12:00:00 GMT", "20:00:00 +0800"])
def test_a_date_without_a_zone_is_universal_time(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert clocks_of(f"Wed, 25 Nov 2026 {text}").offset == 0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text() | st.dates().map(str) | st.from_regex(r"\w{3}, \d{1,2} \w{3} \d{1,5} \d+:\d+:\d+ [-+]?\w{0,5}"))
def test_no_date_is_an_error(text: str) -> None:
    assert times(clocks_of(text))[0] <= -30


def test_a_disagreement_is_logged_once_and_its_end_too() -> None:
    clocks = Clocks("http://am", wall=Now().wall, monotonic=Now().monotonic)
    with capture_logs() as logs:
        for date in (
            http_date(NOON),
            None,
            None,
            http_date(NOON),
            http_date(NOON),
            http_date(NOON + HOUR),
            http_date(NOON - HOUR),
        ):
            clocks.observe(date, 1000.0, 1000.0)
    event = "alerts end by Alertmanager's resolve_timeout"
    none, far = "its answers have no readable Date", "the Date of its answers is 3599 s ahead of this machine's clock"
    good = {"event": "Alertmanager's clock and ours agree again", "log_level": "info", "url": "http://am"}
    bad = {"event": event, "log_level": "warning", "url": "http://am"}
    assert logs == [
        {**bad, "because": none, "date": None},
        good,
        {**bad, "because": far, "date": http_date(NOON + HOUR)},
    ]


def test_a_problem_says_which_way() -> None:
    assert clocks_of(0).problem == ""
    assert clocks_of(-HOUR).problem == "the Date of its answers is 3600 s behind this machine's clock"


def test_offsets_are_a_metric_of_each_alertmanager_whose_clock_is_known() -> None:
    unknown = Clocks("http://other")
    family = offsets([clocks_of(-10), unknown, clocks_of(None)])
    assert family.name == "ginkgo_bridge_clock_offset_seconds"
    assert [(sample.labels, sample.value) for sample in family.samples] == [
        ({"alertmanager": "http://am"}, pytest.approx(-9.7))
    ]
