"""The demo's disk: a Valkey whose disk is full refuses all writes, again and again."""

from pathlib import Path

from redis import ResponseError
from redis.backoff import NoBackoff
from redis.retry import Retry

from exporter.demo.disk import Disk
from lab.servers import RedisServer, wait_for


def test_valkey_refuses_writes_while_its_disk_is_full_each_time(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        disk = Disk(client, Path(client.config_get("dir")["dir"] or ""))

        def is_refused() -> bool:
            try:
                client.set("key", "value")
            except ResponseError as error:
                return str(error).startswith("MISCONF")
            return False

        for _ in range(2):
            assert not is_refused()
            disk.fill()
            assert disk.is_full
            wait_for(is_refused, "for the failed snapshot")
            disk.free()
            assert not disk.is_full
            assert not is_refused()
            wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", "for the next snapshot")


def test_disk_of_a_valkey_that_is_gone_raises_no_error(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.kill()
    with redis_server.client(retry=Retry(NoBackoff(), 0)) as client:
        disk = Disk(client, tmp_path)
        disk.fill()
        assert disk.is_full
        disk.free()
        assert not disk.is_full
