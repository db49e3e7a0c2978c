"""HTTP through a running exporter: routes, formats, filters, health, the JSON, and the stop."""

import gzip
import http.client
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from lab.nodes import beat, crash
from lab.servers import (
    Answer,
    Exporter,
    Process,
    RedisServer,
    free_port,
    running_exporter,
    running_redis,
    series_of,
    wait_for,
)

NUMBER = (int, float, type(None))
NODE_TYPES: dict[str, tuple[type, ...]] = {
    "node_id": (str,),
    "state": (str,),
    "heartbeat_ttl_seconds": NUMBER,
    "last_heartbeat": NUMBER,
    "portfolios": NUMBER,
    "queue_size": NUMBER,
    "cpu_usage_ratio": NUMBER,
    "memory_usage_bytes": NUMBER,
    "events": NUMBER,
    "backpressure": NUMBER,
    "dropped_events": NUMBER,
    "status": (str, type(None)),
    "offline_since": (*NUMBER, type(None)),
    "offline_since_exact": (bool, type(None)),
    "undecided_because": (str, type(None)),
    "undecided_until": (*NUMBER, type(None)),
}
PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def exporter(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    folder = tmp_path_factory.mktemp("exporter")
    with server.client() as client:
        beat(client, "b", 600)
        beat(client, "a", 600, status=None)
        beat(client, "dead", 600)
        with running_exporter(folder, "--redis.url", server.url, "--heartbeat.ttl", "10m") as exporter:
            exporter.scrape()
            client.persist("heartbeat:node:dead")
            yield exporter


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/", "text/html; charset=utf-8"),
        ("/api/v1/nodes", "application/json; charset=utf-8"),
        ("/-/healthy", "text/plain; charset=utf-8"),
        ("/-/ready", "text/plain; charset=utf-8"),
    ],
)
def test_route_answers_get_and_head_alike(exporter: Exporter, path: str, content_type: str) -> None:
    got, head = exporter.get(path), exporter.get(path, "HEAD")
    assert (got.status, head.status) == (200, 200)
    assert got.headers["Content-Type"] == head.headers["Content-Type"] == content_type
    assert got.body
    assert not head.body
    assert abs(int(head.headers["Content-Length"]) - len(got.body)) < 300


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/metricsx", "/api/v1", "/-/", "/..", "//metrics", "/%00"])
def test_anything_else_is_404(exporter: Exporter, path: str) -> None:
    assert exporter.get(path).status == 404


@pytest.mark.parametrize("path", ["/metrics", "/", "/api/v1/nodes", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_anything_but_get_and_head_is_405(exporter: Exporter, path: str, method: str) -> None:
    answer = exporter.get(path, method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_gzip_is_sent_to_a_client_that_accepts_it(exporter: Exporter) -> None:
    answer = exporter.get(Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert series_of(gzip.decompress(answer.body))["ginkgo_node_up"] == {"a": 1, "b": 1, "dead": 0}


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br", "*;q=0"])
def test_gzip_is_not_sent_to_a_client_that_does_not_accept_it(exporter: Exporter, accepted: str) -> None:
    answer = exporter.get(Accept_Encoding=accepted)
    assert "Content-Encoding" not in answer.headers
    assert b"ginkgo_node_up" in answer.body


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_ACCEPT, True),
        ("application/openmetrics-text; version=1.0.0", True),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=0.0.1", False),
        ("application/openmetrics-text; version=1.0.0;q=0.1, text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("text/plain", False),
        ("*/*", False),
        ("", False),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", False),
        (";;;,,q=x", False),
    ],
)
def test_format_is_negotiated(exporter: Exporter, accept: str, openmetrics: bool) -> None:  # noqa: FBT001
    answer = exporter.get(Accept=accept)
    content_type = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain; version=0.0.4"
    assert answer.headers["Content-Type"].startswith(content_type)
    assert answer.body.endswith(b"# EOF\n") is openmetrics
    families = {family.name for family in parse_openmetrics(answer.text)} if openmetrics else series_of(answer.body)
    assert "ginkgo_node_up" in families
    assert "ginkgo_redis_up" in families


def names_in(answer: Answer) -> set[str]:
    assert answer.status == 200
    return set(series_of(answer.body))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name[]=ginkgo_node_up", {"ginkgo_node_up"}),
        ("name%5B%5D=ginkgo_node_up", {"ginkgo_node_up"}),
        ("name[]=ginkgo_node_up&name[]=ginkgo_redis_up", {"ginkgo_node_up", "ginkgo_redis_up"}),
        ("name[]=ginkgo_node_events_total", {"ginkgo_node_events_total"}),
        ("name[]=ginkgo_exporter_build_info", {"ginkgo_exporter_build_info"}),
        ("name[]=process_cpu_seconds_total", {"process_cpu_seconds_total"}),
        ("name[]=nothing", set()),
    ],
)
def test_series_are_filtered_by_name(exporter: Exporter, query: str, names: set[str]) -> None:
    assert names_in(exporter.get(f"/metrics?{query}")) == names


