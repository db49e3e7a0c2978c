"""``check`` says where heartbeats do not fit the settings, and fails only for what must be changed."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from exporter.commands.finding import Finding
from exporter.commands.heartbeat_findings import heartbeat_findings
from exporter.settings import Heartbeat
from lab.readings import ENDLESS, WALL, Pair, reading_of

SHANGHAI = timezone(timedelta(hours=8))


def written(left: float = 25.0, ttl: float = 30.0, zone: timezone | None = None, ahead: float = 0.0) -> Pair:
    """Return a node whose heartbeat has so many seconds left; with a zone the time is naive and local there."""
    time = datetime.fromtimestamp(WALL - ttl + left + ahead, zone or UTC)
    return Pair(left, beat=(time.replace(tzinfo=None) if zone else time).isoformat().encode())


def findings(*pairs: Pair, heartbeat: Heartbeat | None = None) -> list[Finding]:
    nodes = {f"node-{number}".encode(): pair for number, pair in enumerate(pairs)}
    return list(heartbeat_findings(reading_of(nodes), heartbeat or Heartbeat()))


def test_fitting_heartbeats_give_no_finding() -> None:
    assert findings(written(29.9), written(20.1), written(zone=UTC), Pair()) == []


def test_ttl_longer_than_the_setting_must_be_changed() -> None:
    (found,) = findings(written(), written(58.0, ttl=60))
    assert found.must
    assert "node node-1 lives for 58s more, longer than --heartbeat.ttl (30s)" in found.fact


def test_only_short_ttls_are_worth_a_note() -> None:
    (found,) = findings(*(written(left, ttl=15) for left in (14.5, 12.0, 10.5)), heartbeat=Heartbeat(ttl=30.0))[:1]
    assert not found.must
    assert "no heartbeat lives for more than 15s" in found.fact
    assert findings(written(14.5), written(12.0)) == []


def test_heartbeat_that_never_expires_is_named() -> None:
    (found,) = findings(ENDLESS, ENDLESS, written())
    assert found.fact.startswith("the heartbeat of node node-0 (and of 1 more node) never expires")


def test_naive_times_of_another_zone_must_be_changed_and_the_offset_is_named() -> None:
    (found,) = findings(written(zone=SHANGHAI), written(22.0, zone=SHANGHAI), written())
    assert found.must
    assert "in another time zone, UTC+0800" in found.fact
    assert "--heartbeat.timezone (UTC)" in found.fact
    assert findings(written(zone=SHANGHAI), heartbeat=Heartbeat(timezone=ZoneInfo("Asia/Shanghai"))) == []


@pytest.mark.parametrize("ahead", [3600.0, -200.0])
def test_clock_of_one_node_is_a_note(ahead: float) -> None:
    (found,) = findings(written(zone=UTC), written(ahead=ahead))
    assert not found.must
    assert found.fact.startswith("the heartbeat of node node-1 has a time that is")
    assert ("ahead" if ahead > 0 else "behind") in found.fact


def test_text_that_is_no_time_is_named() -> None:
    (found,) = findings(Pair(25, beat=b"alive"), Pair(25, beat=b"\xff"))
    assert "is no time in ISO 8601" in found.fact


def test_id_cannot_imitate_a_line() -> None:
    (found,) = heartbeat_findings(reading_of({b"a\nredis: good\x1b[2J": ENDLESS}), Heartbeat())
    line = found.line("redis")
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.startswith("redis: note: ")
