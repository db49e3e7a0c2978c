"""How a life ends within its process: which exceptions are a stop, and that each ending returns in time."""

import logging
import threading
import time
from asyncio import CancelledError
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from threading import Event, Thread
from unittest.mock import Mock

import pytest
import redis
from lives import busy, fields, heartbeat, keys_left, wait_for_beats

from exporter.reporter import NodeMetrics, NodeReporter
from lab.nodes import heartbeat_key
from lab.servers import RedisServer, wait_for

STOPS = [CancelledError(), KeyboardInterrupt(), SystemExit(1), GeneratorExit()]
CRASHES = [LookupError(), futures.CancelledError(), BaseException(), BaseExceptionGroup("", [*STOPS, ValueError()])]


def leave(client: "redis.Redis", error: BaseException) -> NodeReporter:
    """Return the reporter of a block that an exception has left."""
    reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=0.5)
    with pytest.raises(type(error)), reporter:  # noqa: PT012 - the block is what is tested
        wait_for_beats(client)
        wait_for(lambda: fields(client), "for the hash, which is written after the heartbeat")
        raise error
    return reporter


@pytest.mark.parametrize("error", [*STOPS, BaseExceptionGroup("", [STOPS[0], BaseExceptionGroup("", STOPS)])], ids=repr)
def test_exception_that_asks_for_an_end_is_a_graceful_stop(client: "redis.Redis", error: BaseException) -> None:
    leave(client, error)
    assert keys_left(client) == 0


@pytest.mark.parametrize("error", CRASHES, ids=repr)
def test_any_other_exception_is_a_crash_and_ends_the_beats(client: "redis.Redis", error: BaseException) -> None:
    leave(client, error)
    assert fields(client)
    wait_for(lambda: not heartbeat(client), "for the heartbeat to expire", patience=5)
    assert fields(client)


def test_generator_that_is_closed_stops_gracefully(client: "redis.Redis") -> None:
    def live() -> Iterator[None]:
        with NodeReporter(client, "n1", busy):
            wait_for_beats(client)
            yield

    life = live()
    next(life)
    life.close()  # type: ignore[attr-defined]
    assert keys_left(client) == 0


@pytest.fixture
def hung(redis_server: RedisServer) -> Iterator[NodeReporter]:
    """A reporter with a client of no patience of its own, whose Redis hangs."""
    with redis_server.client(socket_timeout=None) as client:
        reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=60).start()
        wait_for_beats(client)
        redis_server.pause()
        wait_for(lambda: unread_bytes(redis_server.port), "for a write that hangs")
        yield reporter
        redis_server.resume()


