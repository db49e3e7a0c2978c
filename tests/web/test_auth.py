"""Authentication by TLS, client certificates and users. All of them may change while the exporter runs."""

import asyncio
import base64
import http.client
import json
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme

from exporter.errors import SettingsError
from exporter.web.auth import BUSY, MOST_WAITING, OK, WRONG, Auth
from exporter.web.config import load
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, wait_for

TLS = {"cert_file": "server.crt", "key_file": "server.key"}
CLIENTS = {**TLS, "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}
HASH = "$2b$04$abcdefghijklmnopqrstuuVHBYLlWg6sVBLQTfBMIJZIoTQnhXQpq"


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Guarded:
    """An exporter with a web configuration, and a client of it."""

    def __init__(self, folder: Path, redis: RedisServer, authority: trustme.CA, config: Mapping[str, Any]) -> None:
        self.folder, self.authority, self.tls = folder, authority, "tls_server_config" in config
        self.write(config)
        self.certify()
        self.process = Exporter(folder, "--redis.url", redis.url, "--web.config.file", str(folder / "web.yml"))
        wait_for(lambda: self.status("/-/ready", certificate=self.client()) == 200, "for the exporter")

    def write(self, config: Mapping[str, Any]) -> None:
        written = self.folder / "web.yml.new"
        written.write_text(json.dumps(config), encoding="utf-8")
        written.replace(self.folder / "web.yml")

    def certify(self) -> None:
        certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(self.folder / "server.key")
        certificate.cert_chain_pems[0].write_to_path(self.folder / "server.crt")
        self.authority.cert_pem.write_to_path(self.folder / "ca.crt")

    def connect(self, certificate: trustme.LeafCert | None = None) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=10)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the system's certificates would take long to load
        self.authority.configure_trust(context)
        if certificate:
            certificate.configure_cert(context)
        return http.client.HTTPSConnection("localhost", self.process.port, timeout=10, context=context)

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, certificate: trustme.LeafCert | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connect(certificate)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def status(self, path: str = "/metrics", headers: Mapping[str, str] | None = None, **options: Any) -> int:
        """Return the status of the answer; 0 without one."""
        try:
            return self.ask(path, headers, **options)[0].status
        except (OSError, http.client.HTTPException):
            assert self.process.alive, self.process.output()
            return 0

    def client(self, *names: str) -> trustme.LeafCert:
        return self.authority.issue_cert(*(names or ("prometheus@example.com",)))


@pytest.fixture
def guard(
    tmp_path: Path, client: Any, shared_redis: RedisServer, authority: trustme.CA
) -> Iterator[Callable[[Mapping[str, Any]], Guarded]]:
    """Start an exporter with a web configuration, over a Redis with one node."""
    beat(client, "node-1")
    started: list[Guarded] = []

    def start(config: Mapping[str, Any]) -> Guarded:
        started.append(Guarded(tmp_path, shared_redis, authority, config))
        return started[-1]

    yield start
    for guarded in started:
        assert guarded.process.stop() == 0
        assert "Traceback" not in guarded.process.output()


