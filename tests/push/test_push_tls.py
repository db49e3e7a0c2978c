"""A real Alertmanager with TLS: private CA, client certificates, passwords, a path prefix; a proxy for tokens."""

import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme
from offering import offering, run, until
from push_stack import Alertmanager, Stack, Webhook

from exporter.push.config import HttpConfig

pytestmark = pytest.mark.server("prometheus-alertmanager")


@dataclass
class Papers:
    """Certificates in files, of one CA that nobody else trusts."""

    ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]
    stranger: tuple[Path, Path]
    other_ca: Path


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("tls")
    ours, other = trustme.CA(), trustme.CA()

    def issued(ca: trustme.CA, name: str) -> tuple[Path, Path]:
        made = ca.issue_cert("localhost")
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        made.private_key_pem.write_to_path(key)
        for blob in made.cert_chain_pems:
            blob.write_to_path(cert, append=True)
        return cert, key

    ours.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other.pem")
    certificates = issued(ours, "server"), issued(ours, "client"), issued(other, "stranger")
    return Papers(folder / "ca.pem", *certificates, folder / "other.pem")


def secured(
    stack: Stack, papers: Papers, web: dict[str, Any], *flags: str, path: str = ""
) -> tuple[Alertmanager, Webhook]:
    """Start an Alertmanager with a web configuration; its address is the one to post to."""
    file = stack.folder / "web.yml"
    server = {"cert_file": str(papers.server[0]), "key_file": str(papers.server[1])}
    file.write_text(json.dumps({**web, "tls_server_config": {**server, **web.get("tls_server_config", {})}}))
    webhook = stack.webhook()
    alertmanager = stack.alertmanager(webhook, flags=(f"--web.config.file={file}", *flags))
    alertmanager.url = f"https://localhost:{alertmanager.port}{path}"
    return alertmanager, webhook


def trusting(papers: Papers, certificate: tuple[Path, Path] | None = None, **more: Any) -> HttpConfig:
    tls = {"ca_file": papers.ca}
    if certificate:
        tls |= {"cert_file": certificate[0], "key_file": certificate[1]}
    return HttpConfig.model_validate({"tls_config": tls, **more})


def delivered(alertmanager: Alertmanager, webhook: Webhook, config: HttpConfig) -> None:
    """Have a node die, and wait until people are told."""

    async def scenario() -> None:
        async with offering(alertmanager.url, config=config) as offered:
            offered.die("node-1")
            await until(lambda: webhook.of("node-1") == ["firing"], "for the page", 30)

    run(scenario)


def refusal(alertmanager: Alertmanager, config: HttpConfig) -> str:
    """Return what is said of an empty post."""
    said = []

    async def scenario() -> None:
        async with offering(alertmanager.url, config=config, posting=False) as offered:
            said.append(await offered.alertmanagers[0].try_once())

    run(scenario)
    return said[0]


def test_alerts_are_posted_over_tls_to_a_server_of_a_private_ca(stack: Stack, papers: Papers) -> None:
    alertmanager, webhook = secured(stack, papers, {})
    delivered(alertmanager, webhook, trusting(papers))
    for config in (HttpConfig(), HttpConfig.model_validate({"tls_config": {"ca_file": papers.other_ca}})):
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(alertmanager, config)
    alertmanager.url = alertmanager.url.replace("localhost", "127.0.0.1")
    assert "certificate is not valid for '127.0.0.1'" in refusal(alertmanager, trusting(papers))
    unverified = HttpConfig.model_validate({"tls_config": {"insecure_skip_verify": True}})
    assert refusal(alertmanager, unverified) == ""


def test_alerts_are_posted_with_a_client_certificate(stack: Stack, papers: Papers) -> None:
    wants = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(papers.ca)}
    alertmanager, webhook = secured(stack, papers, {"tls_server_config": wants})
    delivered(alertmanager, webhook, trusting(papers, papers.client))
    for certificate in (None, papers.stranger):
        problem = refusal(alertmanager, trusting(papers, certificate))
        assert problem
        assert "\n" not in problem


def test_alerts_are_posted_with_a_password_below_a_path(stack: Stack, papers: Papers) -> None:
    password = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    prefix = "--web.route-prefix=/alerting/am"
    alertmanager, webhook = secured(
        stack, papers, {"basic_auth_users": {"bridge": password}}, prefix, path="/alerting/am"
    )
    right, wrong = (
        trusting(papers, basic_auth={"username": "bridge", "password": word}) for word in ("right", "wrong")
    )
    delivered(alertmanager, webhook, right)
    assert refusal(alertmanager, wrong) == "HTTP 401 Unauthorized"
    assert refusal(alertmanager, trusting(papers)) == "HTTP 401 Unauthorized"
    alertmanager.url = alertmanager.url.removesuffix("/alerting/am")
    assert refusal(alertmanager, right).startswith("HTTP 404")


@contextmanager
def guarded(target: str, papers: Papers, token: str) -> Iterator[str]:
    """A proxy with TLS that lets a token pass: Alertmanager itself knows passwords and certificates only."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Authorization"] != f"Bearer {token}":
                self.send_response(403)
            else:
                headers = {"Content-Type": self.headers["Content-Type"]}
                with urllib.request.urlopen(urllib.request.Request(target + self.path, body, headers)) as reply:  # noqa: S310
                    self.send_response(reply.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*papers.server)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_alerts_are_posted_with_a_token_that_is_rotated(stack: Stack, papers: Papers, tmp_path: Path) -> None:
    webhook = stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    token = tmp_path / "token"
    token.write_text("old\n")
    config = trusting(papers, authorization={"credentials_file": token})
    with guarded(alertmanager.url, papers, "new") as alertmanager.url:
        assert refusal(alertmanager, config) == "HTTP 403"
        token.write_text("new\n")
        delivered(alertmanager, webhook, config)
