"""``ginkgo-exporter portfolios``: what it prints, and its exit code."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lab.nodes import beat
from lab.servers import PATIENCE, RedisServer, running_exporter

LONG = ("--heartbeat.ttl", "10m")


@pytest.fixture
def platform(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A platform that trades p1, has p2 planned on a dead node and p3 planned on a node that nobody has ever seen."""
    with redis_server.client() as client:
        beat(client, "a", 600, loaded_portfolio_ids='["p1", "=1+1\\u001b"]')
        client.hset("schedule:plan", mapping={"p1": "a", "p2": "dead", "p3": "never"})
        beat(client, "dead", 600, loaded_portfolio_ids='["p2"]')
        client.delete("heartbeat:node:dead")
        yield client


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "exporter", "portfolios", *LONG, *arguments],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("platform")
def test_table_shows_faults_first_under_a_line_of_counts(redis_server: RedisServer) -> None:
    result = command("--redis.url", redis_server.url)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("1 traded  2 untraded  1 unplanned  ")
    states = [line.split()[0] for line in lines[2:]]
    assert states == ["untraded", "untraded", "unplanned", "traded"]
    assert "node_offline" in lines[2]
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("platform")
def test_json_and_csv_are_for_programs(redis_server: RedisServer) -> None:
    answer = json.loads(command("--redis.url", redis_server.url, "--output", "json", "--state", "untraded").stdout)
    assert answer["redis_up"] is True
    assert {row["portfolio_id"]: row["reason"] for row in answer["portfolios"]} == {
        "p2": "node_offline", "p3": "node_offline",
    }  # fmt: skip
    rows = list(csv.DictReader(command("--redis.url", redis_server.url, "--output", "csv").stdout.splitlines()))
    assert [row["state"] for row in rows] == ["untraded", "untraded", "unplanned", "traded"]
    assert rows[0] | {"portfolio_id": "p2", "planned_node": "dead", "listed_nodes": "dead", "since": ""} == rows[0]
    assert rows[2]["portfolio_id"] == "'=1+1\\x1b", "no spreadsheet takes it for a formula"


def test_untraded_portfolio_fails_a_script_that_wants_it(platform: "redis.Redis", redis_server: RedisServer) -> None:
    flags = ("--redis.url", redis_server.url, "--fail-untraded")
    assert command(*flags).returncode == 1
    assert command(*flags, "--state", "traded").returncode == 1, "what is shown does not matter"
    platform.hdel("schedule:plan", "p2", "p3")
    platform.delete("node:metrics:dead")
    assert command(*flags).returncode == 0


@pytest.mark.usefixtures("platform")
def test_running_exporter_is_asked(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path / "exporter", "--redis.url", redis_server.url, *LONG) as exporter:
        exporter.scrape()
        result = command("--exporter.url", exporter.url, "--output", "json")
        rows = {row["portfolio_id"]: row for row in json.loads(result.stdout)["portfolios"]}
        assert rows["p2"]["since"] is not None
        assert rows["p1"]["since"] is None


def test_plan_that_may_not_be_read_is_no_success(platform: "redis.Redis", redis_server: RedisServer) -> None:
    platform.execute_command("ACL SETUSER exporter on >pw ~* +@all -hgetall")
    result = command("--redis.url", f"redis://exporter:pw@127.0.0.1:{redis_server.port}", "--fail-untraded")
    assert result.returncode == 1
    assert "the portfolios cannot be read" in result.stderr


def test_redis_without_portfolios_says_so(redis_server: RedisServer) -> None:
    result = command("--redis.url", redis_server.url)
    assert (result.returncode, result.stdout) == (0, "")
    assert "No portfolios" in result.stderr


@pytest.mark.parametrize("flags", [("--watch", "--output", "csv"), ("--exporter.url", "ftp://x"), ("--state", "lost")])
def test_bad_usage_ends_in_one_line(flags: tuple[str, ...]) -> None:
    result = command(*flags)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