def test_every_path_but_health_needs_a_user(guard: Any) -> None:
    guarded = guard({"basic_auth_users": {"prom": hashed("secret"), "ops": hashed("other")}})
    for path in ("/metrics", "/", "/api/v1/nodes", "/nowhere"):
        refused, body = guarded.ask(path)
        assert (refused.status, refused.headers["Connection"], b"node-1" in body) == (401, "close", False)
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
    with socket.create_connection(("127.0.0.1", guarded.process.port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.makefile().read().endswith("401 Unauthorized\n"), "the server closes the connection"
    for path in ("/-/healthy", "/-/ready"):
        assert guarded.status(path) == 200
    assert b'node_id="node-1"' in guarded.ask("/metrics", basic("prom", "secret"))[1]
    assert guarded.status("/", basic("ops", "other")) == 200
    for wrong in (
        basic("prom", "other"),
        basic("nobody", "secret"),
        basic("prom", ""),
        basic("prom", "s" * 100),
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer secret"},
        {"Authorization": ""},
    ):
        assert guarded.status("/metrics", wrong) == 401
    assert "secret" not in guarded.process.output()


def test_users_change_without_a_restart_and_a_bad_file_changes_nothing(guard: Any) -> None:
    guarded = guard({"basic_auth_users": {"prom": hashed("old")}})
    assert guarded.status("/metrics", basic("prom", "old")) == 200
    guarded.write({"basic_auth_users": {"prom": hashed("new")}})
    wait_for(lambda: guarded.status("/metrics", basic("prom", "new")) == 200)
    assert guarded.status("/metrics", basic("prom", "old")) == 401
    for bad, reason in (
        ('{"basic_auth_users": {"prom": "plain"}}', "not a bcrypt hash"),
        ("", "users cannot be turned on or off"),
    ):
        (guarded.folder / "web.yml").write_text(bad)
        guarded.process.send(signal.SIGHUP)
        wait_for(lambda reason=reason: reason in guarded.process.output())
        assert guarded.status("/metrics", basic("prom", "new")) == 200
        assert guarded.status("/metrics") == 401


def test_certificates_are_loaded_again_and_client_certificates_required_as_the_file_says(guard: Any) -> None:
    guarded = guard({"tls_server_config": TLS})

    def served() -> bytes:
        connection = guarded.connect()
        connection.connect()
        try:
            return bytes(connection.sock.getpeercert(binary_form=True))
        finally:
            connection.close()

    before = served()
    guarded.certify()
    wait_for(lambda: served() != before)  # it looks every five seconds; a signal makes it look at once
    plain = http.client.HTTPConnection("127.0.0.1", guarded.process.port, timeout=10)
    plain.request("GET", "/metrics")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()
    plain.close()
    guarded.write({"tls_server_config": CLIENTS})
    guarded.process.send(signal.SIGHUP)
    wait_for(lambda: guarded.status("/metrics") == 0)
    assert guarded.status("/metrics", certificate=guarded.client("prometheus.example")) == 200
    assert guarded.status("/metrics", certificate=trustme.CA().issue_cert("prometheus.example")) == 0
    guarded.write({"tls_server_config": {**TLS, "cert_file": "new.crt"}})
    guarded.process.send(signal.SIGHUP)
    wait_for(lambda: "no such file" in guarded.process.output())
    (guarded.folder / "new.crt").write_bytes((guarded.folder / "server.crt").read_bytes())
    guarded.process.send(signal.SIGHUP)
    wait_for(lambda: guarded.status("/metrics") == 200)
    guarded.write({"basic_auth_users": {"prom": hashed("x")}})
    guarded.process.send(signal.SIGHUP)
    wait_for(lambda: "TLS or users cannot be turned on or off" in guarded.process.output())
    assert guarded.status("/metrics") == 200


def test_hangup_without_a_web_configuration_ends_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url) as exporter:
        exporter.send(signal.SIGHUP)
        assert exporter.get().status == exporter.get().status == 200


# --- passwords -------------------------------------------------------------------------------


class Slow:
    """Compares in place of bcrypt, one password after the other as the test lets it."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.may_go_on = threading.Semaphore(0)

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.asked.append(password)
        assert self.may_go_on.acquire(timeout=20)
        return password == hashed


async def answer(auth: Auth, user: str, password: str) -> HTTPStatus:
    return await auth.admits(basic(user, password)["Authorization"])


def test_newest_password_is_checked_first_and_the_oldest_of_too_many_is_refused() -> None:
    slow, spent = Slow(), []

    async def run() -> None:
        auth = Auth(None, spent.append, slow)
        auth.users = {"u": "right"}

        async def ask(password: str) -> "asyncio.Task[HTTPStatus]":
            task = asyncio.create_task(answer(auth, "u", password))
            for _ in range(5):
                await asyncio.sleep(0)
            return task

        first, oldest = await ask("0"), await ask("1")
        others = [await ask(f"{number}") for number in range(2, MOST_WAITING + 2)]
        newest = await ask("right")
        assert (await oldest, len(spent)) == (BUSY, 2)
        slow.may_go_on.release(2)
        assert (await first, await newest) == (WRONG, OK)
        assert slow.asked[:2] == [b"0", b"right"]
        assert await answer(auth, "u", "right") is OK, "it needs no check any more"
        slow.may_go_on.release(MOST_WAITING + 2)
        await asyncio.gather(*others)

    asyncio.run(run())


def test_right_password_is_remembered_for_its_user_and_its_hash_alone() -> None:
    shared = hashed("secret")

    async def run() -> None:
        auth = Auth(None, lambda _: None)
        for users, admitted in (
            ({"a": shared, "b": shared}, OK),
            ({"b": shared}, WRONG),
            ({"a": hashed("new")}, WRONG),
        ):
            auth.users = users
            assert await answer(auth, "a", "secret") is admitted
        slow = Slow()
        slow.may_go_on.release(1)
        auth = Auth(None, lambda _: None, slow)
        auth.users = {"a": shared}
        assert await answer(auth, "unknown", "secret") is WRONG
        assert slow.asked == [b"secret"], "a refusal takes the same time whether a user is known"

    asyncio.run(run())


# --- the file --------------------------------------------------------------------------------


def test_invalid_file_is_rejected_in_lines_that_name_the_place(tmp_path: Path) -> None:
    assert load(None) == (None, {})
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("no certificate")
    tls = "tls_server_config: {cert_file: a, key_file: b"
    reasons = {
        "basic_auth_users: {prom: secret}": "basic_auth_users.prom: not a bcrypt hash",
        f"basic_auth_users: {{'a:b': '{HASH}'}}": "basic_auth_users.a:b: a user needs a name",
        f"basic_auth_users: {{null: '{HASH}'}}": "basic_auth_users.None: a user needs a name",
        "basic_auth_users: [a]": "basic_auth_users: must be a mapping",
        "users: {}": "users: unknown",
        "tls_server_config: {cert_file: a}": "tls_server_config: needs cert_file and key_file",
        "tls_server_config: {cert_file: a, key_file: x}": "tls_server_config.key_file: no such file",
        f"{tls}}}": "tls_server_config: ",
        f"{tls}, client_ca_file: c}}": "tls_server_config: client_auth_type",
        f"{tls}, client_auth_type: RequestClientCert}}": "client_auth_type: must be one of NoClientCert",
        f"{tls}, min_version: SSL3}}": "tls_server_config.min_version: must be one of TLS12",
        f"{tls}, cipher_suites: [TLS_RSA]}}": "tls_server_config.cipher_suites: unknown setting",
        "http_server_config: {http2: true}": "http_server_config.http2: unknown setting",
        "- a": "must hold settings",
        "a: [": "line",
    }
    for text, reason in reasons.items():
        (tmp_path / "web.yml").write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError) as refused:
            load(tmp_path / "web.yml")
        said = str(refused.value)
        assert reason in said
        assert all(line.startswith("--web.config.file: ") for line in said.splitlines())
        assert "secret" not in said
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path / "none.yml")
