"""``nodes`` and ``portfolios``: the same rows as a table, JSON and CSV, from Redis or from an exporter."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from said import Say

from exporter.contract import NUMBERS
from lab.fakes import FakeAlertmanager
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, free_port, running_exporter, wait_for
from leftovers import leave

HOSTILE = "a\x1b[31m,=\n节点"
KEYS = (
    *("node_id", "state", "heartbeat_ttl_seconds", "last_heartbeat", *(metric.key for metric in NUMBERS), "status"),
    *("heartbeat_age_seconds", "offline_since", "offline_since_exact", "events_per_second", "undecided_because"),
)


@pytest.fixture
def url(shared_redis: RedisServer, client: "redis.Redis") -> str:
    """A Redis with two nodes online, one dead and one without metrics."""
    client.hset("schedule:plan", mapping={"p1": "n1", "p2": "dead", "p3": "__ORPHANED__"})
    beat(client, "n1", loaded_portfolio_ids='["p1"]', total_events="7", status="PAUSED")
    beat(client, HOSTILE, loaded_portfolio_ids="[]", total_events="3", cpu_usage=None)
    leave(client, "dead")
    client.hset("node:metrics:dead", "loaded_portfolio_ids", '["p2"]')
    client.hset("portfolio:p2:state", mapping={"position_count": "5", "node_id": "dead"})
    client.set("heartbeat:node:zombie", "now", px=30_000)
    return shared_redis.url


@pytest.fixture
def exporter(url: str, tmp_path: Path) -> Iterator[Exporter]:
    with running_exporter(tmp_path, "--redis.url", url) as running:
        yield running


def nodes_in(text: str) -> list[dict[str, Any]]:
    answer = json.loads(text)
    assert answer["redis_up"] is True
    found: list[dict[str, Any]] = answer.get("nodes") or answer["portfolios"]
    return found


def test_dead_node_is_shown_though_the_plan_cannot_be_read(say: Say, url: str, client: "redis.Redis") -> None:
    client.set("schedule:plan", "no hash")
    assert say("nodes", "--redis.url", url, "--state", "offline", "--fail-offline").code == 3
    assert "offline" in say("explain", "node:dead", "--redis.url", url).out


def test_json_and_csv_have_their_keys_in_order_and_what_redis_says(say: Say, url: str) -> None:
    done = say("nodes", "--redis.url", url, "--output", "json")
    rows = {row["node_id"]: row for row in nodes_in(done.out)}
    assert tuple(rows["n1"])[: len(KEYS)] == KEYS
    assert [row["state"] for row in nodes_in(done.out)] == ["offline", "online", "online", "online"]
    assert (rows["n1"]["events"], rows["n1"]["status"], rows["zombie"]["events"]) == (7, "PAUSED", None)
    assert 0 <= rows["n1"]["heartbeat_age_seconds"] < 10
    assert rows["dead"]["offline_since"] is rows["dead"]["offline_since_exact"] is None
    assert "\x1b" not in done.out
    assert "\\u001b" in done.out
    lines = list(csv.reader(io.StringIO(say("nodes", "--redis.url", url, "--output", "csv").out)))
    assert tuple(lines[0])[: len(KEYS)] == KEYS
    assert lines[1][:2] == ["dead", "offline"]
    assert lines[2][0] == r"a\x1b[31m,=\n节点"

    ledger = nodes_in(say("portfolios", "--redis.url", url, "--output", "json").out)
    keys = ["portfolio_id", "state", "reason", "planned_node", "loaded_nodes", "listed_nodes", "since", "positions"]
    assert [list(row.values()) for row in ledger] == [
        ["p2", "untraded", "node_offline", "dead", [], ["dead"], None, 5],
        ["p3", "untraded", "orphaned", None, [], [], None, None],
        ["p1", "traded", None, "n1", ["n1"], [], None, None],
    ]
    out = say("portfolios", "--redis.url", url, "--output", "csv").lines
    assert out[0] == ",".join(keys)
    assert out[1].startswith("p2,untraded,node_offline,dead,,dead,,5")


def test_state_order_and_exit_codes_are_chosen(say: Say, url: str) -> None:
    def ids(*flags: str) -> list[str]:
        return [row["node_id"] for row in nodes_in(say("nodes", "--redis.url", url, "--output", "json", *flags).out)]

    assert ids("--state", "online") == [HOSTILE, "n1", "zombie"]
    assert ids("--sort", "events") == [HOSTILE, "n1", "dead", "zombie"]
    assert say("nodes", "--redis.url", url, "--fail-offline").code == 3
    assert say("nodes", "--redis.url", url, "--fail-offline", "--state", "online").code == 3
    assert say("portfolios", "--redis.url", url, "--fail-untraded", "--state", "traded").code == 1
    assert say("portfolios", "--redis.url", url).code == 0


def test_empty_redis_is_one_line_on_standard_error(say: Say, shared_redis: RedisServer, client: "redis.Redis") -> None:
    client.flushall()
    for command in ("nodes", "portfolios"):
        done = say(command, "--redis.url", shared_redis.url)
        assert (done.code, done.out, f"No {command} at {shared_redis.url}." in done.err) == (0, "", True)
    for words in (("nodes", "--output", "csv"), ("portfolios", "--output", "json")):
        done = say(*words, "--watch")
        assert (done.code, "leave out --output" in done.err) == (2, True)
    done = say("nodes", "--redis.url", f"redis://127.0.0.1:{free_port()}")
    assert (done.code, "cannot connect to Redis" in done.err) == (1, True)


def test_plan_that_cannot_be_read_hides_portfolios_and_no_nodes(
    say: Say, shared_redis: RedisServer, client: "redis.Redis"
) -> None:
    beat(client, "n1")
    client.set("schedule:plan", "no hash")
    assert "n1" in say("nodes", "--redis.url", shared_redis.url).out
    done = say("portfolios", "--redis.url", shared_redis.url)
    assert (done.code, done.out, "the portfolios cannot be read: " in done.err) == (1, "", True)


def test_each_word_that_is_not_understood_is_one_line(say: Say) -> None:
    done = say("nodes", "--colour", "red", "more", "--sorted=cpu")
    words = ["--colour", "more", "--sorted; the nearest known name is --sort"]
    lines = [f"ginkgo-exporter: unrecognized arguments: {word} (see ginkgo-exporter nodes --help)" for word in words]
    assert (done.code, done.err.splitlines()) == (2, lines)
    assert "leave out --output, --fail-offline" in say("nodes", "--watch", "--fail-offline").err


def test_exporter_here_is_asked_unless_a_redis_or_an_exporter_is_given_and_each_says_who(
    say: Say, exporter: Exporter, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GINKGO_EXPORTER_WEB_LISTEN_ADDRESS", exporter.url.removeprefix("http://127.0.0.1"))
    port = exporter.url.rpartition(":")[2]
    for command in ("nodes", "portfolios"):
        assert f"http://localhost:{port} at " in say(command).out
        done = say(command, "--output", "json")
        assert done.err == f"ginkgo-exporter: the exporter at http://localhost:{port} was asked\n"
        assert len(nodes_in(done.out)) > 2
        assert f"{exporter.url} at " in say(command, "--exporter.url", exporter.url).out
        assert f"{url} at " in say(command, "--redis.url", url).out
        assert say(command, "--redis.url", url, "--output", "csv").err == ""
    assert "was asked" in say("explain").err
    rows = {row["node_id"]: row for row in nodes_in(say("nodes", "--output", "json").out)}
    assert rows["dead"]["offline_since"] is not None
    monkeypatch.setenv("GINKGO_EXPORTER_WEB_LISTEN_ADDRESS", f":{free_port()}")
    monkeypatch.setenv("GINKGO_EXPORTER_CONFIG_FILE", "")
    done = say("nodes", "--output", "csv")  # no exporter answers: Redis is asked
    assert "redis" in done.err or done.out.startswith("node_id")


def test_exporter_that_does_not_answer_well_is_one_line(say: Say) -> None:
    def err(url: str) -> str:
        done = say("nodes", "--exporter.url", url)
        assert done.err.count("\n") == 1
        return done.err

    with FakeAlertmanager() as fake:
        assert "is not a ginkgo-exporter" in err(fake.url)
        fake.status = 401
        assert "answers 401 Told (give user and password as http://USER:PASSWORD@…)" in err(fake.url)
    secret = err(f"http://user:s3cret@127.0.0.1:{free_port()}")
    assert "the server at http://127.0.0.1:" in secret
    assert "s3cret" not in secret
    assert "--exporter.url: not an address" in err("localhost")


@pytest.mark.parametrize("columns", [80, 200])
def test_no_word_and_no_id_is_broken_on_a_terminal(
    say: Say, client: "redis.Redis", shared_redis: RedisServer, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    for name, value in {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    ids = [f"{number:08}-aaaa-bbbb-cccc-{number:012}" for number in range(3)]
    client.hset("schedule:plan", mapping={f"p-{name}": name for name in ids})
    for name in ids[:2]:
        beat(client, name, loaded_portfolio_ids=json.dumps([f"p-{name}"]))
    leave(client, ids[2])
    client.hset(f"node:metrics:{ids[2]}", "loaded_portfolio_ids", json.dumps([f"p-{ids[2]}"]))
    given = ("--redis.url", shared_redis.url)
    for words in (
        ("nodes",),
        ("portfolios",),
        ("check",),
        ("explain", ids[0]),
        ("forget", *ids),
        ("explain", "no-body" * 15),
    ):
        said = say(*words, *given)
        lines = (said.out + said.err).splitlines()
        text = " ".join(line.strip() for line in lines)
        assert all(len(line) <= columns or " " not in line.strip() for line in lines), words
        assert words[-1] in text or len(words) == 1, words
        if words[0] in ("nodes", "portfolios", "forget"):
            assert all(name in text for name in ids), (words, lines)
        assert "with ginkgo-exporter forget --rehomed" in text or words[0] != "check"


def test_watch_shows_again_and_again_until_ctrl_c_and_what_is_wrong_meanwhile(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with redis_server.client() as client:
        beat(client, "n1", ttl=600)
    out = tmp_path / "out"
    with out.open("w") as file:
        command = [sys.executable, "-m", "exporter", "nodes", "--watch"]
        watching = subprocess.Popen([*command, "--redis.url", redis_server.url], stdout=file, stderr=file)
    wait_for(lambda: out.read_text().count("1 online") > 1)
    redis_server.kill()
    wait_for(lambda: "trying again; Ctrl-C ends" in out.read_text())
    watching.send_signal(2)
    assert watching.wait(10) == 0
    assert "Traceback" not in out.read_text()
