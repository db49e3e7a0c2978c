"""The image's health check asks the right address, and says what is wrong."""

import ssl
from pathlib import Path

import pytest
import trustme

from exporter.commands import healthcheck
from exporter.commands.healthcheck import healthy_url
from lab.fakes import answering

PROGRAM = b"/opt/ginkgo-exporter/bin/python\0/opt/ginkgo-exporter/bin/ginkgo-exporter\0"


@pytest.mark.parametrize(
    ("command_line", "environment", "url"),
    [
        (PROGRAM, {}, "http://127.0.0.1:19121/-/healthy"),
        (PROGRAM + b"--web.listen-address=:9000\0", {}, "http://127.0.0.1:9000/-/healthy"),
        (PROGRAM + b"serve\0--web.listen-address\0[::]:9000\0", {}, "http://[::1]:9000/-/healthy"),
        (b"/sbin/docker-init\0--\0ginkgo-exporter\0--web.listen-address=a:1\0", {}, "http://a:1/-/healthy"),
        (b"python\0-m\0exporter\0--web.listen-address=0.0.0.0:1\0", {}, "http://127.0.0.1:1/-/healthy"),
        (
            b"/sbin/docker-init\0--\0python\0-m\0exporter\0--web.listen-address=a:1\0",
            {},
            "http://a:1/-/healthy",
        ),
        (PROGRAM, {"GINKGO_EXPORTER_WEB_LISTEN_ADDRESS": ":9001"}, "http://127.0.0.1:9001/-/healthy"),
        (
            PROGRAM + b"--web.listen-address=:9000\0",
            {"GINKGO_EXPORTER_WEB_LISTEN_ADDRESS": ":9001"},
            "http://127.0.0.1:9000/-/healthy",
        ),
        (b"/sbin/init\0--web.listen-address=:9000\0", {}, "http://127.0.0.1:19121/-/healthy"),
    ],
    ids=[
        "default",
        "flag",
        "two words",
        "below an init",
        "module",
        "module below an init",
        "variable",
        "flag before variable",
        "other program",
    ],
)
def test_the_address_comes_from_the_exporter_s_flags_and_variables(
    command_line: bytes, environment: dict[str, str], url: str
) -> None:
    assert healthy_url(command_line, environment) == url


def test_the_address_comes_from_the_exporter_s_files(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: a, key_file: b}\n")
    config = tmp_path / "config.yml"
    config.write_text(f"web: {{listen-address: '127.0.0.1:9002', config: {{file: {tmp_path}/web.yml}}}}\n")
    flag = f"--config.file={config}".encode()

    assert healthy_url(PROGRAM + flag, {}) == "https://127.0.0.1:9002/-/healthy"
    assert healthy_url(PROGRAM, {"GINKGO_EXPORTER_CONFIG_FILE": str(config)}) == "https://127.0.0.1:9002/-/healthy"
    web = {"GINKGO_EXPORTER_WEB_CONFIG_FILE": f"{tmp_path}/web.yml"}
    assert healthy_url(PROGRAM, web) == "https://127.0.0.1:19121/-/healthy"
    config.write_text("")
    assert healthy_url(PROGRAM + flag, {}) == "http://127.0.0.1:19121/-/healthy"


@pytest.mark.parametrize("text", ["- a list\n", "web: {listen-address: nowhere}\n", "a: [\n"])
def test_a_wrong_file_is_one_line_and_no_traceback(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, command_line = tmp_path / "config.yml", tmp_path / "cmdline"
    config.write_text(text)
    command_line.write_bytes(PROGRAM + f"--config.file={config}".encode())
    monkeypatch.setattr(healthcheck, "_FIRST_PROCESS", command_line)

    assert healthcheck.main([]) == 1
    assert capsys.readouterr().out


def test_an_exporter_that_answers_is_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200) as (url, asked):
        command_line = tmp_path / "cmdline"
        command_line.write_bytes(PROGRAM + f"--web.listen-address={url.removeprefix('http://')}".encode())
        monkeypatch.setattr(healthcheck, "_FIRST_PROCESS", command_line)

        assert healthcheck.main([]) == 0

    assert asked == ["/-/healthy"]
    assert capsys.readouterr().out == f"{url}/-/healthy answers\n"


def test_a_server_with_a_password_or_a_certificate_of_another_name_works() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere").configure_cert(context)
    with answering(401, context=context) as (url, _):
        assert healthcheck.fault(f"{url}/metrics") is None


def test_each_address_has_time_to_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(503, 200) as (url, asked):
        assert healthcheck.main(["--seconds=30", f"{url}/-/ready", f"{url}/metrics"]) == 0

    assert asked == ["/-/ready", "/-/ready", "/metrics"]
    assert capsys.readouterr().out == f"{url}/-/ready answers\n{url}/metrics answers\n"


def test_a_fault_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(503) as (url, asked):
        assert healthcheck.main([f"{url}/-/ready"]) == 1
    assert asked == ["/-/ready"]
    assert healthcheck.main([f"{url}/-/ready"]) == 1

    refused, unreachable = capsys.readouterr().out.splitlines()
    assert refused == f"{url}/-/ready: 503 Service Unavailable"
    assert "refused" in unreachable


def test_two_attempts_are_half_a_second_apart() -> None:
    with answering(503) as (url, asked):
        assert healthcheck.main(["--seconds=0.3", f"{url}/-/ready"]) == 1
    assert len(asked) == 2
