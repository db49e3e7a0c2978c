"""Rows for people: ages, and how values read."""

from typing import Any

import pytest

from exporter.commands.options import SORT_FIELDS
from exporter.snapshot.rows import (
    COLUMNS,
    count,
    count_states,
    duration,
    memory,
    moment,
    offline_first,
    percent,
    rows_of,
    with_ages,
)
from fleets import snapshot_of
from lab.readings import WALL, Pair

NOW = 1_000_000.0


def aged(**values: Any) -> dict[str, Any]:
    row = {"state": "online", "heartbeat_ttl_seconds": 12.0, "last_heartbeat": None, **values}
    return with_ages(row, 30.0, NOW)


def test_age_of_a_living_heartbeat_comes_from_its_ttl_whatever_the_node_wrote() -> None:
    assert aged(last_heartbeat=NOW - 8 * 3600)["heartbeat_age_seconds"] == 18.0
    assert aged(heartbeat_ttl_seconds=600.0)["heartbeat_age_seconds"] == 0.0


@pytest.mark.parametrize("written", [None, NOW - 8 * 3600, NOW + 3600])
def test_age_of_a_heartbeat_comes_from_its_end_if_the_end_was_seen(
    written: float | None,
) -> None:
    ended = {"offline_since": NOW - 220, "offline_since_exact": True}
    row = aged(state="offline", heartbeat_ttl_seconds=0, last_heartbeat=written, **ended)
    assert (row["heartbeat_age_seconds"], row["offline_since"]) == (250, NOW - 220)


def test_age_is_never_negative_though_the_readers_clock_is_behind_the_exporters() -> None:
    ended = {"offline_since": NOW + 100, "offline_since_exact": True}
    assert aged(state="offline", heartbeat_ttl_seconds=0, **ended)["heartbeat_age_seconds"] == 0


def test_age_of_a_heartbeat_comes_from_its_text_if_the_end_was_not_seen() -> None:
    first_seen = {"offline_since": NOW - 20, "offline_since_exact": False}
    row = aged(state="offline", heartbeat_ttl_seconds=0, last_heartbeat=NOW - 250, **first_seen)
    assert row["heartbeat_age_seconds"] == 250
    assert aged(state="undecided", heartbeat_ttl_seconds=0, last_heartbeat=NOW)["heartbeat_age_seconds"] == 0


@pytest.mark.parametrize(
    "values",
    [
        {"last_heartbeat": None},
        {"last_heartbeat": NOW + 0.001},
        {"last_heartbeat": NOW - 250, "heartbeat_ttl_seconds": -1},
        {"last_heartbeat": NOW - 250, "heartbeat_ttl_seconds": None},
    ],
    ids=["never seen", "a time in the future", "a heartbeat that never expires", "an unknown TTL"],
)
def test_age_that_is_unknown_is_not_guessed(values: dict[str, Any]) -> None:
    row = aged(**{"state": "offline", "heartbeat_ttl_seconds": 0, **values})
    assert row["heartbeat_age_seconds"] is None


def test_row_of_an_older_exporter_has_no_offline_since() -> None:
    row = aged(state="offline", heartbeat_ttl_seconds=0, last_heartbeat=NOW - 250)
    assert (row["offline_since"], row["offline_since_exact"]) == (None, None)


def test_time_that_is_only_a_bound_is_shown_with_the_word_before() -> None:
    column = next(column for column in COLUMNS if column.name == "since")
    assert column.text({"offline_since": NOW, "offline_since_exact": True}) == "1970-01-12 13:46:40"
    assert column.text({"offline_since": NOW, "offline_since_exact": False}) == "before 1970-01-12 13:46:40"
    assert column.text({"offline_since": None, "offline_since_exact": None}) == "–"  # noqa: RUF001


