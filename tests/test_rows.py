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
    assert aged(last_heartbeat=None)["offline_since"] is None


def test_offline_node_is_offline_since_its_last_heartbeat_ended() -> None:
    row = aged(state="offline", heartbeat_ttl_seconds=0, last_heartbeat=NOW - 250)
    assert (row["heartbeat_age_seconds"], row["offline_since"]) == (250, NOW - 220)


@pytest.mark.parametrize(
    "values",
    [
        {"last_heartbeat": None},
        {"last_heartbeat": NOW + 3600},
        {"last_heartbeat": NOW - 250, "heartbeat_ttl_seconds": -1},
    ],
    ids=["never seen", "a time in the future", "a heartbeat that never expires"],
)
def test_what_cannot_be_known_of_an_offline_node_is_not_guessed(values: dict[str, Any]) -> None:
    row = aged(**{"state": "offline", "heartbeat_ttl_seconds": 0, **values})
    assert (row["heartbeat_age_seconds"], row["offline_since"]) == (None, None)


def test_undecided_node_is_not_said_to_be_offline_since_anything() -> None:
    row = aged(state="undecided", heartbeat_ttl_seconds=0, last_heartbeat=NOW - 40)
    assert (row["heartbeat_age_seconds"], row["offline_since"]) == (40, None)


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
