"""What the watch makes of a connection to Redis that ends between two probes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.fleet import Fleet
from exporter.liveness import watch
from exporter.settings import load
from lab.servers import RedisServer, running_redis, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of an end without a read")

NEVER = 3600.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def fleet(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet that probes no more while all is well."""
    monkeypatch.setattr(watch, "CALM_PROBE", NEVER)
    flags = {
        "redis.url": [server.url],
        "discovery.interval": "1h",
        "heartbeat.ttl": f"{NEVER * watch.CALM_PROBES:.0f}s",
    }
    with Fleet(load(flags)) as fleet:
        wait_for(lambda: not fleet.not_ready and fleet.watch.wait() > NEVER / 2, "for the last probe")
        yield fleet


def test_redis_that_ends_is_unreadable_at_once(fleet: Fleet, server: RedisServer) -> None:
    server.kill()
    assert wait_for(lambda: fleet.outages.since, "for the watch to notice", patience=NEVER / 60)
    assert fleet.not_ready


def test_redis_that_closes_its_connections_alone_is_probed_at_once_and_readable(
    fleet: Fleet, server: RedisServer
) -> None:
    answered = fleet.judge.answered_at
    (pool,) = fleet._source.pools()
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_for(lambda: fleet.judge.answered_at > answered, "for a probe")
        wait_for(lambda: len(client.client_list()) == 1 + len(pool.idle_sockets()), "for the ended ones to be dropped")
        wait_for(lambda: fleet.watch.wait() > NEVER / 2, "for the last probe")
        assert fleet.outages.since is None
        calls = client.info("commandstats")["cmdstat_info"]["calls"]
    assert calls < 40, "the watch must not probe again and again"
