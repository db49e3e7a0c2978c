"""A bad configuration: all errors are shown at once, each with its place and with the nearest known name."""

from pathlib import Path

import pytest

from exporter.cli import main
from exporter.errors import SettingsError
from exporter.settings import load, unknown_variables
from exporter.settings.flags import all_settings

SECRET = "s3cr3t"  # noqa: S105 - a test's


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in all_settings():
        monkeypatch.delenv(setting.variable, raising=False)


def errors(flags: dict[str, object]) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load(flags)
    return str(refused.value).splitlines()


def test_flag_variable_and_two_lines_of_the_file_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yml"
    file.write_text("redis:\n  mode: sentinal\n\nlog:\n  # a comment\n  levle: info\n")
    monkeypatch.setenv("GINKGO_EXPORTER_LOG_FORMAT", "xml")
    assert errors({"config.file": str(file), "redis.timeout": "5"}) == [
        f"configuration file: redis.mode: input should be 'standalone', 'sentinel' or 'cluster' (line 2 of {file})",
        "--redis.timeout: not a duration such as 500ms, 10s or 1h30m",
        "GINKGO_EXPORTER_LOG_FORMAT: input should be 'logfmt' or 'json'",
        f"configuration file: log.levle: unknown setting; the nearest known name is log.level (line 6 of {file})",
    ]


def test_settings_that_clash_are_named_beside_an_invalid_value() -> None:
    said = errors({"redis.timeout": "5", "redis.url": ["redis://a", "redis://b"], "keys.metrics-prefix": "heartbeat:"})
    assert [line.partition(": ")[0] for line in said] == ["--redis.timeout", "--redis.url", "--keys.metrics-prefix"]


def test_clash_is_shown_at_the_variable_that_causes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GINKGO_EXPORTER_KEYS_METRICS_PREFIX", "heartbeat:")
    (line,) = errors({})
    assert line.startswith("GINKGO_EXPORTER_KEYS_METRICS_PREFIX: neither --keys.heartbeat-prefix nor ")


def test_invalid_value_is_no_reason_to_miss_it() -> None:
    """A mode that is misspelt must not lead to a second error about the addresses that go with it."""
    (line,) = errors({"redis.mode": "clusterr", "redis.url": ["redis://a", "redis://b"]})
    assert line.startswith("--redis.mode: ")


def test_file_that_cannot_be_parsed_hides_no_other_error(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("redis: [\n")
    first, second = errors({"config.file": str(file), "redis.timeout": "5"})
    assert first.startswith("configuration file: ")
    assert second.startswith("--redis.timeout: ")


def test_each_bad_address_of_a_list_is_named_and_no_secret_repeated() -> None:
    said = errors({"redis.url": [f"redis://u:{SECRET}@h/x", f"http://u:{SECRET}@h"]})
    assert [line.split(":")[0] for line in said] == ["--redis.url", "--redis.url"]
    assert SECRET not in "".join(said)


def test_every_error_is_a_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--redis.timeout=5", "--heartbeat.ttl=30"])
    assert ended.value.code == 2
    assert [line.split(": ")[:2] for line in capsys.readouterr().err.splitlines()] == [
        ["ginkgo-exporter", "--redis.timeout"],
        ["ginkgo-exporter", "--heartbeat.ttl"],
    ]


def test_unknown_variable_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GINKGO_EXPORTER_REDIS_ULR", f"redis://u:{SECRET}@h")
    hint = "is unknown and has no effect; the nearest known name is GINKGO_EXPORTER_REDIS_URL"
    assert unknown_variables() == [f"the variable GINKGO_EXPORTER_REDIS_ULR {hint}"]
    assert load({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "19121"),
        ("SERVICE_PORT_METRICS", "19121"),
        ("PORT", "tcp://10.0.0.1:19121"),
        ("PORT_19121_TCP", "tcp://10.0.0.1:19121"),
        ("PORT_19121_TCP_PROTO", "tcp"),
        ("PORT_19121_TCP_ADDR", "10.0.0.1"),
        ("HEADLESS_SERVICE_HOST", "None"),
        ("HEADLESS_PORT", "tcp://10.0.0.1:19121"),
    ],
)
def test_variable_of_a_kubernetes_service_is_not_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GINKGO_EXPORTER_{name}", value)
    assert unknown_variables() == []


def test_port_that_a_user_sets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GINKGO_EXPORTER_PORT", "9100")
    assert unknown_variables() == ["the variable GINKGO_EXPORTER_PORT is unknown and has no effect"]


def test_unknown_flags_and_an_invalid_one_are_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--redis.urll=redis://u:s3cr3t@h", "--log.levle", "info", "--redis.timeout=5"])
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (see")[0] for line in lines] == [
        "ginkgo-exporter: unrecognized arguments: --redis.urll=redis://…@h; the nearest known name is --redis.url",
        "ginkgo-exporter: unrecognized arguments: --log.levle info; the nearest known name is --log.level",
        "ginkgo-exporter: --redis.timeout: not a duration such as 500ms, 10s or 1h30m",
    ]


@pytest.mark.parametrize("command", ["check", "serve"])
def test_all_files_that_are_invalid_are_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("web", "http", "rules"):
        (tmp_path / name).write_text(f"{name}: 1\n")
    flags = (f"--web.config.file={tmp_path}/web", f"--alertmanager.config-file={tmp_path}/http")
    rules = (f"--alertmanager.rules-file={tmp_path}/rules", "--alertmanager.url=http://127.0.0.1:9")
    with pytest.raises(SystemExit) as ended:
        main([command, *flags, *rules, "--web.listen-address=127.0.0.1:0", "--redis.url=redis://127.0.0.1:1"])
    assert ended.value.code == 2
    refused = [
        line.split(": ")[1] for line in capsys.readouterr().err.splitlines() if line.startswith("ginkgo-exporter")
    ]
    assert refused == ["--alertmanager.config-file", "--alertmanager.rules-file", "--web.config.file"]
