"""Admission by TLS, client certificates and users. All of them may change while the exporter runs."""

import base64
import http.client
import json
import os
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme

from lab.nodes import beat
from lab.servers import Exporter, Process, RedisServer, binary, free_port, wait_for


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Guarded:
    """An exporter with a web configuration, and a client of it."""

    def __init__(self, folder: Path, redis: RedisServer, authority: trustme.CA, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.authority = authority
        self.write(config)
        self.certify()
        flags = ("--redis.url", redis.url, "--web.config.file", str(folder / "web.yml"))
        self.process = Exporter(folder, *flags)
        self.tls = "tls_server_config" in config
        wait_for(lambda: self.listens("/-/ready"), "for the exporter")

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
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate:
            certificate.configure_cert(context)
        return http.client.HTTPSConnection("localhost", self.process.port, timeout=10, context=context)

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, certificate: trustme.LeafCert | None = None
    ) -> http.client.HTTPResponse:
        connection = self.connect(certificate)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            response.body = response.read()  # type: ignore[attr-defined]
            return response
        finally:
            connection.close()

    def listens(self, path: str) -> bool:
        try:
            return self.ask(path, certificate=self.client()).status == 200
        except OSError:
            assert self.process.alive, self.process.output()
            return False

    def client(self, *names: str) -> trustme.LeafCert:
        return self.authority.issue_cert(*(names or ("prometheus@example.com",)))


@pytest.fixture
def guard(tmp_path: Path, client: Any, shared_redis: RedisServer, authority: trustme.CA) -> Iterator[Any]:
    """Start exporters with web configurations, over a Redis with one node."""
    beat(client, "node-1")
    started: list[Guarded] = []

    def start(config: Mapping[str, Any]) -> Guarded:
        started.append(Guarded(tmp_path, shared_redis, authority, config))
        return started[-1]

    yield start
    for guarded in started:
        assert guarded.process.stop() == 0
        assert "Traceback" not in guarded.process.output()


TLS = {"cert_file": "server.crt", "key_file": "server.key"}


def test_every_path_but_health_needs_a_user(guard: Any) -> None:
    guarded = guard({"basic_auth_users": {"prom": hashed("secret"), "ops": hashed("other")}})
    for path in ("/metrics", "/", "/api/v1/nodes", "/nowhere"):
        refused = guarded.ask(path)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert b"node-1" not in refused.body
    for path in ("/-/healthy", "/-/ready"):
        assert guarded.ask(path).status == 200
    assert b'node_id="node-1"' in guarded.ask("/metrics", basic("prom", "secret")).body
    assert guarded.ask("/", basic("ops", "other")).status == 200
    for wrong in (
        basic("prom", "other"),
        basic("nobody", "secret"),
        basic("prom", ""),
        basic("prom", "s" * 100),
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer secret"},
        {"Authorization": ""},
    ):
        assert guarded.ask("/metrics", wrong).status == 401
    assert "secret" not in guarded.process.output()


def test_users_change_without_a_restart_and_a_bad_file_changes_nothing(guard: Any) -> None:
    guarded = guard({"basic_auth_users": {"prom": hashed("old")}})
    assert guarded.ask("/metrics", basic("prom", "old")).status == 200
    guarded.write({"basic_auth_users": {"prom": hashed("new")}})
    assert guarded.ask("/metrics", basic("prom", "old")).status == 401
    assert guarded.ask("/metrics", basic("prom", "new")).status == 200
    guarded.write({"basic_auth_users": {"prom": "plain"}})
    assert guarded.ask("/metrics", basic("prom", "new")).status == 200
    assert "stays in force" in guarded.process.output()


def test_right_password_runs_bcrypt_only_once(guard: Any) -> None:
    slow = bcrypt.hashpw(b"secret", bcrypt.gensalt(12)).decode()  # some 0.2 s for each check
    guarded = guard({"basic_auth_users": {"prom": slow}})

    def seconds() -> float:
        start = time.monotonic()
        assert guarded.ask("/-/ready").status == 200
        assert guarded.ask("/metrics", basic("prom", "secret")).status == 200
        return time.monotonic() - start

    first = seconds()
    assert min(seconds() for _ in range(5)) < first / 2


def test_unknown_user_is_refused_no_sooner_than_a_known_one(guard: Any) -> None:
    slow = bcrypt.hashpw(b"secret", bcrypt.gensalt(12)).decode()
    guarded = guard({"basic_auth_users": {"prom": slow}})

    def seconds(user: str) -> float:
        start = time.monotonic()
        assert guarded.ask("/metrics", basic(user, "wrong")).status == 401
        return time.monotonic() - start

    assert min(seconds("nobody") for _ in range(3)) > min(seconds("prom") for _ in range(3)) / 2


def test_removed_user_is_refused_although_another_user_has_the_same_hash(guard: Any) -> None:
    shared = hashed("secret")
    guarded = guard({"basic_auth_users": {"prom": shared, "ops": shared}})
    assert guarded.ask("/metrics", basic("ops", "secret")).status == 200
    guarded.write({"basic_auth_users": {"prom": shared}})
    assert guarded.ask("/metrics", basic("ops", "secret")).status == 401
    assert guarded.ask("/metrics", basic("prom", "secret")).status == 200


