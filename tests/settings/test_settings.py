"""Settings: where they come from, what is refused and in which words, and the example that shows them all."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from exporter.cli import main
from exporter.errors import SettingsError
from exporter.settings import load
from exporter.settings.flags import all_settings
from exporter.settings.section import sections_of
from lab.nodes import beat
from lab.servers import RedisServer

EXAMPLE = Path(__file__).parents[2] / "config.example.yml"
SETTINGS = [setting for setting in all_settings() if setting.name != "config.file"]
BY_NAME = {setting.name: setting for setting in SETTINGS}
SECRET = "hunter2"  # noqa: S105 - to be looked for


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in all_settings():
        monkeypatch.delenv(setting.variable, raising=False)


def write(folder: Path, text: str) -> dict[str, object]:
    """Return flags that name a configuration file with this text."""
    file = folder / "config.yml"
    file.write_text(text)
    return {"config.file": str(file)}


def refusal(flags: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags)
    message = str(caught.value)
    assert "\n" not in message
    return message


def command(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GINKGO_EXPORTER_")}
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        capture_output=True, text=True, check=False, timeout=60, env=environment | variables,
    )  # fmt: skip


# --- the example -------------------------------------------------------------------------------


def test_example_names_every_setting_and_no_other() -> None:
    def names(tree: Any, path: str = "") -> set[str]:
        if not isinstance(tree, dict):
            return {path.lstrip(".")}
        return set().union(*(names(branch, f"{path}.{name}") for name, branch in tree.items()))

    assert names(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))) == set(BY_NAME)


def test_example_shows_the_defaults() -> None:
    shown, defaults = load({"config.file": str(EXAMPLE)}), load({})
    sections = [name for name in sections_of(type(shown)) if name != "config"]
    assert {name: getattr(shown, name) for name in sections} == {name: getattr(defaults, name) for name in sections}


def test_example_explains_every_setting() -> None:
    text = EXAMPLE.read_text(encoding="utf-8").lower()
    assert [setting.name for setting in SETTINGS if f"# {setting.description}".lower() not in text] == []


# --- precedence --------------------------------------------------------------------------------


def test_flag_overrides_variable_which_overrides_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({}).redis.timeout == 5
    file = write(tmp_path, "redis: {timeout: 1s}\n")
    assert load(file).redis.timeout == 1
    monkeypatch.setenv("GINKGO_EXPORTER_REDIS_TIMEOUT", "2s")
    assert load(file).redis.timeout == 2
    assert load({**file, "redis.timeout": "3s"}).redis.timeout == 3


def test_program_may_name_the_file_by_a_path(tmp_path: Path) -> None:
    file = write(tmp_path, "redis: {timeout: 1s}\n")
    assert load({"config.file": Path(str(file["config.file"]))}).redis.timeout == 1


def test_file_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "redis: {timeout: 1s}\n")
    monkeypatch.setenv("GINKGO_EXPORTER_CONFIG_FILE", str(file["config.file"]))
    assert load({}).redis.timeout == 1


def test_commas_separate_the_values_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GINKGO_EXPORTER_ALERTMANAGER_URL", "http://a:9093,http://b:9093")
    assert load({}).alertmanager.url == ("http://a:9093", "http://b:9093")


def test_one_value_of_a_list_may_stand_alone_in_the_file(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, "redis: {url: redis://example:1/2}\n"))
    assert [url.get_secret_value() for url in loaded.redis.url] == ["redis://example:1/2"]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: str(setting.name))
def test_every_setting_has_a_flag_a_variable_and_a_place_in_the_file(
    setting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert setting.flag == f"--{setting.name}"
    assert setting.variable == "GINKGO_EXPORTER_" + re.sub(r"[.-]", "_", setting.name).upper()
    wrong: Any = {"nothing": {"to": "see"}}
    for name in reversed(setting.name.split(".")):
        wrong = {name: wrong}
    assert setting.name in refusal(write(tmp_path, yaml.safe_dump(wrong)))
    default = setting.default
    if default not in ("none", "off"):
        monkeypatch.setenv(setting.variable, default)
        assert load({}) == load({setting.name: default.split(",") if setting.kind.repeatable else default})


def test_help_names_every_flag() -> None:
    text = command("--help").stdout
    for setting in all_settings():
        assert setting.flag in text or setting.flag.replace("--", "--[no-]", 1) in text


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("redis.url", "http://x", "redis://"),
        ("redis.url", f"redis://u:{SECRET}@h:port/0", "not a Redis address"),
        ("redis.url", f"redis://u:{SECRET}@h/0?timeout=1", "timeout"),
        ("redis.url", f"redis://u:{SECRET}@h/prod", "not a database number"),
        ("redis.mode", "replica", "standalone"),
        ("redis.timeout", "5", "not a duration"),
        ("redis.timeout", "0", "greater than 0"),
        ("redis.password-file", "/nowhere/at/all", "file"),
        ("heartbeat.timezone", "Mars/Base", "not a time zone"),
        ("heartbeat.ttl", "-1s", "not a duration"),
        ("nodes.forget-after", "0", "greater than 0"),
        ("nodes.forget-after", "never", "not a duration"),
        ("collector.max-nodes", "0", "greater than 0"),
        ("collector.max-nodes", "many", "integer"),
        ("web.listen-address", "19121", "not an address"),
        ("web.listen-address", ":70000", "not an address"),
        ("web.telemetry-path", "metrics", "must begin with /"),
        ("web.telemetry-path", "/-/ready", "must begin with /"),
        ("log.level", "loud", "debug"),
        ("alertmanager.url", "alertmanager:9093", "not an address"),
        ("alertmanager.label", "no-equals", "not a label"),
    ],
)
def test_bad_value_is_refused_in_one_line_that_names_where_it_was_set(
    name: str, text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = BY_NAME[name]
    by_flag = refusal({name: [text] if setting.kind.repeatable else text})
    assert by_flag.startswith(f"--{name}: ")
    assert reason in by_flag
    section, key = name.split(".")
    if (name, text) != ("redis.timeout", "5"):
        assert refusal(write(tmp_path, yaml.safe_dump({section: {key: text}}))).startswith(
            f"configuration file: {name}: "
        )
    monkeypatch.setenv(setting.variable, text)
    by_variable = refusal({})
    assert by_variable.startswith(f"{setting.variable}: ")
    assert SECRET not in by_flag + by_variable


@pytest.mark.parametrize("text", ["redis: [\n", "- a\n", "text\n", "redis:\n", "redis: {timeout: true}\n",
                                  "nodes: {forget-after: on}\n", "nodes: {forget-after: 0}\n", "redis: {url: 5}\n",
                                  "redis: {urls: [redis://x]}\n", "unknown: 1\n", "a: b: c\n", "\t\n a"])  # fmt: skip
def test_bad_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    assert refusal(write(tmp_path, text)).startswith("configuration file: ")


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_bytes(b"\xff\xfe\x00")
    assert "configuration file: " in refusal({"config.file": str(tmp_path / "config.yml")})


@pytest.mark.parametrize("file", ["/nowhere/at/all.yml", "/"])
def test_path_that_is_not_a_file_is_refused(file: str) -> None:
    assert refusal({"config.file": file}).startswith("--config.file: ")


@pytest.mark.parametrize("text", ["", "# all of it is commented out\n", "---\n"])
def test_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, text)).redis == load({}).redis


def test_unknown_key_is_not_blamed_on_a_variable_that_begins_like_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GINKGO_EXPORTER_REDIS_URL", "redis://example")
    file = write(tmp_path, "redis: {urls: [redis://x]}\n")
    assert refusal(file) == (
        "configuration file: redis.urls: unknown setting; the nearest known name is redis.url"
        f" (line 1 of {file['config.file']})"
    )


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"redis.mode": "sentinel"}, "--redis.sentinel-master"),
        ({"redis.url": ["redis://a", "redis://b"]}, "--redis.url"),
        ({"redis.url": ["unix:///run/redis.sock"], "redis.mode": "cluster"}, "must name a host"),
        ({"redis.url": ["redis://"], "redis.mode": "cluster"}, "must name a host"),
        ({"redis.tls-cert-file": __file__, "redis.url": ["rediss://a"]}, "--redis.tls-cert-file"),
        ({"redis.tls-ca-file": __file__}, "rediss://"),
        ({"keys.metrics-prefix": "heartbeat:"}, "--keys.heartbeat-prefix"),
        ({"keys.heartbeat-prefix": "node:metrics:"}, "--keys.heartbeat-prefix"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(flags: dict[str, object], reason: str) -> None:
    assert reason in refusal(flags)


def test_secrets_are_not_in_the_representation() -> None:
    assert SECRET not in repr(load({"redis.url": [f"redis://u:{SECRET}@h"]}))


# --- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-flag"],
        ["--redis.timeout"],
        ["--redis.timeout=soon"],
        ["--redis.time=5s"],
        ["no-such-command"],
        [f"--redis.urll=redis://u:{SECRET}@h"],
        [f"redis://u:{SECRET}@h"],
        [f"--redis.url=http://u:{SECRET}@h"],
        ["check", "--config.file=/nowhere/at/all.yml"],
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ginkgo-exporter: ")
    assert err.count("\n") == 1
    assert SECRET not in err


def test_address_in_use_is_one_line_and_exit_2(shared_redis: RedisServer) -> None:
    done = command("--web.listen-address", f"127.0.0.1:{shared_redis.port}")
    assert done.returncode == 2
    assert done.stderr.startswith("ginkgo-exporter: --web.listen-address: cannot listen on ")
    assert done.stderr.count("\n") == 1


def test_check_says_what_it_found_and_exits_0(shared_redis: RedisServer, client: "redis.Redis") -> None:
    beat(client, "node-1")
    done = command("check", "--redis.url", shared_redis.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "configuration: good" in done.stdout
    assert "redis: good, a master with 1 nodes, 1 of them beating" in done.stdout


def test_check_without_redis_says_so_and_exits_1() -> None:
    done = command("check", "--redis.url", f"redis://u:{SECRET}@127.0.0.1:1/0")
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert SECRET not in done.stdout + done.stderr
