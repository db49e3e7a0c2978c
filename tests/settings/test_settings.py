"""Settings: each has a flag, a variable and a place in the file; and bad ones are refused in one clear line each."""

import os
import re
import socket
import threading
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli import main
from exporter.errors import SettingsError
from exporter.settings import (
    Settings,
    all_settings,
    format_duration,
    load,
    parse_duration,
    parse_size,
    unknown_variables,
)
from exporter.settings.yaml_file import read_yaml

EXAMPLE = Path(__file__).parents[2] / "config.example.yml"
SECRET = "hunter2"  # noqa: S105 - to be looked for
FILE = __file__
_TABLE: Final = f"""\
config.file | none | {EXAMPLE}
redis.url | redis://localhost:6379/0 | redis://a/1
redis.mode | standalone | cluster
redis.sentinel-master | none | mymaster
redis.username | none | reader
redis.password-file | none | {FILE}
redis.tls-ca-file | none | {FILE}
redis.tls-cert-file | none | {FILE}
redis.tls-key-file | none | {FILE}
redis.timeout | 5s | 500ms
keys.metrics-prefix | node:metrics: | m:
keys.heartbeat-prefix | heartbeat:node: | h:
keys.plan | schedule:plan | p
keys.portfolio-prefix | portfolio: | q:
heartbeat.ttl | 30s | 1m
heartbeat.timezone | UTC | Asia/Shanghai
discovery.interval | 10s | 1h30m
nodes.forget-after | off | 24h
nodes.forget-rehomed-after | 1h | off
nodes.expected | none | 7
mass-loss.nodes | 3 | 4
mass-loss.ratio | 0.25 | 0.5
mass-loss.many | 10 | 11
portfolios.max-listed | 100 | 0
portfolios.states | on | off
journal.file | none | /nowhere/journal
journal.max-size | 10MB | 512KB
web.external-url | none | https://ginkgo.example/x
collector.stale-gauges | off | on
collector.max-nodes | 100000 | 5
alertmanager.url | none | http://a:9093
alertmanager.label | job=ginkgo-exporter | cluster=tokyo
alertmanager.rules-file | none | {FILE}
alertmanager.config-file | none | {FILE}
alertmanager.sole-writer | off | on
web.listen-address | :19121 | [::1]:1
web.telemetry-path | /metrics | /m
web.max-connections | 128 | 64
web.config.file | none | {FILE}
log.level | info | debug
log.format | logfmt | json"""
PROMISED: Final = {
    name: (default, other) for name, default, other in (line.split(" | ") for line in _TABLE.splitlines())
}
"""Every setting of the contract with its default and another value. A new setting is free until it stands there."""
PAIR: Final = ("redis.tls-cert-file", "redis.tls-key-file")

