"""Rows for people: ages, rates, and how values read."""

from typing import Any

import pytest

from exporter.contract import COLUMN_NAMES, NODE_METRICS, NUMBERS
from exporter.snapshot.rows import (
    COLUMNS,
    NODE_KEYS,
    count,
    duration,
    moment,
    offline_first,
    rows_of,
)
from fleets import Exporter, snapshot_of
from lab.nodes import ALIVE, CRASHED, ENDLESS, WALL, Pair

BY_NAME = {column.name: column for column in COLUMNS}
UNKNOWN = "–"  # noqa: RUF001


def row(pair: Pair) -> dict[str, Any]:
    return next(rows_of(snapshot_of({b"a": pair})))


def node(events: int = 0, drops: int = 0, ttl: float = 30, pushed_back: int = 0) -> Pair:
    counters = {"total_events": events, "dropped_events": drops, "backpressure_count": pushed_back}
    return Pair(ttl=ttl, fields={name: b"%d" % value for name, value in counters.items()})


def test_row_holds_each_value_of_the_contract() -> None:
    fields = {
        "portfolio_count": b"3",
        "queue_size": b"1.5",
        "cpu_usage": b"12.5",
        "memory_usage": b"2",
        "total_events": b"9007199254740993",
        "backpressure_count": b"9007199254740992.0",
        "dropped_events": b"9007199254740991.0",
        "status": b"PAUSED",
    }
    full, bare = rows_of(snapshot_of({b"a": Pair(ttl=12.5, fields=fields), b"b": Pair(ttl=30, fields={})}))
    known = {
        "node_id": "a",
        "state": "online",
        "heartbeat_ttl_seconds": 12.5,
        "last_heartbeat": WALL + 0.123456,
        "portfolios": 3,
        "queue_size": 1.5,
        "cpu_usage_ratio": 0.125,
        "memory_usage_bytes": 2 * 2**20,
        "events": 9007199254740993,
        "backpressure": 2.0**53,
        "dropped_events": 2**53 - 1,
        "status": "PAUSED",
        "heartbeat_age_seconds": 17.5,
    }
    assert list(full) == list(NODE_KEYS)
    assert {key: value for key, value in full.items() if value is not None} == known
    assert [type(full[key]) for key in ("events", "backpressure", "dropped_events")] == [int, float, int]
    assert {key for key, value in bare.items() if value is not None} == {
        *("node_id", "state", "heartbeat_ttl_seconds", "last_heartbeat", "heartbeat_age_seconds")
    }


def test_age_of_a_living_heartbeat_comes_from_its_ttl_whatever_the_node_wrote() -> None:
    assert row(Pair(ttl=12, beat=b"2020-01-01T00:00:00"))["heartbeat_age_seconds"] == 18
    assert row(Pair(ttl=600))["heartbeat_age_seconds"] == 0
    assert row(ENDLESS)["heartbeat_age_seconds"] is None


def test_age_of_an_ended_heartbeat_comes_from_the_end_that_was_seen() -> None:
    exporter = Exporter()
    for at in range(0, 51, 5):
        alive = Pair(ttl=30 - at, beat=b"2020-01-01T00:00:00") if at < 30 else CRASHED
        snapshot = exporter.snapshot({b"a": alive}, at)
    (dead,) = rows_of(snapshot)
    assert (dead["state"], dead["heartbeat_age_seconds"], dead["offline_seconds"]) == ("offline", 50, 20)
    assert (dead["offline_since"], dead["offline_since_exact"]) == (WALL + 30, True)
    assert BY_NAME["since"].text(dead) == "20s (since 12:31:15)"
    assert BY_NAME["since"].text(dead | {"offline_seconds": 90_000.0}) == "1d 1h (since 2026-01-06 12:31:15)"
    never_seen = row(CRASHED)
    assert (never_seen["heartbeat_age_seconds"], never_seen["offline_since_exact"]) == (None, False)
    assert BY_NAME["since"].text(never_seen) == "0s (since before 12:30:45)"
    assert BY_NAME["since"].text(row(ALIVE)) == UNKNOWN


def test_events_a_second_are_counted_over_a_minute_or_two() -> None:
    exporter = Exporter()
    rates = []
    for at, events in ((0, 1000), (30, 1300), (60, 1600), (90, 1900), (120, 2501), (125, 10), (130, 0)):
        (shown,) = rows_of(exporter.snapshot({b"a": node(events)}, at))
        rates.append(shown["events_per_second"])
    assert rates == [None, None, 10, 10, 15.017, None, None], "the node starts anew at 125 s"
    assert BY_NAME["events/s"].text({"events_per_second": 100.0}) == "100"


