"""``nodes``: what an operator sees, against a real Redis and a real exporter."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import redis
from rich.cells import cell_len
from rich.console import Console

from exporter.commands.listing import Listing
from exporter.commands.nodes import chosen
from exporter.commands.table import render
from lab.nodes import FIELDS, beat
from lab.servers import Exporter, Process, RedisServer, free_port, wait_for

HOSTILE = "=cmd|'\x1b[31m\r\n<b>\u202e"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "exporter", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=60
    )


@pytest.fixture
def fleet(shared_redis: RedisServer, client: "redis.Redis") -> str:
    """Five nodes, one of them crashed, one with a hostile name; returns the URL."""
    for number, portfolios in enumerate((3, 1, 2)):
        beat(client, f"node-{number}", ttl=600, portfolio_count=portfolios)
    beat(client, "node-3", ttl=600)
    client.delete("heartbeat:node:node-3")
    beat(client, HOSTILE, ttl=600)
    return shared_redis.url


def test_table_lists_offline_nodes_first_without_colour_or_cuts_when_piped(fleet: str) -> None:
    done = run("nodes", "--redis.url", fleet, COLUMNS="40")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert done.stderr == ""
    assert lines[0].startswith("4 online  1 offline")
    assert lines[2].split()[:2] == ["offline", "node-3"]
    assert "RUNNING" in lines[3]
    assert "\x1b" not in done.stdout
    assert "\\x1b[31m\\r\\n<b>\\u202e" in done.stdout


def test_since_when_a_node_is_offline_is_said_to_be_unknown_from_the_keys(fleet: str) -> None:
    assert "--exporter.url" in run("nodes", "--redis.url", fleet).stdout


def test_least_loaded_online_node_comes_first_when_sorted_by_portfolios(fleet: str) -> None:
    done = run("nodes", "--redis.url", fleet, "--sort", "portfolios", "--state", "online", "--output", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["portfolios"] for row in rows] == ["1", "2", "3", "3"]
    assert rows[0]["node_id"] == "node-1"


def test_csv_quotes_a_formula_and_escapes_control_characters(fleet: str) -> None:
    rows = list(csv.DictReader(io.StringIO(run("nodes", "--redis.url", fleet, "--output", "csv").stdout)))
    assert [row["node_id"] for row in rows][:2] == ["node-3", r"'=cmd|'\x1b[31m\r\n<b>\u202e"]
    assert rows[0]["queue_size"] == ""
    assert rows[0]["events"] == FIELDS["total_events"]


def test_json_is_what_the_api_answers_with_ages_added(fleet: str) -> None:
    done = run("nodes", "--redis.url", fleet, "--output", "json", "--sort", "node")
    answer = json.loads(done.stdout)
    assert answer["redis_up"] is True
    assert {node["node_id"] for node in answer["nodes"]} == {HOSTILE, *(f"node-{i}" for i in range(4))}
    assert answer["nodes"][1]["state"] == "online"
    assert answer["nodes"][1]["memory_usage_bytes"] == 512 * 2**20
    assert "\x1b" not in done.stdout


def test_exit_code_tells_of_offline_nodes_only_when_asked_for(fleet: str, client: "redis.Redis") -> None:
    assert run("nodes", "--redis.url", fleet).returncode == 0
    assert run("nodes", "--redis.url", fleet, "--state", "online", "--fail-offline").returncode == 3
    client.delete("node:metrics:node-3")
    assert run("nodes", "--redis.url", fleet, "--fail-offline").returncode == 0


def test_no_nodes_are_said_in_one_line(shared_redis: RedisServer, client: "redis.Redis") -> None:
    client.flushall()
    done = run("nodes", "--redis.url", shared_redis.url)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("No nodes: redis://127.0.0.1:")


def test_events_per_second_are_measured_over_two_looks(
    shared_redis: RedisServer, client: "redis.Redis", tmp_path: Path
) -> None:
    beat(client, "n", ttl=25, total_events=1000)
    output = tmp_path / "out"
    client.config_resetstat()
    command = [sys.executable, "-m", "exporter", "nodes", "--redis.url", shared_redis.url]
    process = Process([*command, "--rate-over", "3s", "--output", "csv"], output)
    # New nodes are read once as they are found, and then once for the first look.
    wait_for(lambda: client.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0) >= 2)
    # A later beat, as far as the heartbeat's TTL tells.
    beat(client, "n", ttl=28.5, total_events=3000)
    assert process.wait() == 0
    (row,) = csv.DictReader(io.StringIO(output.read_text()))
    assert float(row["events_per_second"]) > 0


@pytest.fixture
def exporter(shared_redis: RedisServer, client: "redis.Redis", tmp_path: Path) -> Iterator[Exporter]:
    """An exporter that has seen one node live and one die."""
    beat(client, "alive", ttl=600)
    flags = ("--redis.url", shared_redis.url, "--heartbeat.ttl", "2s", "--discovery.interval", "100ms")
    exporter = Exporter(tmp_path, *flags)
    try:
        wait_for(lambda: beat(client, "dead", ttl=2) or state(exporter, "dead") == "online")  # type: ignore[func-returns-value]
        wait_for(lambda: state(exporter, "dead") == "offline")
        yield exporter
    finally:
        exporter.stop()


def state(exporter: Exporter, node_id: str) -> str | None:
    try:
        with urlopen(f"{exporter.url}/api/v1/nodes") as answer:  # noqa: S310
            return {node["node_id"]: node["state"] for node in json.load(answer)["nodes"]}.get(node_id)
    except OSError:
        return None


def test_running_exporter_knows_since_when_a_node_is_offline(exporter: Exporter) -> None:
    done = run("nodes", "--exporter.url", exporter.url, "--heartbeat.ttl", "2s")
    heading, offline, online = done.stdout.splitlines()[1:4]
    assert "Offline since" in heading
    assert re.search(r"offline +dead +\d+s ago +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", offline)
    assert online.split()[:2] == ["online", "alive"]


def test_exporter_that_is_not_there_or_something_else_is_said_in_one_line(shared_redis: RedisServer) -> None:
    for url, words in (
        (f"http://127.0.0.1:{free_port()}", "Connection refused"),
        (f"http://127.0.0.1:{shared_redis.port}", "--exporter.url"),
        ("nonsense", "--exporter.url: not an address"),
    ):
        done = run("nodes", "--exporter.url", url)
        assert done.returncode in (1, 2)
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr or "did not answer in full" in done.stderr


class Terminal:
    """A terminal of a given width that a program runs in; what it wrote is kept."""

    def __init__(self, *arguments: str, columns: int = 80) -> None:
        pid, self._master = pty.fork()
        if pid == 0:
            os.environ |= {"COLUMNS": str(columns), "LINES": "30", "TERM": "xterm-256color"}
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, [sys.executable, "-m", "exporter", *arguments])  # noqa: S606
        self.pid = pid
        self.text = ""
        os.set_blocking(self._master, False)

    def read(self) -> str:
        with suppress(OSError):  # nothing to read now, or the other side is closed
            self.text += os.read(self._master, 65_536).decode()
        return self.text

    def end(self) -> int:
        os.kill(self.pid, signal.SIGINT)
        status: list[int] = []

        def ended() -> bool:
            self.read()
            pid, code = os.waitpid(self.pid, os.WNOHANG)
            status.append(code)
            return pid != 0

        wait_for(ended)
        os.close(self._master)
        return os.waitstatus_to_exitcode(status[-1])


def test_watch_shows_a_crash_in_place_and_ends_with_the_key(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        beat(client, "node-1", ttl=2)
        terminal = Terminal(
            "nodes", "--watch", "--interval", "100ms", "--heartbeat.ttl", "2s", "--redis.url", redis_server.url
        )
        try:
            wait_for(lambda: beat(client, "node-1", ttl=2) or "1 online" in plain(terminal.read()))  # type: ignore[func-returns-value]
            wait_for(lambda: "1 offline" in plain(terminal.read()))
            wait_for(lambda: "Offline since" in terminal.read())
            redis_server.kill()
            wait_for(lambda: "trying again" in terminal.read())
        finally:
            code = terminal.end()
    assert code == 0
    assert "\x1b[?1049h" in terminal.text
    assert terminal.text.rstrip().endswith(("\x1b[?1049l", "\x1b[?25h"))
    assert "Traceback" not in terminal.text


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_table_fits_every_terminal_and_never_leaves_out_state_and_node(width: int) -> None:
    row: dict[str, Any] = {
        "node_id": "节点-ginkgo-execution-node-0001", "state": "offline", "heartbeat_age_seconds": 3_000.0,
        "offline_since": 1e9,
        "portfolios": 5, "queue_size": 10**6, "cpu_usage_ratio": 0.5, "memory_usage_bytes": 2**40, "events": 10**12,
        "backpressure": 10**9, "dropped_events": 10**6, "status": "RUNNING",
    }  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(Listing(1e9, [row], "redis://localhost:6379/0", remembers=True), [row], width))
    lines = console.export_text().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert any(line.startswith("offline") for line in lines)
    assert any("节点-ginkgo" in line for line in lines)


def test_undecided_node_has_its_reason_below_the_table() -> None:
    row = {"node_id": "n", "state": "undecided", "heartbeat_age_seconds": 40.0, "offline_since": None}
    row |= {"undecided_because": "a second look decides", "undecided_until": 1e9}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(Listing(1e9, [row], "redis://h", remembers=True), [row], 200))
    said = "Node n is undecided: a second look decides. It cannot be called dead before 2001-09-09 01:46:40 UTC."
    assert console.export_text().splitlines()[-1] == said


def test_unknown_values_come_last_in_both_directions() -> None:
    rows = [{"node_id": n, "state": "online", "queue_size": q} for n, q in [("a", None), ("b", 2), ("c", 1)]]
    assert [r["node_id"] for r in chosen(rows, None, "queue", reverse=False)] == ["c", "b", "a"]
    assert [r["node_id"] for r in chosen(rows, None, "queue", reverse=True)] == ["b", "c", "a"]