BAD_VALUES: Final = f"""
redis.url: http://u:{SECRET}@h | redis://u:{SECRET}@h:port | redis://:{SECRET}@h:0 | redis://:{SECRET}@h:99999
redis.url: redis://:{SECRET}@h/-1 | redis://:{SECRET}@h/prod | redis://:{SECRET}@h/9999999999 | redis://:a?{SECRET}@h
redis.url: redis://:a#{SECRET}@h | redis://h/0?password={SECRET} | redis://[1.2.3.4]:{SECRET} | redis://a b:{SECRET}
redis.mode: replica | Cluster
redis.timeout: 5 | 0 | 25h | 1.5s | -1s | {"9" * 400}s | soon
redis.password-file: /nowhere/{SECRET} | / | /dev/null | a\0b
heartbeat.timezone: Mars/Base | ../x
heartbeat.ttl: 9999999999h
nodes.forget-after: never | 0
nodes.expected: 0 | 1.5 | many | ٣
mass-loss.ratio: 0 | 1 | nan | 25%
collector.max-nodes: 0 | {"9" * 5000}
journal.max-size: 10 | 1.5MB | 0KB
web.listen-address: 19121 | :70000 | a..b:80 | [nonsense]:80 | {"a" * 64}:80
web.telemetry-path: metrics | / | /-/ready | /api/x | /a?b | /a b
web.external-url: ginkgo | https://u:{SECRET}@h
web.max-connections: 0
log.level: loud
log.format: xml
alertmanager.url: h:9093 | http://u:{SECRET}@h | http://h/?t={SECRET} | http://h/#{SECRET} | http://h:99999 | http://:1
alertmanager.label: no-equals | node_id=n | loss=n | alertname=a | 1a=b
"""
BAD_FILES: Final = f"""
redis: [timeout] | redis: must be a mapping
web: nonsense | web: must be a mapping
- a | the file: must be a mapping
redis: {{timeout: 5}} | redis.timeout: not a duration
redis: {{timeout: true}} | redis.timeout: not a duration
redis: {{timeout: [1s, 2s]}} | redis.timeout: takes one value
redis: {{timeout: {{a: b}}}} | redis.timeout.a: unknown setting; the nearest known name is redis.timeout
redis: {{url: [{{a: b}}]}} | redis.url: must be a text
redis: {{username: ""}} | redis.username: must not be empty
redis: {{urls: [redis://:{SECRET}@h]}} | redis.urls: unknown setting; the nearest known name is redis.url
redis: {{redis://:{SECRET}@h}} | .*unknown setting
portfolios: {{states: maybe}} | portfolios.states: must be on or off
unknown: 1 | unknown: unknown setting
redis: {{timeout: 1s, timeout: 2s}} | timeout: appears twice
redis: {{password: *{SECRET}}} | found undefined alias …, in .*, line 1, column 19
redis: {{username: !{SECRET}!x y}} | .*line 1
redis: {{username: {SECRET} | .*line 2
redis: {{username: "{SECRET}\\q"}} | .*line 1
a: b: {SECRET} | .*line 1
\t{SECRET} | .*line 1
\ufffe | unacceptable character
{"[" * 3000} | maximum recursion depth
"""
BAD_FLAGS: Final = f"""\
--config.file=/nowhere/at/all.yml | --config.file: no such file
--redis.timeout=1s --redis.timeout=1s | --redis.timeout: takes one value, and 2 are given
--web.listen-address=:1 --web.listen-address=:2 | --web.listen-address: takes one value
--redis.url= | --redis.url: must not be empty
--redis.mode=sentinel | --redis.mode=sentinel needs --redis.sentinel-master
--redis.url=redis://a --redis.url=redis://b | several addresses in --redis.url need --redis.mode
--redis.mode=cluster --redis.url=unix:///x | --redis.url must name a host with --redis.mode=cluster
--redis.tls-cert-file {FILE} --redis.url=rediss://a | --redis.tls-cert-file and .* go together
--redis.tls-ca-file {FILE} | --redis.url must begin with rediss://
--keys.metrics-prefix=heartbeat: | neither .* may begin with the other
--redis.timeout | expected one argument
--redis.time=5s | unrecognized arguments: .*; the nearest known name is --redis.timeout
--redis.urll=redis://u:{SECRET}@h | unrecognized arguments: .*; the nearest known name is --redis.url
--redis.urll redis://u:{SECRET}@h | unrecognized arguments: .*; the nearest known name is --redis.url
redis://u:{SECRET}@h | unrecognized arguments: redis://…@h
redis://u:{SECRET}=@h | unrecognized arguments: redis://…@h
--log.level=info nodes | unrecognized arguments: nodes; a command stands before its flags
nodse | unrecognized arguments: nodse; the nearest known name is nodes"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GINKGO_EXPORTER_")]:
        monkeypatch.delenv(name)


def write(folder: Path, content: Any) -> dict[str, object]:
    """Return flags that name a configuration file with this content."""
    file = folder / "config.yml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return {"config.file": str(file)}


def errors(flags: dict[str, object]) -> list[str]:
    """Return the lines of a refusal."""
    with pytest.raises(SettingsError) as caught:
        load(flags)
    return str(caught.value).splitlines()


def values(settings: Settings) -> dict[str, object]:
    return {row.name: getattr(part, row.field) for part in settings for row in part.rows()}


def test_every_promised_setting_is_a_flag_a_variable_and_a_place_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, defaults, failed = {row.name: row for row in all_settings()}, values(load()), []
    for name, (default, other) in PROMISED.items():
        row = rows[name]
        assert row.default == default, name
        beside = {"redis.url": ["rediss://a"]} | {name: FILE for name in PAIR if row.name in PAIR}
        beside.pop(row.name, None)
        by_flag = values(load({**beside, row.name: other}))
        with monkeypatch.context() as patch:
            patch.setenv("GINKGO_EXPORTER_" + re.sub("[.-]", "_", row.name).upper(), other)
            by_variable = values(load(beside))
        tree: Any = other
        for part in reversed(row.name.split(".")):
            tree = {part: tree}
        by_file = by_flag if row.name == "config.file" else values(load({**beside, **write(tmp_path, tree)}))
        same = by_flag[row.name] == by_variable[row.name] == by_file[row.name] != defaults[row.name]
        failed += [] if same and row.flag == f"--{row.name}" else [row.name]
    assert failed == []


def test_example_names_every_setting_with_its_default() -> None:
    shown = load({"config.file": str(EXAMPLE)})
    for row in all_settings():
        assert re.search(rf"^ +{row.name.rpartition('.')[2]}:", EXAMPLE.read_text(), re.MULTILINE), row.name
    assert values(shown) == values(load()) | {"config.file": EXAMPLE}


def test_flag_overrides_variable_and_variable_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "redis: {timeout: 1s, url: redis://a}\nlog: {}\nkeys:\nweb:\n  external-url:\n")
    assert load(file).redis.timeout == 1
    monkeypatch.setenv("GINKGO_EXPORTER_REDIS_TIMEOUT", "2s")
    monkeypatch.setenv("GINKGO_EXPORTER_ALERTMANAGER_URL", "http://a:9093,http://b:9093/")
    assert load(file).redis.timeout == 2
    assert load(file).alertmanager.url == ("http://a:9093", "http://b:9093")
    assert load({**file, "redis.timeout": "3s"}).redis.timeout == 3
    assert load({}).redis.given == {"timeout"}
    assert load({"heartbeat.ttl": "1m"}).heartbeat.beat == 20
    labels = load({"alertmanager.label": ["cluster=tokyo", "job="]}).alertmanager.labels
    assert labels == {"cluster": "tokyo"}, "an empty label is left out"


def test_wrong_settings_are_one_clear_line_each_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, real = threading.get_ident(), socket.socket

    def opened(*options: Any, **named: Any) -> socket.socket:
        assert threading.get_ident() != here, "a socket is opened"
        return real(*options, **named)  # for a thread that another test has left

    monkeypatch.setattr(socket, "socket", opened)
    cases = [([f"--{name}={text}"], rf"--{name}: ") for line in BAD_VALUES.strip().splitlines()
             for name, _, texts in [line.partition(": ")] for text in texts.split(" | ")]  # fmt: skip
    for number, line in enumerate(BAD_FILES.strip("\n").splitlines()):
        text, reason = line.rsplit(" | ", 1)
        (tmp_path / f"{number}.yml").write_text(f"{text}\n", encoding="utf-8")
        cases += [([f"--config.file={tmp_path}/{number}.yml"], f"(configuration file|--config.file): {reason}")]
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    cases += [([f"--config.file={tmp_path}/bytes"], "--config.file: 'utf-8'")]
    cases += [(flags.split(), reason) for flags, _, reason in (line.partition(" | ") for line in BAD_FLAGS.split("\n"))]
    failed = []
    for arguments, reason in cases:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        right = (ended.value.code, out, err.count("\n")) == (2, "", 1) and SECRET not in err and err[:-1].isprintable()
        failed += [] if right and re.match(f"ginkgo-exporter: .*{reason}", err) else [(arguments, reason, out, err)]
    assert not failed, "\n".join(map(str, failed))
    assert len(cases) > 100


def test_all_errors_are_told_at_once_where_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt mode must not lead to a second error about the addresses that go with it."""
    file = write(tmp_path, "redis:\n  mode: sentinal\nlog:\n  levle: info\n")
    monkeypatch.setenv("GINKGO_EXPORTER_LOG_FORMAT", "xml")
    urls = ["redis://a", f"http://u:{SECRET}@b", f"redis://u:{SECRET}@c/x"]
    assert [line.partition(": n")[0] for line in errors({**file, "redis.timeout": "5", "redis.url": urls})] == [
        "configuration file: log.levle: unknown setting; the nearest known name is log.level",
        "--redis.url",
        "--redis.url",
        "configuration file: redis.mode: must be one of standalone, sentinel, cluster",
        "--redis.timeout",
        "GINKGO_EXPORTER_LOG_FORMAT: must be one of logfmt, json",
    ]
    assert SECRET not in repr(
        load({"redis.url": [f"redis://u:{SECRET}@h"], "keys.metrics-prefix": "m", "log.format": "json"})
    )


