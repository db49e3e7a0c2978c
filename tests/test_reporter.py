import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import psutil
import pytest
import redis

from exporter.reporter import NodeMetrics, NodeReporter
from nodes import beat, crash, heartbeat_key, metrics_key
from servers import RedisServer, wait_for

BUSY = NodeMetrics(
    portfolio_count=3,
    queue_size=15,
    total_events=15_000,
    backpressure_count=5,
    dropped_events=2,
    status="RUNNING",
    loaded_portfolio_ids=("p1", "p2"),
)


def busy() -> NodeMetrics:
    return BUSY


def fields(client: "redis.Redis", node_id: str | bytes) -> dict[bytes, bytes]:
    return client.hgetall(metrics_key(node_id))


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


def writes(commands: list[list[str]]) -> list[tuple[str, str]]:
    return [(words[0], words[1]) for words in commands if words[0] in ("SET", "HSET", "DEL")]


def test_first_beat_comes_at_once_and_holds_what_the_contract_says(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", busy):
        written = wait_for(lambda: fields(client, "n1"), patience=5)  # a second beat would take ten seconds
        ttl = client.pttl(heartbeat_key("n1"))
        heartbeat = client.get(heartbeat_key("n1")).decode()
    assert 20_000 < ttl <= 30_000
    assert heartbeat.endswith("+00:00")
    assert abs(datetime.fromisoformat(heartbeat) - datetime.now(UTC)) < timedelta(seconds=10)
    assert written.pop(b"cpu_usage")
    assert written.pop(b"memory_usage")
    assert json.loads(written.pop(b"loaded_portfolio_ids")) == ["p1", "p2"]
    assert written == {
        b"portfolio_count": b"3",
        b"queue_size": b"15",
        b"total_events": b"15000",
        b"backpressure_count": b"5",
        b"dropped_events": b"2",
        b"status": b"RUNNING",
    }


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
    done = writes(commands)
    assert done[:2] == [("DEL", metrics), ("DEL", heartbeat)]
    assert done[-2:] == [("DEL", metrics), ("DEL", heartbeat)]
    beats = done[2:-2]
    assert beats == [("SET", heartbeat), ("HSET", metrics)] * (len(beats) // 2)


def test_every_beat_renews_the_heartbeat_and_measures_anew(client: "redis.Redis") -> None:
    count = iter(range(1_000_000))
    with NodeReporter(client, "n1", lambda: NodeMetrics(total_events=next(count)), interval=0.05, ttl=60):
        wait_for(lambda: int(fields(client, "n1").get(b"total_events", b"0")) >= 2)
        first = client.get(heartbeat_key("n1"))
        wait_for(lambda: client.get(heartbeat_key("n1")) != first)
        assert 50_000 < client.pttl(heartbeat_key("n1")) <= 60_000


def test_cpu_and_memory_are_those_of_the_process(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", NodeMetrics, interval=0.2, ttl=5):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and float(fields(client, "n1").get(b"cpu_usage", b"0")) < 5:
            sum(range(10_000))  # keep the processor busy
        written = fields(client, "n1")
    assert 5 <= float(written[b"cpu_usage"]) < 100 * (psutil.cpu_count() or 1) + 50
    own = psutil.Process().memory_info().rss / 1_048_576
    assert float(written[b"memory_usage"]) == pytest.approx(own, rel=0.5)


def test_node_that_measures_itself_is_believed_and_fields_it_has_not_are_left_out(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", lambda: NodeMetrics(cpu_usage=12.34, memory_usage=512)):
        written = wait_for(lambda: fields(client, "n1"))
    assert written[b"cpu_usage"] == b"12.3"
    assert written[b"memory_usage"] == b"512.0"
    assert b"status" not in written
    assert b"loaded_portfolio_ids" not in written


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


class Refusing(redis.Redis):
    """A client whose deletions are refused until it is told otherwise."""

    refuses = True
    refused = 0

    def delete(self, *names: bytes) -> int:
        if self.refuses:
            self.refused += 1
            raise redis.ResponseError("MISCONF cannot write now")
        return super().delete(*names)


def test_stop_beats_on_and_tries_again_while_its_deletion_fails(shared_redis: RedisServer) -> None:
    with Refusing(port=shared_redis.port) as client:
        client.flushall()
        client.refuses = False
        reporter = NodeReporter(client, "n1", busy, interval=0.2, ttl=1).start()
        wait_for(lambda: fields(client, "n1"))
        client.refuses, client.refused = True, 0
        results: list[bool] = []
        stopping = Thread(target=lambda: results.append(reporter.stop(timeout=60)))
        stopping.start()
        before = client.get(heartbeat_key("n1"))
        wait_for(lambda: client.refused >= 8)  # two seconds of them: twice the TTL
        assert client.pttl(heartbeat_key("n1")) > 0
        assert client.get(heartbeat_key("n1")) != before
        client.refuses = False
        stopping.join()
        assert results == [True]
        assert client.dbsize() == 0


def test_stop_gives_up_when_its_time_is_over_and_writes_nothing_more(shared_redis: RedisServer) -> None:
    with Refusing(port=shared_redis.port) as client:
        client.flushall()
        client.refuses = False
        reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=0.3).start()
        wait_for(lambda: fields(client, "n1"))
        client.refuses = True
        assert reporter.stop(timeout=0.2) is False
        wait_for(lambda: not client.exists(heartbeat_key("n1")), "for the heartbeat to run out")
        assert fields(client, "n1")


def test_halt_deletes_nothing_and_ends_the_beats(client: "redis.Redis") -> None:
    reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=0.5).start()
    wait_for(lambda: fields(client, "n1"))
    reporter.halt()
    wait_for(lambda: not client.exists(heartbeat_key("n1")), "for the heartbeat to run out")
    assert fields(client, "n1")


def test_exception_that_leaves_the_block_is_a_crash(client: "redis.Redis") -> None:
    def fail() -> None:
        with NodeReporter(client, "n1", busy):
            wait_for(lambda: fields(client, "n1"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert client.exists(heartbeat_key("n1"), metrics_key("n1")) == 2


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


def test_measure_that_raises_costs_the_metrics_and_not_the_heartbeat(
    client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> NodeMetrics:
        raise LookupError("no such portfolio")

    with NodeReporter(client, "n1", broken, interval=0.05, ttl=5):
        first = wait_for(lambda: client.get(heartbeat_key("n1")))
        wait_for(lambda: client.get(heartbeat_key("n1")) != first)
        assert not fields(client, "n1")
    faults = [record for record in caplog.records if record.name == "exporter.reporter"]
    assert len(faults) == 1
    assert faults[0].exc_info


def test_measure_that_hangs_takes_the_node_offline(client: "redis.Redis") -> None:
    release = Event()

    def hang() -> NodeMetrics:
        release.wait()
        return BUSY

    with NodeReporter(client, "n1", hang, interval=0.05, ttl=0.3):
        wait_for(lambda: client.exists(heartbeat_key("n1")))
        wait_for(lambda: not client.exists(heartbeat_key("n1")))
        release.set()


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


def test_reporter_that_was_never_started_stops_and_halts_without_a_word(client: "redis.Redis") -> None:
    def make() -> NodeReporter:
        return NodeReporter(client, "n1", busy)

    assert make().stop()
    make().halt()


@pytest.mark.parametrize("ending", ["", "import os; os._exit(1)"])
def test_interpreter_that_ends_without_a_stop_leaves_what_a_crash_leaves(
    shared_redis: RedisServer, client: "redis.Redis", ending: str
) -> None:
    program = f"""
import redis, time
from exporter.reporter import NodeMetrics, NodeReporter
client = redis.Redis(port={shared_redis.port})
NodeReporter(client, "n1", NodeMetrics).start()
while not client.exists("node:metrics:n1"):
    time.sleep(0.01)
{ending}
"""
    subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert client.exists(heartbeat_key("n1"), metrics_key("n1")) == 2


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
