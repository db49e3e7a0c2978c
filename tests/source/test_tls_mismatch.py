"""An address with TLS for a port without it, and the reverse, are named as such, and in a bounded time."""

import os
import socket
import time
from pathlib import Path

import pytest

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.settings import load
from exporter.source.tls_mismatch import tls_mismatch
from lab.servers import Exporter, RedisServer, free_port, running_redis, wait_for
from lab.tls import Certificates


def hint(url: str) -> str:
    return tls_mismatch(load({"redis.url": [url]}).redis, 0.5)


def test_tls_to_a_port_without_it_is_named(shared_redis: RedisServer) -> None:
    assert "the port answers without TLS: write redis://" in hint(shared_redis.url.replace("redis:", "rediss:"))
    assert hint(shared_redis.url) == ""


@pytest.mark.server("redis-server")
def test_port_with_tls_is_named_also_if_it_wants_a_certificate(tmp_path: Path, certificates: Certificates) -> None:
    with running_redis(tmp_path, "redis-server") as server, server.client() as client:
        port = free_port()
        files = certificates.server("localhost")
        for name, file in zip(files[::2], files[1::2], strict=True):
            client.config_set(name.removeprefix("--"), file)
        client.config_set("tls-port", port)
        assert "the port speaks TLS: write rediss://" in hint(f"redis://127.0.0.1:{port}")
        assert hint(f"rediss://127.0.0.1:{port}") == ""
        settings = load({"redis.url": [f"redis://127.0.0.1:{port}"], "redis.timeout": "2s"})
        fleet = Fleet(settings)
        with pytest.raises(SourceError, match="the port speaks TLS"):
            fleet.look()
        fleet.close()


def test_port_without_listener_and_socket_file_give_no_hint(tmp_path: Path) -> None:
    assert hint(f"redis://127.0.0.1:{free_port()}") == ""
    assert hint(f"unix://{tmp_path}/none") == ""


def test_exporter_logs_the_wrong_scheme_and_the_unknown_variable_once(
    shared_redis: RedisServer, tmp_path: Path
) -> None:
    url = shared_redis.url.replace("redis:", "rediss:")
    environment = {**os.environ, "GINKGO_EXPORTER_REDIS_ULR": "x"}
    exporter = Exporter(tmp_path, "--redis.url", url, "--redis.timeout", "300ms", env=environment)
    try:
        wait_for(lambda: "the port answers without TLS" in exporter.output())
        logged = exporter.output()
        assert logged.count("Redis cannot be read for this reason") == 1
        assert logged.count("an environment variable looks like a setting, but is not one") == 1
        assert "the nearest known name is GINKGO_EXPORTER_REDIS_URL" in logged
        assert 'level=error event="Redis cannot be read"' in logged
    finally:
        exporter.stop()


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_host_that_says_nothing_takes_no_longer_than_the_patience(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        assert hint(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}") == ""
        assert time.monotonic() - start < 10