def test_mistyped_variable_is_named_without_its_value_and_a_services_variable_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT_METRICS", "PORT", "PORT_19121_TCP_ADDR", "HEADLESS_SERVICE_HOST"):
        monkeypatch.setenv(f"GINKGO_EXPORTER_{name}", "tcp://10.0.0.1:19121")
    monkeypatch.setenv("GINKGO_EXPORTER_REDIS_ULR", f"redis://u:{SECRET}@h")
    hint = "is unknown and has no effect; the nearest known name is GINKGO_EXPORTER_REDIS_URL"
    assert unknown_variables() == [f"the variable GINKGO_EXPORTER_REDIS_ULR {hint}"]


def test_yaml_values_are_texts_as_the_user_wrote_them(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: off\nb: 05\nc: [1.0, true]\nd:\ne: ~\n'': {x: 'null'}\n")
    content = {"a": "off", "b": "05", "c": ["1.0", "true"], "d": None, "e": None, "": {"x": "null"}}
    assert read_yaml(tmp_path / "a.yml") == content
    for text in ("", "# all of it is commented out\n", "---\n"):
        assert values(load(write(tmp_path, text)))["redis.timeout"] == 5


def test_durations_sizes_and_addresses_are_read_as_prometheus_reads_them() -> None:
    read = {
        "500ms": 0.5,
        "1h1m1s1ms": 3661.001,
        "1w2d": 777_600,
        "1y": 31_536_000,
        "0": 0,
        "90s": 90,
        "100y": 3_153_600_000,
    }
    assert {text: parse_duration(text) for text in read} == pytest.approx(read)
    assert [parse_size(text) for text in ("1B", "512KB", "10MB", "3GB")] == [1, 524_288, 10_485_760, 3 * 2**30]
    for text in ("", " ", "10", "1 s", "1s ", "10S", "1s1m", "1m1m", "1e3s", "\u0661s", "1s\n", "inf", "10 MB", "10mb"):
        for parse in (parse_duration, parse_size):
            with pytest.raises(ValueError, match="not a"):
                parse(text)
    for address in ("[::1]:80", "[fe80::1%eth0]:80", "127.0.0.1:80", ":80", "host-1.example:0"):
        assert str(load({"web.listen-address": address}).web.listen_address) == address
    for url in ("redis://", "redis://:p%2F@h", "rediss://[::1]:1/3", "unix:///a/b.sock?db=2", "unix://u:p@/a"):
        assert load({"redis.url": [url]}).redis.url[0].get_secret_value() == url


@given(st.integers(0, 10**12))
def test_formatted_duration_reads_back_to_the_millisecond(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds
