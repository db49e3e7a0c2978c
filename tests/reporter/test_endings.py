"""How a life ends: what reads as a graceful stop and what as a crash, and that each ending returns in time."""

import signal
import sys
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from threading import Event, Thread

import pytest
import redis
from lives import busy, fields, heartbeat, keys_left, wait_for_beats

from exporter.reporter import NodeMetrics, NodeReporter
from lab.nodes import heartbeat_key, metrics_key
from lab.servers import Process, RedisServer, wait_for

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