def test_certificate_is_reloaded_when_its_file_changes(guard: Any) -> None:
    guarded = guard({"tls_server_config": TLS})

    def served() -> bytes:
        connection = guarded.connect()
        connection.connect()
        try:
            certificate = connection.sock.getpeercert(binary_form=True)
            assert certificate
            return certificate
        finally:
            connection.close()

    before = served()
    guarded.certify()
    assert served() != before
    assert guarded.ask("/metrics").status == 200


def test_plain_http_to_a_tls_port_gets_no_answer_and_logs_no_traceback(guard: Any) -> None:
    guarded = guard({"tls_server_config": TLS})
    connection = http.client.HTTPConnection("127.0.0.1", guarded.process.port, timeout=10)
    connection.connect()
    connection.sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()
    assert guarded.ask("/metrics").status == 200


def test_client_certificate_is_required_and_must_come_from_the_right_authority(guard: Any) -> None:
    guarded = guard(
        {
            "tls_server_config": {
                **TLS,
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": "ca.crt",
                "min_version": "TLS13",
            }
        }
    )
    assert guarded.ask("/metrics", certificate=guarded.client()).status == 200
    with pytest.raises((OSError, http.client.HTTPException)):
        guarded.ask("/metrics")
    with pytest.raises((OSError, http.client.HTTPException)):
        guarded.ask("/metrics", certificate=trustme.CA().issue_cert("prometheus@example.com"))


def test_client_certificates_are_required_exactly_while_the_file_requires_them(guard: Any) -> None:
    asked = {**TLS, "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}
    guarded = guard({"tls_server_config": TLS})
    assert guarded.ask("/metrics").status == 200
    guarded.write({"tls_server_config": asked})
    with pytest.raises((OSError, http.client.HTTPException)):
        guarded.ask("/metrics")
    assert guarded.ask("/metrics", certificate=guarded.client()).status == 200
    guarded.write({"tls_server_config": TLS})
    assert guarded.ask("/metrics").status == 200


def test_certificate_that_is_written_after_the_file_that_names_it_is_loaded(guard: Any) -> None:
    guarded = guard({"tls_server_config": TLS, "basic_auth_users": {"prom": hashed("old")}})
    guarded.write({"tls_server_config": {**TLS, "cert_file": "new.crt"}, "basic_auth_users": {"prom": hashed("new")}})
    for _ in range(3):
        assert guarded.ask("/metrics", basic("prom", "old")).status == 200
    assert guarded.process.output().count("stays in force") == 1
    (guarded.folder / "new.crt").write_bytes((guarded.folder / "server.crt").read_bytes())
    wait_for(lambda: guarded.ask("/metrics", basic("prom", "new")).status == 200)


@pytest.mark.parametrize("emptied", ["", "{}", "basic_auth_users: {}"])
def test_file_that_loses_all_its_users_does_not_open_the_exporter(guard: Any, emptied: str) -> None:
    guarded = guard({"basic_auth_users": {"prom": hashed("secret")}})
    (guarded.folder / "web.yml").write_text(emptied)
    assert guarded.ask("/metrics").status == 401
    assert guarded.ask("/metrics", basic("prom", "secret")).status == 200


def test_client_certificate_must_have_an_allowed_name(guard: Any) -> None:
    guarded = guard(
        {
            "tls_server_config": {
                **TLS,
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": "ca.crt",
                "client_allowed_sans": ["prometheus.example"],
            }
        }
    )
    assert guarded.ask("/metrics", certificate=guarded.client("prometheus.example")).status == 200
    assert guarded.ask("/metrics", certificate=guarded.client("other.example")).status == 401


def test_headers_are_on_every_answer(guard: Any) -> None:
    guarded = guard({"http_server_config": {"headers": {"X-Frame-Options": "deny"}}})
    for path in ("/metrics", "/-/healthy", "/nowhere"):
        assert guarded.ask(path).headers["X-Frame-Options"] == "deny"
    assert guarded.process.get("/metrics", "POST").headers["X-Frame-Options"] == "deny"


@pytest.mark.server("prometheus")
def test_prometheus_scrapes_with_tls_a_client_certificate_and_a_user(guard: Any, tmp_path: Path) -> None:
    guarded = guard(
        {
            "tls_server_config": {
                **TLS,
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": "ca.crt",
            },
            "basic_auth_users": {"prom": hashed("secret")},
        }
    )
    certificate = guarded.client()
    certificate.private_key_pem.write_to_path(tmp_path / "client.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "client.crt")
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(
        json.dumps(
            {
                "scrape_configs": [
                    {
                        "job_name": "ginkgo-exporter",
                        "scrape_interval": "1s",
                        "scrape_timeout": "1s",
                        "scheme": "https",
                        "basic_auth": {"username": "prom", "password": "secret"},
                        "tls_config": {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"},
                        "static_configs": [{"targets": [f"localhost:{guarded.process.port}"]}],
                    }
                ]
            }
        ),
        encoding="utf-8",
    )
    prometheus = Process(
        [
            binary("prometheus"),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        tmp_path / "prometheus.log",
        env={**os.environ, "GOMAXPROCS": "1"},
    )

    def scraped() -> bool:
        url = f"http://127.0.0.1:{port}/api/v1/query?query=ginkgo_node_up"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bool(json.load(response)["data"]["result"])
        except OSError:
            return False

    try:
        wait_for(scraped, "for Prometheus to scrape")
    finally:
        prometheus.stop()
