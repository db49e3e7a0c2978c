"""The image's health check asks the right address, and says what is wrong."""

import ssl
from pathlib import Path

import pytest
import trustme

from exporter.commands import healthcheck
from exporter.commands.healthcheck import fault, main, own_address
from lab.fakes import answering

PROGRAM = b"/opt/ginkgo-exporter/bin/python\0/opt/ginkgo-exporter/bin/ginkgo-exporter\0"


def test_address_comes_from_the_exporters_flag_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for command_line, address in (
        (PROGRAM, "127.0.0.1:19121"),
        (PROGRAM + b"--web.listen-address=:9000\0", "127.0.0.1:9000"),
        (PROGRAM + b"serve\0--web.listen-address\0[::]:9000\0", "[::]:9000"),
        (b"python\0-m\0exporter\0--web.listen-address=0.0.0.0:1\0--log.level=info", "0.0.0.0:1"),
    ):
        assert own_address(command_line) == address
    monkeypatch.setenv("GINKGO_EXPORTER_WEB_LISTEN_ADDRESS", "a:9001")
    assert own_address(PROGRAM) == "a:9001"


def test_exporter_that_answers_is_healthy_also_with_tls_or_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere").configure_cert(context)
    for served in (None, context):
        with answering(200, context=served) as (url, asked):
            command_line = tmp_path / "cmdline"
            command_line.write_bytes(PROGRAM + f"--web.listen-address={url.rpartition('/')[2]}".encode())
            monkeypatch.setattr(healthcheck, "_FIRST_PROCESS", command_line)
            assert main([]) == 0
            assert "/-/healthy" in asked
    with answering(401) as (url, _):
        assert fault(f"{url}/metrics") is None


def test_fault_is_named_and_an_address_has_time_to_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(503, 200) as (url, asked):
        assert main(["--seconds=30", f"{url}/-/ready"]) == 0
        assert asked == ["/-/ready", "/-/ready"]
    with answering(503) as (url, _):
        assert main([f"{url}/-/ready"]) == 1
    assert main([f"{url}/-/ready"]) == 1
    refused, unreachable = capsys.readouterr().out.splitlines()
    assert refused == f"{url}/-/ready: 503 Service Unavailable"
    assert "refused" in unreachable
