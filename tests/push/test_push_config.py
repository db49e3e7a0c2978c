"""Authentication and TLS towards Alertmanager: good files, bad files, and files that change."""

import base64
import os
import ssl
import subprocess
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.push.config import HttpConfig


def load(folder: Path, text: str) -> HttpConfig:
    path = folder / "alertmanager-http.yml"
    path.write_text(text)
    return HttpConfig.load(path)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ("-subj", "/CN=localhost", "-days", "1", "-nodes")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", key, "-out", cert, *subject],
        check=True,
        capture_output=True,
    )
    return cert, key


def test_without_a_file_nothing_is_sent() -> None:
    assert HttpConfig.load(None).headers() == {}


def test_an_empty_file_is_no_configuration(tmp_path: Path) -> None:
    assert load(tmp_path, "").headers() == {}


def test_basic_auth_is_sent(tmp_path: Path) -> None:
    config = load(tmp_path, "basic_auth: {username: bridge, password: 'sécret:1'}")
    scheme, _, token = config.headers()["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(token).decode() == "bridge:sécret:1"


def test_a_token_is_sent_as_bearer_or_as_said(tmp_path: Path) -> None:
    assert load(tmp_path, "authorization: {credentials: abc}").headers() == {"Authorization": "Bearer abc"}
    given = load(tmp_path, "authorization: {type: Token, credentials: abc}")
    assert given.headers() == {"Authorization": "Token abc"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("authorization: {{credentials_file: {}}}", "Bearer {}"),
        ("basic_auth: {{username: u, password_file: {}}}", None),
    ],
)
def test_a_secret_in_a_file_is_read_anew_at_each_post(tmp_path: Path, form: str, expected: str | None) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old\n")
    config = load(tmp_path, form.format(secret))
    before = config.headers()["Authorization"]
    secret.write_text("new\n")
    after = config.headers()["Authorization"]
    if expected:
        assert (before, after) == (expected.format("old"), expected.format("new"))
    else:
        assert [base64.b64decode(text[6:]) for text in (before, after)] == [b"u:old", b"u:new"]


def test_a_secret_that_is_gone_is_an_error_of_that_post(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old")
    config = load(tmp_path, f"authorization: {{credentials_file: {secret}}}")
    secret.unlink()
    with pytest.raises(OSError, match="secret"):
        config.headers()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("basic_auth: {username: u}", "basic_auth.*one of password and password_file"),
        ("basic_auth: {username: u, password: a, password_file: /etc/passwd}", "one of password"),
        ("authorization: {type: Bearer}", "authorization.*one of credentials"),
        ("basic_auth: {username: u, password: p}\nauthorization: {credentials: c}", "one of basic_auth"),
        ("basic_auth: {username: u, password_file: /nowhere}", r"basic_auth\.password_file"),
        ("tls_config: {cert_file: /etc/passwd}", "cert_file goes with key_file"),
        ("tls_confg: {}", "tls_confg"),
        ("bearer_token: abc", "bearer_token"),
        ("a: [", "config-file"),
        ("- a", "config-file"),
        ("just text", "config-file"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_without_its_secrets(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        load(tmp_path, text.replace("abc", "top-secret"))
    assert str(caught.value).startswith("--alertmanager.config-file: ")
    assert "\n" not in str(caught.value)
    assert "top-secret" not in str(caught.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    config = load(tmp_path, "basic_auth: {username: u, password: top-secret}")
    assert "top-secret" not in repr(config)


def test_tls_trusts_whom_the_file_says(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    context = load(tmp_path, f"tls_config: {{ca_file: {certificate[0]}}}").context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT  # as Alertmanager and Prometheus check certificates
    assert len(context.get_ca_certs()) + context.cert_store_stats()["x509"] >= 1


def test_tls_can_be_told_not_to_verify(tmp_path: Path) -> None:
    context = load(tmp_path, "tls_config: {insecure_skip_verify: true}").context()
    assert context.verify_mode is ssl.CERT_NONE


def test_a_rotated_certificate_is_loaded_and_an_unchanged_one_is_not(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = (tmp_path / path.name for path in certificate)
    for path, source in ((cert, certificate[0]), (key, certificate[1])):
        path.write_bytes(source.read_bytes())
    config = load(tmp_path, f"tls_config: {{cert_file: {cert}, key_file: {key}}}")
    first = config.context()
    assert config.context() is first
    os.utime(cert, ns=(0, 0))
    assert config.context() is not first


def test_a_certificate_that_is_none_is_an_error_of_that_post(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(OSError, match=r"\w"):
        load(tmp_path, f"tls_config: {{ca_file: {tmp_path / 'ca.pem'}}}").context()