def test_filtered_openmetrics_ends_with_eof(exporter: Exporter) -> None:
    answer = exporter.get("/metrics?name[]=nothing", Accept="application/openmetrics-text")
    assert answer.body == b"# EOF\n"


def test_other_parameters_change_nothing(exporter: Exporter) -> None:
    assert names_in(exporter.get("/metrics?x=1&name[]=ginkgo_node_up&y")) == {"ginkgo_node_up"}


def test_json_lists_all_nodes_sorted_with_all_keys(exporter: Exporter) -> None:
    reply: dict[str, Any] = json.loads(exporter.get("/api/v1/nodes").body)
    assert reply.keys() == {"redis_up", "nodes"}
    assert reply["redis_up"] is True
    assert [node["node_id"] for node in reply["nodes"]] == ["a", "b", "dead"]
    for node in reply["nodes"]:
        assert list(node) == list(NODE_TYPES)
        assert all(isinstance(node[key], types) for key, types in NODE_TYPES.items())
        assert not any(isinstance(node[key], bool) for key in NODE_TYPES.keys() - {"offline_since_exact"})
    a, b, dead = reply["nodes"]
    assert (a["state"], a["status"], b["status"], dead["state"]) == ("online", None, "RUNNING", "offline")
    assert (b["portfolios"], b["events"], b["memory_usage_bytes"]) == (3, 15000, 512 * 1048576)
    assert (dead["portfolios"], dead["events"], dead["heartbeat_ttl_seconds"]) == (None, 15000, -1)
    assert a["offline_since"] is a["offline_since_exact"] is None
    assert time.time() - 600 < dead["offline_since"] <= time.time()
    assert dead["offline_since_exact"] is False, "it was offline when the exporter first looked"


def test_offline_nodes_keep_their_counters_and_lose_their_gauges(exporter: Exporter) -> None:
    series = exporter.scrape()
    assert series["ginkgo_node_events_total"]["dead"] == 15000
    assert series["ginkgo_node_heartbeat_ttl_seconds"]["dead"] == -1
    assert "dead" not in series["ginkgo_node_portfolios"]
    assert "dead,RUNNING" not in series["ginkgo_node_status"]


def test_counts_are_0_rather_than_absent(exporter: Exporter) -> None:
    assert exporter.scrape()["ginkgo_nodes"] == {"online": 2, "offline": 1, "undecided": 0, "forgotten": 0}


def test_every_metric_of_the_contract_is_there(exporter: Exporter) -> None:
    names = {
        "ginkgo_node_up", "ginkgo_node_heartbeat_ttl_seconds", "ginkgo_node_last_heartbeat_timestamp_seconds",
        "ginkgo_node_portfolios", "ginkgo_node_queue_size", "ginkgo_node_cpu_usage_ratio",
        "ginkgo_node_memory_usage_bytes",
        "ginkgo_node_events_total", "ginkgo_node_backpressure_total", "ginkgo_node_dropped_events_total",
        "ginkgo_node_status", "ginkgo_nodes", "ginkgo_redis_up", "ginkgo_exporter_build_info",
        "ginkgo_exporter_collect_duration_seconds", "ginkgo_exporter_discovery_duration_seconds",
        "ginkgo_exporter_discovery_timestamp_seconds", "ginkgo_exporter_invalid_values_total",
    }  # fmt: skip
    assert names <= exporter.scrape().keys()


def test_samples_have_no_timestamps(exporter: Exporter) -> None:
    samples = [line for line in exporter.get().text.splitlines() if not line.startswith("#")]
    assert all(len(line.rpartition("}")[2].split()) == (1 if "}" in line else 2) for line in samples)