def unread_bytes(port: int) -> int:
    """Return how many bytes have reached a server that has not read them."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(words[4].partition(":")[2], 16) for words in lines if words[1].endswith(f":{port:04X}"))


def test_halt_returns_in_time_though_redis_hangs(hung: NodeReporter) -> None:
    assert took(hung.halt) < 2


def test_crash_leaves_the_block_in_time_though_redis_hangs(hung: NodeReporter) -> None:
    assert took(lambda: hung.__exit__(LookupError, LookupError(), None)) < 2


def test_stop_returns_in_time_though_redis_hangs(hung: NodeReporter, caplog: pytest.LogCaptureFixture) -> None:
    assert took(lambda: hung.__exit__(None, None, None)) < 7
    (record,) = caplog.records
    assert "will look crashed" in record.getMessage()


def took(end: object) -> float:
    """Return how many seconds a call takes, which is given up after ten."""
    thread = Thread(target=end, daemon=True)  # type: ignore[arg-type]
    before = time.monotonic()
    thread.start()
    thread.join(10)
    return time.monotonic() - before


class Hanging:
    """A measurement that can be made to hang."""

    def __init__(self) -> None:
        self.hangs = Event()
        self.go_on = Event()

    def __call__(self) -> NodeMetrics:
        self.hangs.set()
        self.go_on.wait(60)
        return NodeMetrics(total_events=666)


@pytest.fixture
def measure() -> Iterator[Hanging]:
    measure = Hanging()
    yield measure
    measure.go_on.set()


def test_stop_deletes_both_keys_though_measure_hangs(client: "redis.Redis", measure: Hanging) -> None:
    client.hset("node:metrics:n1", "left", "by an earlier life")
    reporter = NodeReporter(client, "n1", measure).start()
    measure.hangs.wait(60)
    assert took(reporter.stop) < 2
    assert keys_left(client) == 0
    measure.go_on.set()
    reporter._thread.join(60)
    assert keys_left(client) == 0, "what was measured is written after the end"


def test_halt_returns_in_time_though_measure_hangs_and_nothing_is_written_afterwards(
    client: "redis.Redis", measure: Hanging
) -> None:
    reporter = NodeReporter(client, "n1", measure, interval=0.05, ttl=60).start()
    measure.hangs.wait(60)
    assert took(reporter.halt) < 2
    before = heartbeat(client)
    measure.go_on.set()
    reporter._thread.join(60)
    assert heartbeat(client) == before
    assert not fields(client)


def refused(client: "redis.Redis") -> int:
    """Return how many writes the server has refused since it started, for want of replicas."""
    return int(client.info("errorstats").get("errorstat_NOREPLICAS", {"count": 0})["count"])


def test_halt_waits_for_the_write_that_is_under_way(client: "redis.Redis") -> None:
    reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=60).start()
    wait_for_beats(client)
    client.execute_command("CLIENT PAUSE", 500, "WRITE")
    wait_for(lambda: client.info("clients")["blocked_clients"], "for a write that waits")
    reporter.halt()
    assert not client.info("clients")["blocked_clients"]


def test_stop_tries_again_while_redis_refuses_writes(client: "redis.Redis") -> None:
    reporter = NodeReporter(client, "n1", busy).start()
    wait_for(lambda: fields(client))
    client.config_set("min-replicas-to-write", 1)
    try:
        results: list[bool] = []
        stopping = Thread(target=lambda: results.append(reporter.stop(timeout=60)))
        stopping.start()
        before = refused(client)
        wait_for(lambda: refused(client) >= before + 2, "for two refused deletions")
    finally:
        client.config_set("min-replicas-to-write", 0)
    stopping.join()
    assert results == [True]
    assert keys_left(client) == 0


def deleting_threads() -> list[Thread]:
    return [thread for thread in threading.enumerate() if "_delete_until" in thread.name]


def test_stop_says_why_the_last_deletion_failed(
    client: "redis.Redis", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = NodeReporter(client, "n1", busy).start()
    wait_for(lambda: fields(client))
    errors = [redis.ConnectionError(f"failure {number}") for number in range(1, 100)]
    delete = Mock(side_effect=errors)
    monkeypatch.setattr(reporter, "_delete", delete)
    assert reporter.stop(timeout=0.6) is False
    wait_for(lambda: not deleting_threads(), patience=5)
    assert delete.call_count >= 2
    (record,) = caplog.records
    assert record.getMessage().endswith(f"failure {delete.call_count}")


def test_interrupted_stop_waits_for_the_rest_of_its_time_and_its_thread_keeps_no_program_alive(
    hung: NodeReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    class Interrupted(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if len(waits) == 1:
                raise KeyboardInterrupt
            assert all(thread.daemon for thread in deleting_threads())
            return False

    monkeypatch.setattr("exporter.reporter.node.Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        hung.stop(timeout=0.5)
    first, second = waits
    assert first == 0.5
    assert second is not None
    assert second <= 0.5


def test_stop_gives_up_when_its_time_is_over_says_why_and_writes_nothing_more(
    client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    reporter = NodeReporter(client, "n1", busy, interval=10, ttl=30).start()
    wait_for(lambda: fields(client))
    client.config_set("min-replicas-to-write", 1)
    before = refused(client)
    try:
        assert reporter.stop(timeout=0.5) is False
        wait_for(lambda: not deleting_threads(), "for the end of the deletion", patience=5)
    finally:
        client.config_set("min-replicas-to-write", 0)
    assert 1 <= refused(client) - before < 10, "a refused deletion is tried again every quarter of a second"
    (record,) = caplog.records
    assert "'n1': its keys could not be deleted" in record.getMessage()
    assert "NOREPLICAS" in record.getMessage()
    assert keys_left(client) == 2
    assert not reporter._thread.is_alive()
    assert reporter.stop() is True, "a later stop tries again"
    assert keys_left(client) == 0


def test_stop_is_known_to_be_done_and_done_once(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", busy) as reporter:
        wait_for(lambda: fields(client))
        assert reporter.stop()
        assert keys_left(client) == 0
        client.set(heartbeat_key("n1"), "of the next life")
        assert reporter.stop()
    assert keys_left(client) == 1


def test_stop_after_a_halt_deletes_nothing(client: "redis.Redis") -> None:
    with NodeReporter(client, "n1", busy) as reporter:
        wait_for(lambda: fields(client))
        reporter.halt()
    assert keys_left(client) == 2


def test_reporter_that_was_never_started_ends_without_a_word(
    client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    client.set(heartbeat_key("n1"), "of another life")
    caplog.set_level(logging.DEBUG)
    assert NodeReporter(client, "n1", busy).stop()
    NodeReporter(client, "n1", busy).halt()
    assert keys_left(client) == 1
    assert not caplog.records


def test_stop_deletes_the_keys_itself_if_no_thread_is_free(
    client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=0.5).start()
    wait_for_beats(client)
    monkeypatch.setattr(Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
    reporter.stop()
    assert keys_left(client) == 0


def test_node_beats_though_its_process_cannot_be_measured_at_first(
    client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr("exporter.reporter.node.ProcessUse", Mock(side_effect=OSError("too many open files")))
        reporter = NodeReporter(client, "n1", busy, interval=0.05, ttl=0.5).start()
        wait_for_beats(client)
        assert not fields(client)
    wait_for(lambda: fields(client), "for the hash")
    reporter.stop()