def test_first_and_last_second_of_a_heartbeat_have_an_age() -> None:
    assert aged(heartbeat_ttl_seconds=30.0)["heartbeat_age_seconds"] == 0
    assert aged(heartbeat_ttl_seconds=31.0)["heartbeat_age_seconds"] == 0
    assert aged(heartbeat_ttl_seconds=0.5)["heartbeat_age_seconds"] == 29.5
    assert aged(heartbeat_ttl_seconds=0, last_heartbeat=NOW)["heartbeat_age_seconds"] == 0


def test_undecided_node_has_no_offline_since() -> None:
    row = aged(state="undecided", heartbeat_ttl_seconds=0, last_heartbeat=NOW - 40)
    assert (row["heartbeat_age_seconds"], row["offline_since"]) == (40, None)


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
    assert full == {
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
        "offline_since": None,
        "offline_since_exact": None,
        "undecided_because": None,
        "undecided_until": None,
    }
    assert [type(full[key]) for key in ("events", "backpressure", "dropped_events")] == [int, float, int]
    assert {key for key, value in bare.items() if value is None} == set(full) - {
        "node_id",
        "state",
        "heartbeat_ttl_seconds",
        "last_heartbeat",
    }


def test_each_state_is_counted_and_the_worst_comes_first() -> None:
    rows = [{"state": state} for state in ("online", "online", "offline")]
    assert list(count_states(rows).items()) == [("offline", 1), ("undecided", 0), ("online", 2)]


def test_offline_nodes_come_first_then_undecided_ones_then_by_id() -> None:
    rows = [
        {"state": s, "node_id": n} for s, n in [("online", "a"), ("undecided", "b"), ("offline", "d"), ("offline", "c")]
    ]
    assert [row["node_id"] for row in sorted(rows, key=offline_first)] == ["c", "d", "b", "a"]


def test_duration_moves_to_the_next_unit_when_one_is_full() -> None:
    assert [duration(s) for s in (59, 60, 3599, 3600, 3660, 86_399, 86_400, 89_999)] == [
        "59s",
        "1m 0s",
        "59m 59s",
        "1h 0m",
        "1h 1m",
        "23h 59m",
        "1d 0h",
        "1d 0h",
    ]


def test_memory_of_a_gibibyte_is_said_in_gib() -> None:
    assert [memory(m * 2**20) for m in (1023, 1024)] == ["1,023 MiB", "1 GiB"]


def test_number_is_written_out_up_to_a_quadrillion() -> None:
    assert [count(1e15 - 1), count(1e15)] == ["999,999,999,999,999", "1.000e+15"]


@pytest.mark.parametrize("unix", [1e18, 1e12, float("inf"), float("nan")])
def test_time_outside_the_calendar_is_shown_as_unknown(unix: float) -> None:
    assert moment(unix) == "–"  # noqa: RUF001


def test_texts_are_set_to_the_left_and_quantities_to_the_right() -> None:
    assert {column.name for column in COLUMNS if not column.number} == {"state", "node", "since", "status"}


def test_values_have_texts_for_people() -> None:
    assert [duration(s) for s in (0, 18.9, 60, 250, 11_000, 270_000)] == [
        "0s",
        "18s",
        "1m 0s",
        "4m 10s",
        "3h 3m",
        "3d 3h",
    ]
    assert [count(n) for n in (0, 1234567, 2.25, 1e15, 10**300)] == ["0", "1,234,567", "2.2", "1.000e+15", "1.000e+300"]
    assert percent(0.125) == "12.5 %"
    assert [memory(m * 2**20) for m in (0, 512, 1536)] == ["0 MiB", "512 MiB", "1.5 GiB"]


def test_nodes_can_be_sorted_by_every_column() -> None:
    assert tuple(column.name for column in COLUMNS) == SORT_FIELDS


def test_hostile_id_is_escaped_and_unknown_values_have_a_sign_of_their_own() -> None:
    columns = {column.name: column for column in COLUMNS}
    assert columns["node"].text({"node_id": "a\x1b[2J"}) == r"a\x1b[2J"
    assert columns["queue"].text({"queue_size": None}) == columns["events/s"].text({}) == "–"  # noqa: RUF001