@pytest.mark.server("promtool")
def test_promtool_finds_nothing_wrong(exporter: Exporter) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=exporter.get().body, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.server("prometheus")
def test_real_prometheus_sees_a_node_die_and_come_back(tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed")
    flags = ("--heartbeat.ttl", "10m", "--discovery.interval", "200ms")
    with running_redis(tmp_path / "redis") as server, server.client() as client:
        beat(client, "a", 600)
        with running_exporter(tmp_path, "--redis.url", server.url, *flags) as exporter:
            config = tmp_path / "prometheus.yml"
            target = f"127.0.0.1:{exporter.port}"
            config.write_text(
                "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
                f"scrape_configs: [{{job_name: ginkgo-exporter, static_configs: [{{targets: ['{target}']}}]}}]\n"
            )
            port = free_port()
            command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
            process = Process([*command, f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "prometheus.log")
            try:

                def up() -> str | None:
                    try:
                        url = f"http://127.0.0.1:{port}/api/v1/query?query=ginkgo_node_up"
                        with urllib.request.urlopen(url) as reply:
                            result = json.load(reply)["data"]["result"]
                    except OSError:
                        return None
                    return str(result[0]["value"][1]) if result else None

                wait_for(lambda: up() == "1")
                client.persist("heartbeat:node:a")
                wait_for(lambda: up() == "0")
                beat(client, "a", 600)
                wait_for(lambda: up() == "1")
            finally:
                process.stop()


# --- the stop -------------------------------------------------------------------------------


def collect(exporter: Exporter, answers: list[Any]) -> None:
    try:
        answers.append(exporter.scrape())
    except (OSError, http.client.HTTPException) as error:
        answers.append(error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_signal_finishes_the_scrape_that_is_being_served(
    redis_server: RedisServer, tmp_path: Path, number: signal.Signals
) -> None:
    with redis_server.client() as client:
        beat(client, "a", 600)
    with running_exporter(tmp_path, "--redis.url", redis_server.url, "--heartbeat.ttl", "10m") as exporter:
        exporter.scrape()
        redis_server.pause()
        answers: list[Any] = []

        thread = threading.Thread(target=lambda: collect(exporter, answers))
        thread.start()
        asked = time.monotonic() + 0.5
        wait_for(lambda: time.monotonic() > asked)
        exporter.send(number)
        signalled = time.monotonic()
        wait_for(lambda: "stopping" in exporter.output())
        redis_server.resume()
        thread.join()
        assert exporter.wait() == 0
        assert time.monotonic() - signalled < 5
        assert answers[0]["ginkgo_node_up"] == {"a": 1}


def test_exporter_of_a_hanging_redis_exits_within_five_seconds(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url, "--redis.timeout", "1m") as exporter:
        redis_server.pause()
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: collect(exporter, answers))
        thread.start()
        asked = time.monotonic() + 0.5
        wait_for(lambda: time.monotonic() > asked)
        exporter.send(signal.SIGTERM)
        signalled = time.monotonic()
        assert exporter.wait() == 0
        assert time.monotonic() - signalled < 6
        redis_server.resume()
        thread.join()
        assert "Traceback" not in exporter.output()


def test_exporter_that_waits_for_a_connection_exits_within_five_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        for _ in range(3):  # no more are let in, and none is turned away
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        flags = ("--redis.url", f"redis://127.0.0.1:{full.getsockname()[1]}/0", "--redis.timeout", "1m")
        with running_exporter(tmp_path, *flags, ready=False) as exporter:
            wait_for(lambda: "serving" in exporter.output())
            exporter.send(signal.SIGTERM)
            signalled = time.monotonic()
            assert exporter.wait() == 0
            assert time.monotonic() - signalled < 6


def test_idle_exporter_exits_at_once_and_logs_no_error(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url) as exporter:
        assert exporter.stop() == 0
        assert "level=error" not in exporter.output()
        assert "Traceback" not in exporter.output()


def test_crashed_node_is_0_after_its_heartbeat_expired(redis_server: RedisServer, tmp_path: Path) -> None:
    with (
        redis_server.client() as client,
        running_exporter(
            tmp_path, "--redis.url", redis_server.url, "--heartbeat.ttl", "1s", "--discovery.interval", "100ms"
        ) as exporter,
    ):
        beat(client, "a", 1)
        wait_for(lambda: exporter.scrape().get("ginkgo_node_up") == {"a": 1})
        crash(client, "a")
        wait_for(lambda: exporter.scrape().get("ginkgo_node_up") == {"a": 0})
