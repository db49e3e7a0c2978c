"""SIGHUP reloads what can be reloaded; a request may name its target as a whole URL."""

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, wait_for


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'prom:{password}'.encode()).decode()}"


def write(file: Path, password: str) -> None:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    file.write_text(json.dumps({"basic_auth_users": {"prom": hashed}}), encoding="utf-8")


def test_hangup_reloads_users_and_ends_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    config = tmp_path / "web.yml"
    write(config, "old")
    with running_exporter(tmp_path, "--redis.url", redis_server.url, "--web.config.file", str(config)) as exporter:
        assert exporter.get("/metrics", Authorization=basic("old")).status == 200
        write(config, "new")
        exporter.send(signal.SIGHUP)
        wait_for(lambda: "the web configuration was reloaded" in exporter.output(), "for the reload")
        assert exporter.get("/metrics", Authorization=basic("new")).status == 200
        assert exporter.get("/metrics", Authorization=basic("old")).status == 401
        config.write_text("{")
        exporter.send(signal.SIGHUP)
        wait_for(lambda: "stays in force" in exporter.output(), "for the refusal")
        assert exporter.get("/metrics", Authorization=basic("new")).status == 200


@pytest.fixture
def exporter(redis_server: RedisServer, tmp_path: Path) -> Iterator[Exporter]:
    with redis_server.client() as client:
        beat(client, "a", 600)
    with running_exporter(tmp_path, "--redis.url", redis_server.url) as exporter:
        yield exporter


def test_hangup_without_a_web_configuration_is_logged_and_ends_nothing(exporter: Exporter) -> None:
    exporter.send(signal.SIGHUP)
    wait_for(lambda: "there is nothing to reload" in exporter.output(), "for the line")
    assert exporter.scrape()["ginkgo_node_up"] == {"a": 1}


@pytest.mark.parametrize("prefix", ["http://exporter:19121", "HTTP://127.0.0.1", "https://elsewhere"])
def test_request_with_a_whole_url_is_served(exporter: Exporter, prefix: str) -> None:
    answer = exporter.get(f"{prefix}/metrics?name[]=ginkgo_node_up")
    assert (answer.status, b'ginkgo_node_up{node_id="a"} 1' in answer.body) == (200, True)
    assert exporter.get(prefix).status == 200
    assert exporter.get(f"{prefix}/nowhere").status == 404
    assert exporter.get(f"{prefix}/metrics", "POST").status == 405
