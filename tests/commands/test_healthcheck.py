"""The image's health check asks the right address, and says what is wrong."""

import ssl
from pathlib import Path
from threading import Timer

import pytest
import trustme

from exporter.commands import healthcheck
from exporter.commands.healthcheck import fault, main, own_address
from lab.fakes import FakeAlertmanager

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
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere").configure_cert(context)
    for served in (None, context):
        with FakeAlertmanager(served) as fake:
            command_line = tmp_path / "cmdline"
            command_line.write_bytes(PROGRAM + f"--web.listen-address=127.0.0.1:{fake.port}".encode())
            monkeypatch.setattr(healthcheck, "_FIRST_PROCESS", command_line)
            assert main([]) == 0
            assert "GET /-/healthy " in "".join(fake.heads)
    with FakeAlertmanager() as fake:
        fake.status = 401
        assert fault(f"{fake.url}/metrics") is None


def test_fault_is_named_and_an_address_has_time_to_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeAlertmanager() as fake:
        fake.status, url = 503, fake.url
        assert main([f"{url}/-/ready"]) == 1
        Timer(1, lambda: setattr(fake, "status", 200)).start()
        assert main(["--seconds=30", f"{url}/-/ready"]) == 0
    assert main([f"{url}/-/ready"]) == 1
    refused, unreachable = capsys.readouterr().out.splitlines()
    assert refused == f"{url}/-/ready: 503 Told"
    assert "refused" in unreachable
