"""Faults of the exporter's machine: its disk, its clock, its host names."""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.nodes import beat, crash
from lab.servers import RedisServer, missing, running_exporter, wait_for
from witness import FLAGS, RecordedNodes, Witness, assert_says_that_redis_is_down

pytestmark = pytest.mark.timeout(300)

FAKETIME = "faketime/libfaketimeMT.so.1"
NSS_WRAPPER = "libnss_wrapper.so"
HOUR = 3600


def library(name: str, package: str) -> str:
    """Return the path of a library to preload, or skip the test if it is not installed."""
    return str(next(Path("/usr/lib").glob(f"*/{name}"), None) or missing(package))


@pytest.fixture
def platform(redis_server: RedisServer) -> Iterator[RecordedNodes]:
    with redis_server.client() as client:
        beat(client, "dead", 1)
        crash(client, "dead")
    with RecordedNodes(redis_server, "a", "b") as platform:
        yield platform


def test_full_disk_under_the_log_keeps_nobody_from_serving(
    redis_server: RedisServer, platform: RecordedNodes, tmp_path: Path
) -> None:
    def fill() -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        os.dup2(full, 2)

    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    options: dict[str, Any] = {"preexec_fn": fill, "env": buffered}
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS, **options) as exporter:
        witness = Witness(exporter, platform, "dead")
        with witness.scraping() as scrapes:
            redis_server.kill()
            platform.redis_lost()
            wait_for(lambda: scrapes and scrapes[-1]["ginkgo_redis_up"] == {"": 0})  # which it would log
            redis_server.start()
            wait_for(lambda: scrapes[-1]["ginkgo_redis_up"] == {"": 1})
        witness.assert_recovered(redis_server)


@pytest.mark.server("faketime")
def test_clock_that_jumps_by_hours_changes_nobodys_state(
    redis_server: RedisServer, platform: RecordedNodes, tmp_path: Path
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0s")
    faked = {
        "LD_PRELOAD": library(FAKETIME, "faketime"),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",  # a machine's clock is set, not the time since it started
    }
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS, env={**os.environ, **faked}) as exporter:
        witness = Witness(exporter, platform, "dead")

        def discovered() -> float:
            return witness.scrape()["ginkgo_exporter_discovery_timestamp_seconds"][""]

        with witness.scraping() as scrapes:
            for jump in (5 * HOUR, -5 * HOUR, 0):
                written = tmp_path / "offset.new"
                written.write_text(f"{jump:+d}s")
                written.replace(offset)  # it is read at every look at the clock, and must never be empty
                wait_for(lambda: abs(discovered() - time.time() - jump) < HOUR, "for the clock to have jumped")  # noqa: B023
                jumped = len(scrapes)
                wait_for(lambda: len(scrapes) > jumped + 10)  # noqa: B023
        assert all(series.get("ginkgo_node_up") == witness.expected for series in scrapes)
        witness.assert_recovered(redis_server)


@pytest.mark.server("libnss-wrapper")
def test_host_name_that_resolves_no_more_is_said_and_one_that_does_again_is_used(
    redis_server: RedisServer, platform: RecordedNodes, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    writings = itertools.count(int(time.time()))

    def write(name: str) -> None:
        hosts.write_text(f"127.0.0.1 {name}\n")
        written = next(writings)
        os.utime(hosts, (written, written))  # nss_wrapper reads it again when this changes, in whole seconds

    write("redis.invalid")
    faked = {"LD_PRELOAD": library(NSS_WRAPPER, "libnss-wrapper"), "NSS_WRAPPER_HOSTS": str(hosts)}
    url = f"redis://redis.invalid:{redis_server.port}"
    with (
        running_exporter(tmp_path, "--redis.url", url, *FLAGS, env={**os.environ, **faked}) as exporter,
        redis_server.client() as client,
    ):
        witness = Witness(exporter, platform, "dead")
        with witness.scraping() as scrapes:
            write("other.invalid")
            client.client_kill_filter(_type="normal", skipme=True)
            wait_for(lambda: scrapes and scrapes[-1]["ginkgo_redis_up"] == {"": 0})
            assert_says_that_redis_is_down(scrapes[-1])
            wait_for(lambda: "redis.invalid" in exporter.output())
            write("redis.invalid")
            wait_for(lambda: scrapes[-1]["ginkgo_redis_up"] == {"": 1})
        witness.assert_recovered(redis_server)
