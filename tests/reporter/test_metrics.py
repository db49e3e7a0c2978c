"""The fields of a node's hash: what the node measures, what its process uses, and what a failure costs."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import redis
from lives import busy, fields, wait_for_beats

from exporter.reporter import NodeMetrics, NodeReporter
from exporter.reporter.metrics import ProcessUse
from lab.nodes import heartbeat_key
from lab.servers import wait_for

BUFFER = bytearray(1 << 24)


def compute() -> None:
    sum(range(100_000))


def read_zeros() -> None:
    with open("/dev/zero", "rb", buffering=0) as zeros:  # noqa: PTH123 - no buffer, so that the kernel does the work
        zeros.readinto(BUFFER)


@pytest.mark.parametrize("work", [compute, read_zeros])
def test_cpu_is_that_of_the_process_in_its_own_code_and_in_the_kernel(
    client: "redis.Redis", work: Callable[[], None]
) -> None:
    seen: list[tuple[float, float, float]] = []  # at each beat: time, CPU seconds, and what the beat before has written

    def measure() -> NodeMetrics:
        times = psutil.Process().cpu_times()
        seen.append((time.monotonic(), times.user + times.system, float(fields(client).get(b"cpu_usage", b"0"))))
        return NodeMetrics()

    with NodeReporter(client, "n1", measure, interval=0.5, ttl=60):
        while len(seen) < 4:
            work()
    (begun, spent_then, _), (ended, spent, _), (_, _, written) = seen[1:4]
    expected = 100 * (spent - spent_then) / (ended - begun)
    assert expected / 2 < written < expected * 2


def test_first_value_of_cpu_is_that_since_the_process_started(client: "redis.Redis") -> None:
    program = """
import redis, sys, time
from exporter.reporter import NodeMetrics, NodeReporter
from exporter.reporter.metrics import ProcessUse
client = redis.Redis(port=int(sys.argv[1]))
while time.process_time() < 1:
    pass
with NodeReporter(client, "n1", NodeMetrics):
    while not client.exists("node:metrics:n1"):
        time.sleep(0.01)
    print(client.hget("node:metrics:n1", "cpu_usage").decode(), time.process_time())
"""
    port = client.connection_pool.connection_kwargs["port"]
    before = time.monotonic()
    command = [sys.executable, "-c", program, str(port)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    cpu_usage, spent = map(float, output.split())
    oldest = time.monotonic() - before + 1  # Linux gives the time of its boot in whole seconds
    assert 100 * spent / oldest < cpu_usage < 130


def test_memory_is_that_of_the_process(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", NodeMetrics):
        written = wait_for(lambda: fields(client))
    own = psutil.Process().memory_info().rss / 1_048_576
    assert float(written[b"memory_usage"]) == pytest.approx(own, rel=0.1)


class Process:
    """A process whose use a test sets."""

    def __init__(self) -> None:
        self.user = self.system = 0.0

    def create_time(self) -> float:
        return 1000.0

    def cpu_times(self) -> Any:
        return SimpleNamespace(user=self.user, system=self.system)

    def memory_info(self) -> Any:
        return SimpleNamespace(rss=3 * 1_048_576 // 2)


def test_cpu_counts_from_the_measurement_before_and_at_first_from_the_start_of_the_process() -> None:
    process, now = Process(), 50.0
    use = ProcessUse(process, lambda: 1100.0, lambda: now)  # type: ignore[arg-type]
    process.user, process.system = 2.5, 0.5
    assert use.fields() == {"cpu_usage": "3.0", "memory_usage": "1.5"}
    now += 10
    process.user, process.system = 4.0, 1.0
    assert use.fields()["cpu_usage"] == "20.0"
    now += 10
    assert use.fields()["cpu_usage"] == "0.0"
    now += 0.004
    process.user += 0.005
    assert use.fields()["cpu_usage"] == "125.0"


def test_cpu_of_a_moment_too_short_for_the_clock_is_a_number() -> None:
    process = Process()
    use = ProcessUse(process, lambda: 1100.0, lambda: 50.0)  # type: ignore[arg-type]
    use.fields()
    assert use.fields()["cpu_usage"] == "0.0"


def test_node_that_measures_itself_is_believed_and_fields_it_has_not_are_left_out(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", lambda: NodeMetrics(cpu_usage=12.34, memory_usage=512)):
        written = wait_for(lambda: fields(client, "n1"))
    assert written[b"cpu_usage"] == b"12.3"
    assert written[b"memory_usage"] == b"512.0"
    assert b"status" not in written
    assert b"loaded_portfolio_ids" not in written


def failing() -> NodeMetrics:
    raise LookupError("no such portfolio")


def cancelled() -> NodeMetrics:
    raise asyncio.CancelledError


def nothing() -> Any:
    return None


def unreadable() -> NodeMetrics:
    return NodeMetrics(loaded_portfolio_ids=[b"p1"])  # type: ignore[list-item]


@pytest.mark.parametrize("broken", [failing, cancelled, nothing, unreadable])
def test_measure_that_fails_costs_its_fields_alone_and_is_logged_once(
    client: "redis.Redis", caplog: pytest.LogCaptureFixture, broken: Callable[[], NodeMetrics]
) -> None:
    caplog.set_level(logging.INFO, logger="exporter.reporter")
    now: list[Callable[[], NodeMetrics]] = [busy]

    def measure() -> NodeMetrics:
        return now[-1]()

    with NodeReporter(client, "n1", measure, interval=0.05, ttl=5):
        wait_for(lambda: b"status" in fields(client))
        now.append(broken)
        wait_for(lambda: b"status" not in fields(client), "for the old values to go")
        wait_for_beats(client, 3)
        assert fields(client).keys() == {b"cpu_usage", b"memory_usage"}, "without a hash a crash reads as a stop"
        (failure,) = caplog.records
        assert failure.getMessage().startswith("node 'n1': measure() failed")
        assert failure.exc_info
        now.append(busy)
        wait_for(lambda: b"status" in fields(client))
        wait_for_beats(client, 3)
    assert [record.getMessage() for record in caplog.records[1:]] == ["node 'n1': measure() works again"]


def test_measure_that_always_fails_does_not_hide_that_redis_fails(
    client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    with NodeReporter(client, "n1", failing, interval=0.05, ttl=5):
        wait_for_beats(client, 2)
        client.config_set("min-replicas-to-write", 1)
        try:
            wait_for(lambda: len(caplog.records) > 1)
        finally:
            client.config_set("min-replicas-to-write", 0)
    measured, refused = caplog.records
    assert "measure() failed" in measured.getMessage()
    assert "NOREPLICAS" in refused.getMessage()
    assert not refused.exc_info


def test_field_that_a_node_no_longer_reports_goes_from_its_hash(client: "redis.Redis") -> None:
    said = [busy()]
    with NodeReporter(client, "n1", lambda: said[-1], interval=0.05, ttl=5):
        wait_for(lambda: b"status" in fields(client))
        said.append(NodeMetrics(queue_size=7))
        wait_for(lambda: fields(client)[b"queue_size"] == b"7")
        assert fields(client).keys().isdisjoint({b"status", b"loaded_portfolio_ids"})


def test_measure_that_hangs_takes_the_node_offline(client: "redis.Redis") -> None:
    release = Event()

    def hang() -> NodeMetrics:
        release.wait()
        return busy()

    with NodeReporter(client, "n1", hang, interval=0.05, ttl=0.3):
        wait_for(lambda: client.exists(heartbeat_key("n1")))
        wait_for(lambda: not client.exists(heartbeat_key("n1")))
        release.set()
