"""Signals to a node's process: which of them read as a graceful stop, and which as a crash."""

import os
import signal
import time
from pathlib import Path

import pytest
import redis
from lives import keys_left, program, wait_for_beats

from lab.nodes import heartbeat_key
from lab.servers import Process, wait_for

PLAIN = """
with node():
    ready()
    time.sleep(60)
"""
ASYNC = """
async def main():
    with node():
        ready()
        await asyncio.sleep(60)

asyncio.run(main())
"""
TASK = """
async def work():
    with node():
        ready()
        await asyncio.sleep(60)

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(work())

asyncio.run(main())
"""
WITH_HANDLER = "reporter.stop_on_sigterm()\n"


@pytest.mark.parametrize("text", [PLAIN, ASYNC, TASK])
def test_ctrl_c_is_a_graceful_stop(client: "redis.Redis", tmp_path: Path, text: str) -> None:
    process = program(client, tmp_path, text)
    assert process.stop(signal.SIGINT) == -signal.SIGINT
    assert keys_left(client) == 0


@pytest.mark.parametrize("text", [PLAIN, ASYNC, TASK])
def test_sigterm_with_the_one_line_is_a_graceful_stop(client: "redis.Redis", tmp_path: Path, text: str) -> None:
    process = program(client, tmp_path, WITH_HANDLER + text)
    assert process.stop(signal.SIGTERM) == 0, process.output()
    assert keys_left(client) == 0


def test_second_sigterm_does_not_interrupt_the_shutdown_that_the_first_began(
    client: "redis.Redis", tmp_path: Path
) -> None:
    text = """
reporter.stop_on_sigterm()
with node():
    ready()
    try:
        time.sleep(60)
    finally:
        client.set("shutting down", 1)
        while not client.exists("go on"):
            time.sleep(0.01)
        client.set("shut down", 1)
"""
    process = program(client, tmp_path, text)
    process.send(signal.SIGTERM)
    wait_for(lambda: client.exists("shutting down"))
    process.send(signal.SIGTERM)
    wait_for_beats(client, 2)
    client.set("go on", 1)
    assert process.wait() == 0
    assert client.exists("shut down")
    assert keys_left(client) == 0


def interrupt_twice(client: "redis.Redis", process: Process, leaving: str) -> int:
    """Send Ctrl-C, and again during the deletion, which Redis holds for two seconds; return the program's exit code."""
    client.execute_command("CLIENT PAUSE", 2000, "WRITE")
    wait_for(lambda: client.info("clients")["blocked_clients"], "for a write that waits")
    process.send(signal.SIGINT)
    wait_for(lambda: leaving in process.output())
    time.sleep(0.2)  # nothing shows that the main thread waits for the deletion
    process.send(signal.SIGINT)
    return process.wait()


def test_second_ctrl_c_does_not_cut_the_deletion_short(client: "redis.Redis", tmp_path: Path) -> None:
    text = """
with node():
    ready()
    try:
        time.sleep(60)
    finally:
        print("leaving", flush=True)
"""
    process = program(client, tmp_path, text)
    assert interrupt_twice(client, process, "leaving") == -signal.SIGINT
    assert keys_left(client) == 0


def test_ctrl_c_during_a_stop_is_raised_after_the_deletion(client: "redis.Redis", tmp_path: Path) -> None:
    text = """
running = node().start()
ready()
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("stopping", flush=True)
try:
    running.stop()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = program(client, tmp_path, text)
    assert interrupt_twice(client, process, "stopping") == 0
    assert "interrupted" in process.output()
    assert keys_left(client) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_that_kills_the_process_is_a_crash(
    client: "redis.Redis", tmp_path: Path, number: signal.Signals
) -> None:
    process = program(client, tmp_path, PLAIN)
    assert process.stop(number) == -number
    assert keys_left(client) == 2


@pytest.mark.parametrize("ending", ["", "os._exit(1)"])
def test_interpreter_that_ends_without_a_stop_is_a_crash(client: "redis.Redis", tmp_path: Path, ending: str) -> None:
    program(client, tmp_path, f"node().start(); ready(); {ending}").wait()
    assert keys_left(client) == 2


def test_block_that_is_left_while_the_interpreter_ends_does_not_keep_it(client: "redis.Redis", tmp_path: Path) -> None:
    text = """
def lives():
    with node():
        yield

life = lives()
next(life)
ready()
"""
    assert program(client, tmp_path, text).wait(20) == 0


def test_child_of_a_fork_deletes_nothing_when_it_leaves_the_block(client: "redis.Redis", tmp_path: Path) -> None:
    text = """
import logging
logging.basicConfig(level=logging.INFO)
with node():
    wait_for_beat()
    if not (child := os.fork()):
        sys.exit()
    os.waitpid(child, 0)
    ready()
    time.sleep(60)
"""
    process = program(client, tmp_path, text)
    output = process.output()
    wait_for_beats(client)
    process.stop(signal.SIGINT)
    assert output.count("\n") == 1
    assert "another process" in output
    assert keys_left(client) == 0


def test_child_of_a_fork_does_not_beat_when_its_parent_has_died(client: "redis.Redis", tmp_path: Path) -> None:
    text = """
with NodeReporter(client, "n1", NodeMetrics, interval=0.1, ttl=0.5):
    wait_for_beat()
    if not os.fork():
        ready()
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""
    process = program(client, tmp_path, text)
    child = int(client.get("ready") or 0)
    assert child != process.pid
    try:
        process.stop(signal.SIGKILL)
        wait_for(lambda: not client.exists(heartbeat_key("n1")), "for the heartbeat to expire", patience=5)
        assert keys_left(client) == 1
    finally:
        os.kill(child, signal.SIGKILL)


def test_reporter_that_is_made_before_a_fork_reports_for_the_child_that_starts_it(
    client: "redis.Redis", tmp_path: Path
) -> None:
    text = """
made = NodeReporter(client, "n1", NodeMetrics, interval=0.1, ttl=5)
ballast = bytearray(200 * 1024 * 1024)
if not os.fork():
    del ballast
    with made:
        wait_for_beat()
        client.set("memory", client.hget("node:metrics:n1", "memory_usage"))
    client.set("ready", 1)
    os._exit(0)
os.wait()
"""
    process = program(client, tmp_path, text)
    assert process.wait() == 0
    assert keys_left(client) == 0
    assert float(client.get("memory") or 0) < 150, "it is the parent's"
