"""Missing rights of the Redis user: what can be read without them, and how they are reported."""

import time
from collections.abc import Iterator

import pytest
import redis
from structlog.testing import capture_logs

from exporter.commands.deletion import Deleter
from exporter.errors import ExporterError, SourceError
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.settings import Settings, load
from exporter.source import open_source
from lab.nodes import beat

PASSWORD = "s3cret-Pa55"  # noqa: S105 - of a server that lives for a test
RIGHTS = ["+info", "+scan", "+hmget", "+pttl", "+mget", "+get", "+exists"]


@pytest.fixture
def limited(client: "redis.Redis") -> Iterator["redis.Redis"]:
    """The shared server with a node, and with a user ``less`` that has no rights yet."""
    beat(client, "a", 600)
    client.execute_command("ACL", "SETUSER", "less", "reset", "on", f">{PASSWORD}", "~*")
    yield client
    client.execute_command("ACL", "DELUSER", "less")


def settings_of(client: "redis.Redis", *without: str) -> Settings:
    """Return settings whose user lacks these rights, and has all others that the exporter needs."""
    client.execute_command("ACL", "SETUSER", "less", "-@all", *(right for right in RIGHTS if right not in without))
    port = client.connection_pool.connection_kwargs["port"]
    return load({"redis.url": [f"redis://less:{PASSWORD}@127.0.0.1:{port}/0"], "discovery.interval": "200ms"})


def test_user_without_the_right_to_info_reads_all_nodes_without_delay(limited: "redis.Redis") -> None:
    with capture_logs() as logs, Fleet(settings_of(limited, "+info")) as fleet:
        start = time.monotonic()
        for _ in range(5):
            assert fleet.read().states == [State.ONLINE]
        assert time.monotonic() - start < 2
    told = [line for line in logs if line.get("command") == "info"]
    assert len(told) == 1
    assert told[0]["log_level"] == "error"


def test_server_that_refuses_info_is_read_and_the_missing_right_is_reported(limited: "redis.Redis") -> None:
    source = open_source(settings_of(limited, "+info"))
    reader = source.reader()
    try:
        untold = reader.read([b"a"], time.monotonic() + 5)
        assert (untold.server.info_allowed, untold.server.run_id, untold.ttl_ms[0] > 0) == (False, "", True)
        assert source.missing_rights() == {"info"}
        settings_of(limited)
        told = reader.read([b"a"], time.monotonic() + 5)
        assert told.server.info_allowed
        assert told.server.run_id
        assert source.missing_rights() == frozenset()
    finally:
        source.close()


def test_error_of_a_user_without_the_right_to_scan_names_the_right_to_grant(limited: "redis.Redis") -> None:
    source = open_source(settings_of(limited, "+scan"))
    try:
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(SourceError, match=r"\+scan.*--redis\.username.*docs/how-to/redis"):
                    source.discover(5)
        assert source.missing_rights() == {"scan"}
        assert [line["command"] for line in logs] == ["scan"]
        settings_of(limited)
        assert source.discover(5).names == {b"a"}
        assert source.missing_rights() == frozenset()
    finally:
        source.close()


def test_forget_refuses_to_delete_without_the_right_to_info(limited: "redis.Redis") -> None:
    """A Redis that has just loaded old data shows living nodes as dead; only INFO says that it has just started."""
    deleter = Deleter(settings_of(limited, "+info"))
    with pytest.raises(ExporterError, match=r"\+info"):
        deleter.found()
    deleter.close()
