"""HTTP through a running exporter: routes, formats, filters, health, and the stop."""

import gzip
import http.client
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from lab.nodes import beat
from lab.servers import Exporter, RedisServer, binary, running_exporter, running_redis, series_of, wait_for

TEXT, OPENMETRICS = "text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1.0.0"
TYPES = {
    "/metrics": TEXT,
    "/": "text/html; charset=utf-8",
    "/api/v1/nodes": "application/json; charset=utf-8",
    "/api/v1/portfolios": "application/json; charset=utf-8",
    "/api/v1/events": "application/json; charset=utf-8",
    "/runbooks/": "text/html; charset=utf-8",
    "/runbooks/GinkgoNodeOffline": "text/html; charset=utf-8",
    "/-/healthy": "text/plain; charset=utf-8",
    "/-/ready": "text/plain; charset=utf-8",
}
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server, server.client() as client:
        beat(client, "b", 600)
        beat(client, "a", 600, status=None)
        beat(client, "dead", 600)
        flags = ("--redis.url", server.url, "--heartbeat.ttl", "10m")
        with running_exporter(tmp_path_factory.mktemp("exporter"), *flags) as exporter:
            exporter.scrape()
            client.persist("heartbeat:node:dead")
            wait_for(lambda: exporter.scrape()["ginkgo_node_up"].get("dead") == 0)
            yield exporter


def test_every_route_answers_get_and_head_alike_and_nothing_else(exporter: Exporter) -> None:
    for path, content_type in TYPES.items():
        got, head = exporter.get(path), exporter.get(path, "HEAD")
        assert (got.status, head.status, path) == (200, 200, path)
        assert got.headers["Content-Type"] == head.headers["Content-Type"] == content_type
        assert got.body
        assert not head.body
        assert abs(int(head.headers["Content-Length"]) - len(got.body)) < 1000, "an event may come between"
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            refused = exporter.get(path, method)
            assert (refused.status, refused.headers["Allow"], path) == (405, "GET, HEAD", path)
    assert r"a\x1bb" in exporter.get("/runbooks/GinkgoNodeOffline?node_id=a%1Bb").text
    for path in ("/nothing", "/metrics/", "/api/v1", "/api/v1/x", "/-/", "/..", "//metrics", "/%00", "/runbooks/None"):
        assert (exporter.get(path).status, path) == (404, path)


def test_gzip_is_sent_to_a_client_that_accepts_it(exporter: Exporter) -> None:
    answer = exporter.get(Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert series_of(gzip.decompress(answer.body))["ginkgo_node_up"] == {"a": 1, "b": 1, "dead": 0}
    for accepted in ("", "identity", "gzip; q=0", "br"):
        assert "Content-Encoding" not in exporter.get(Accept_Encoding=accepted).headers


def test_format_is_negotiated(exporter: Exporter) -> None:
    wanted = {
        PROMETHEUS: OPENMETRICS,
        "application/openmetrics-text; version=1.0.0": OPENMETRICS,
        "application/openmetrics-text": OPENMETRICS,
        "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8": TEXT,
        ";;;,,q=x": TEXT,
        "": TEXT,
    }
    for accept, content_type in wanted.items():
        answer = exporter.get(Accept=accept)
        assert (accept, answer.headers["Content-Type"].startswith(content_type)) == (accept, True)
        assert answer.body.endswith(b"# EOF\n") is (content_type is OPENMETRICS)
    families = {family.name for family in parse_openmetrics(exporter.get(Accept=PROMETHEUS).text)}
    assert {"ginkgo_node_up", "ginkgo_redis_up", "ginkgo_node_events", "process_cpu_seconds"} <= families


def test_series_are_filtered_by_name(exporter: Exporter) -> None:
    wanted = {
        "name[]=ginkgo_node_up": {"ginkgo_node_up"},
        "name%5B%5D=ginkgo_node_up&name[]=ginkgo_redis_up&x=1&y": {"ginkgo_node_up", "ginkgo_redis_up"},
        "name[]=ginkgo_node_events_total": {"ginkgo_node_events_total"},
        "name[]=process_cpu_seconds_total": {"process_cpu_seconds_total"},
        "name[]=nothing": set(),
    }
    for query, names in wanted.items():
        assert (query, set(series_of(exporter.get(f"/metrics?{query}").body))) == (query, names)
    assert exporter.get("/metrics?name[]=nothing", Accept="application/openmetrics-text").body == b"# EOF\n"


@pytest.mark.server("promtool")
def test_promtool_finds_nothing_wrong(exporter: Exporter) -> None:
    command = [binary("promtool"), "check", "metrics"]
    checked = subprocess.run(command, input=exporter.get().body, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


# --- Redis that hangs, and the stop ---------------------------------------------------------


def asked(exporter: Exporter) -> http.client.HTTPConnection:
    """Return a connection over which the exporter has got the request of a scrape."""
    connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=60)
    connection.request("GET", "/metrics")
    assert exporter.get("/-/healthy").status == 200  # it came later
    return connection


def test_runbooks_do_not_wait_for_a_redis_that_hangs(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url, "--redis.timeout", "20s") as exporter:
        assert exporter.get("/runbooks/GinkgoNodeOffline").status == 200  # the first one imports what it needs
        redis_server.pause()
        start = time.monotonic()
        assert exporter.get("/runbooks/").status == exporter.get("/api/v1/events").status == 200
        assert time.monotonic() - start < 1
        for _ in range(4):
            start = time.monotonic()
            page = exporter.get("/runbooks/GinkgoNodeOffline?node_id=a")
            assert b"Redis cannot be read" in page.body
            assert time.monotonic() - start < 1.5
        answer = exporter.get("/metrics", X_Prometheus_Scrape_Timeout_Seconds="1")
        assert b"ginkgo_redis_up 0.0\n" in answer.body
        assert b"ginkgo_node_up{" not in answer.body
        redis_server.resume()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_signal_finishes_the_scrape_that_is_being_served(
    redis_server: RedisServer, tmp_path: Path, number: signal.Signals
) -> None:
    with redis_server.client() as client:
        beat(client, "a", 600)
    with running_exporter(tmp_path, "--redis.url", redis_server.url, "--heartbeat.ttl", "10m") as exporter:
        exporter.scrape()
        redis_server.pause()
        scrape = asked(exporter)
        exporter.send(number)
        signalled = time.monotonic()
        wait_for(lambda: "stopping" in exporter.output())
        redis_server.resume()
        assert series_of(scrape.getresponse().read())["ginkgo_node_up"] == {"a": 1}
        scrape.close()
        assert exporter.wait() == 0
        assert time.monotonic() - signalled < 5
        assert "level=error" not in exporter.output()


def test_exporter_of_a_hanging_redis_exits_within_five_seconds(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url, "--redis.timeout", "1m") as exporter:
        redis_server.pause()
        scrape = asked(exporter)
        exporter.send(signal.SIGTERM)
        signalled = time.monotonic()
        assert exporter.wait() == 0
        assert time.monotonic() - signalled < 6
        redis_server.resume()
        scrape.close()
        assert "Traceback" not in exporter.output()
