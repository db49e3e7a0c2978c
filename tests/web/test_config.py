"""The web configuration has exporter-toolkit's format. An invalid file gives one clear line."""

import ssl
from pathlib import Path

import pytest
import trustme

from exporter.errors import SettingsError
from exporter.web.config import WebConfig, tls_context

HASH = "$2b$04$abcdefghijklmnopqrstuuVHBYLlWg6sVBLQTfBMIJZIoTQnhXQpq"


def load(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    return WebConfig.load(path)


def test_without_a_file_there_are_no_users_and_no_tls() -> None:
    config = WebConfig.load(None)
    assert not config.basic_auth_users
    assert config.tls_server_config is None


def test_empty_file_is_the_same_as_no_file(tmp_path: Path) -> None:
    assert load(tmp_path, "") == WebConfig()


def test_relative_paths_start_at_the_configuration_files_folder(tmp_path: Path) -> None:
    config = load(tmp_path, "tls_server_config: {cert_file: a.crt, key_file: /elsewhere/a.key}")
    assert config.tls_server_config
    assert config.tls_server_config.cert_file == tmp_path / "a.crt"
    assert config.tls_server_config.key_file == Path("/elsewhere/a.key")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("basic_auth_users: {prom: secret}", "not a bcrypt hash"),
        ("basic_auth_users: {'a:b': '" + HASH + "'}", "basic_auth_users"),
        ("users: {}", "users"),
        ("tls_server_config: {cert_file: a.crt}", "key_file"),
        ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", "client_auth_type"),
        ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequestClientCert}", "prove nothing"),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: SSL3}", "min_version"),
        ("tls_server_config: {cert: a, key_file: b}", "not supported"),
        ("http_server_config: {http2: true}", "http_server_config.http2: HTTP/2 is not supported"),
        ("rate_limit: {interval: 1s}", "rate_limit: unknown, or a setting of exporter-toolkit that is not supported"),
        ("tls_server_config: {cert_file: a, key_file: b, curve_preferences: [X25519, CurveP256]}", "not supported"),
        ('http_server_config: {headers: {X-Frame-Options: "deny\\r\\nSet-Cookie: a"}}', "headers"),
        ("http_server_config: {headers: {Server: me}}", "headers"),
        ("- a", "dictionary"),
        ("a: [", "line 1"),
    ],
)
def test_invalid_file_is_rejected_in_one_line_that_names_the_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        WebConfig.load(tmp_path / "none.yml")


def test_missing_certificate_is_refused(tmp_path: Path) -> None:
    config = load(tmp_path, "tls_server_config: {cert_file: a.crt, key_file: a.key}")
    assert config.tls_server_config
    with pytest.raises(SettingsError, match=r"no such file: .*a\.crt"):
        tls_context(config.tls_server_config)


@pytest.mark.parametrize(
    ("suite", "openssl"),
    [
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
    ],
)
def test_cipher_suites_have_the_names_of_go(tmp_path: Path, authority: trustme.CA, suite: str, openssl: str) -> None:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "a.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "a.key")
    config = load(tmp_path, f"tls_server_config: {{cert_file: a.crt, key_file: a.key, cipher_suites: [{suite}]}}")
    assert config.tls_server_config
    context = tls_context(config.tls_server_config)
    assert openssl in {cipher["name"] for cipher in context.get_ciphers()}
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_unknown_cipher_suite_is_refused(tmp_path: Path, authority: trustme.CA) -> None:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "a.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "a.key")
    config = load(tmp_path, "tls_server_config: {cert_file: a.crt, key_file: a.key, cipher_suites: [TLS_ROT13]}")
    assert config.tls_server_config
    with pytest.raises(SettingsError, match="tls_server_config"):
        tls_context(config.tls_server_config)