def test_drops_and_backpressure_of_the_last_minutes_are_marked() -> None:
    exporter = Exporter()
    for at, drops in ((0, 5), (10, 5), (20, 25), (30, 61)):
        (shown,) = rows_of(exporter.snapshot({b"a": node(drops=drops, pushed_back=7)}, at))
    assert (shown["dropped_recently"], shown["backpressure_recently"]) == (56, None)
    assert (BY_NAME["drops"].text(shown), BY_NAME["backpressure"].text(shown)) == ("61 (+56)", "7")
    late = Exporter()
    for at, pair in ((0, Pair(ttl=30, fields={})), (60, node(drops=5)), (90, node(drops=50))):
        (grown,) = rows_of(late.snapshot({b"a": pair}, at))
    assert grown["dropped_recently"] == 45, "the first read did not show them"
    snapshot = exporter.snapshot({b"a": node(drops=3, pushed_back=9), b"b": node(drops=99)}, 40)
    shown, new = rows_of(snapshot)
    assert (shown["dropped_recently"], shown["backpressure_recently"]) == (3, 2), "a restart counts from 0"
    assert (snapshot.dropping, new["dropped_recently"]) == ({"a"}, None)
    for at in range(100, 460, 60):
        snapshot = exporter.snapshot({b"a": node(drops=3, pushed_back=9)}, at)
    assert not snapshot.dropping


def test_every_number_has_a_field_and_a_key_of_its_own_and_a_counter_ends_in_total() -> None:
    assert len({metric.field for metric in NUMBERS} - {None}) == len({metric.key for metric in NUMBERS}) == len(NUMBERS)
    assert [m.name for m in NODE_METRICS if m.name.endswith("_total") is not (m.kind == "counter")] == []


def test_every_number_with_a_title_has_a_column() -> None:
    titled = [(metric.title, metric.key) for metric in NUMBERS if metric.title]
    assert [each for column in COLUMNS if (each := (column.title, column.key)) in titled] == titled
    assert tuple(BY_NAME) == COLUMN_NAMES
    assert {column.name for column in COLUMNS if not column.number} == {"state", "node", "since", "status"}


def test_the_worst_state_comes_first() -> None:
    rows = [{"state": s, "node_id": n} for s, n in (("online", "a"), ("undecided", "b"), ("offline", "d"))]
    assert [each["node_id"] for each in sorted([*rows, {"state": "offline", "node_id": "c"}], key=offline_first)] == [
        *("c", "d", "b", "a")
    ]


def test_values_have_texts_for_people() -> None:
    durations = {0: "0s", 18.9: "18s", 60: "1m 0s", 250: "4m 10s", 3599: "59m 59s", 3660: "1h 1m", 86_400: "1d 0h"}
    assert {seconds: duration(seconds) for seconds in durations} == durations
    counts = {0: "0", 1234567: "1,234,567", 2.25: "2.2", 1e15 - 1: "999,999,999,999,999"}
    assert {number: count(number) for number in counts} == counts
    assert BY_NAME["cpu"].text({"cpu_usage_ratio": 0.125}) == "12.5 %"
    memory = BY_NAME["memory"]
    assert [memory.text({"memory_usage_bytes": m * 2**20}) for m in (0, 512, 1536)] == ["0 MiB", "512 MiB", "1,536 MiB"]
    assert [moment(unix) for unix in (1e18, 1e12, float("inf"), float("nan"))] == [UNKNOWN] * 4
    assert BY_NAME["node"].text({"node_id": "a\x1b[2J"}) == r"a\x1b[2J"
    assert BY_NAME["queue"].text({"queue_size": None}) == BY_NAME["events/s"].text({}) == UNKNOWN


def test_hint_at_clocks_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    exporter = Exporter()
    for at in (0, 1):
        exporter.snapshot({b"a": Pair(ttl=20, beat=b"2020-01-01T00:00:00")}, at)
    assert capsys.readouterr().out.count("--heartbeat.timezone") == 1


def test_invalid_values_are_reported_with_their_nodes_and_missing_ones_are_not() -> None:
    told = []
    fields = {"queue_size": b"many", "status": b"FINE", "total_events": b"5"}
    pairs = {b"a": Pair(ttl=30, fields=fields, beat=b"noon"), b"b": ALIVE, b"c": CRASHED, b"d": Pair(ttl=30, fields={})}
    snapshot_of(pairs, invalid=lambda field, ids: told.append((field, [*ids])))
    assert sorted(told) == [("heartbeat", ["a"]), ("queue_size", ["a"]), ("status", ["a"])]
