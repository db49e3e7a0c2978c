"""Rows for people: ages, and how values read."""

from typing import Any

import pytest

from exporter.rows import COLUMNS, count, duration, memory, offline_first, percent, with_ages

NOW = 1_000_000.0


def aged(**values: Any) -> dict[str, Any]:
    row = {"state": "online", "heartbeat_ttl_seconds": 12.0, "last_heartbeat": None, **values}
    return with_ages(row, 30.0, NOW)


def test_age_of_a_living_heartbeat_comes_from_its_ttl_whatever_the_node_wrote() -> None:
    assert aged(last_heartbeat=NOW - 8 * 3600)["heartbeat_age_seconds"] == 18.0
    assert aged(heartbeat_ttl_seconds=600.0)["heartbeat_age_seconds"] == 0.0


@pytest.mark.parametrize("written", [None, NOW - 8 * 3600, NOW + 3600])
def test_age_of_a_heartbeat_that_was_seen_to_end_comes_from_its_end_whatever_the_node_wrote(
    written: float | None,
) -> None:
    ended = {"offline_since": NOW - 220, "offline_since_exact": True}
    row = aged(state="offline", heartbeat_ttl_seconds=0, last_heartbeat=written, **ended)
    assert (row["heartbeat_age_seconds"], row["offline_since"]) == (250, NOW - 220)


def test_age_of_a_heartbeat_that_nobody_saw_end_comes_from_what_the_node_wrote() -> None:
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


def test_row_of_an_exporter_that_does_not_say_since_when_a_node_is_offline_has_no_time() -> None:
    row = aged(state="offline", heartbeat_ttl_seconds=0, last_heartbeat=NOW - 250)
    assert (row["offline_since"], row["offline_since_exact"]) == (None, None)


def test_time_that_is_a_bound_is_shown_as_one() -> None:
    column = next(column for column in COLUMNS if column.name == "since")
    assert column.text({"offline_since": NOW, "offline_since_exact": True}) == "1970-01-12 13:46:40"
    assert column.text({"offline_since": NOW, "offline_since_exact": False}) == "before 1970-01-12 13:46:40"
    assert column.text({"offline_since": None, "offline_since_exact": None}) == "–"  # noqa: RUF001


def test_offline_nodes_come_first_then_undecided_ones_then_by_id() -> None:
    rows = [
        {"state": s, "node_id": n} for s, n in [("online", "a"), ("undecided", "b"), ("offline", "d"), ("offline", "c")]
    ]
    assert [row["node_id"] for row in sorted(rows, key=offline_first)] == ["c", "d", "b", "a"]


def test_values_read_as_people_say_them() -> None:
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


def test_hostile_id_is_escaped_and_unknown_values_show_as_such() -> None:
    columns = {column.name: column for column in COLUMNS}
    assert columns["node"].text({"node_id": "a\x1b[2J"}) == r"a\x1b[2J"
    assert columns["queue"].text({"queue_size": None}) == columns["events/s"].text({}) == "–"  # noqa: RUF001
