"""Bad values are refused in one line, before anything is opened, and no secret is repeated."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.settings import load
from exporter.settings.durations import parse_duration
from exporter.settings.yaml_file import read_yaml

SECRET = "s3cr3t"  # noqa: S105 - a test's


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("redis.url", [f"redis://:{SECRET}@host:99999/0"], "not a Redis address"),
        ("redis.url", [f"redis://:{SECRET}@host:0/0"], "not a Redis address"),
        ("redis.url", [f"redis://:{SECRET}@host:6379/-1"], "database number"),
        ("redis.url", [f"redis://:{SECRET}@host:6379/99999999999"], "out of range"),
        ("redis.url", [f"redis://:a?{SECRET}=1@host/0"], "%3F"),
        ("redis.url", [f"redis://:a?{SECRET}@host/0"], "%3F"),
        ("redis.url", [f"redis://:a#{SECRET}@host/0"], "%23"),
        ("redis.url", [f"redis://host/0?password={SECRET}"], "a flag of this program: password"),
        ("redis.url", [f"redis://[::1/{SECRET}"], "not a Redis address"),
        ("redis.url", [f"redis://a b:{SECRET}"], "not a Redis address"),
        ("alertmanager.url", [f"http://host:9093/?token={SECRET}"], "no query"),
        ("alertmanager.url", [f"http://host:9093/#{SECRET}"], "no fragment"),
        ("alertmanager.url", ["http://host:99999"], "not an address"),
        ("alertmanager.url", [f"http://u:{SECRET}@host"], "must not hold a password"),
        ("alertmanager.url", ["http://ho st"], "not an address"),
        ("alertmanager.url", ["http://host/a b"], "no spaces"),
        ("alertmanager.url", ["http://:9093"], "not an address"),
        ("web.listen-address", ":99999", "not an address"),
        ("web.listen-address", ":" + "9" * 5000, "not an address"),
        ("web.listen-address", "a..b:80", "not an address"),
        ("web.listen-address", "a b:80", "not an address"),
        ("web.listen-address", "[nonsense]:80", "not an address"),
        ("web.telemetry-path", "/a?b", "without spaces"),
        ("web.telemetry-path", "/a b", "without spaces"),
        ("redis.timeout", "9" * 400 + "s", "longer than 100y"),
        ("redis.timeout", "25h", "86400"),
        ("heartbeat.ttl", "9999999999h", "longer than 100y"),
    ],
)
def test_bad_value_is_refused_in_one_line_without_its_secret(name: str, value: object, reason: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load({name: value})
    assert str(refused.value).startswith(f"--{name}: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["[::1]:80", "[fe80::1%eth0]:80", "127.0.0.1:80", ":80", "host-1.example:0", "::1:80"]
)
def test_good_address_to_listen_on_is_taken(address: str) -> None:
    assert load({"web.listen-address": address}).web.listen_address.port in (0, 80)


def test_longest_duration_is_a_hundred_years() -> None:
    assert parse_duration("100y") == 100 * 365 * 86_400
    assert parse_duration("0000000000000000000001s") == 1


def test_folder_and_pipe_are_named_as_such(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a pipe"),
        (tmp_path / "none", "no such file"),
    ):
        for name in ("redis.password-file", "config.file"):
            with pytest.raises(SettingsError, match=reason):
                load({name: str(path)})
        with pytest.raises(ValueError, match=reason):
            read_yaml(path)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "x: {a: 1,\n b: 2,\n a: 2}\n", "x:\n- a: 1\n  b: 1\n  a: 1\n"])
def test_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file.yml"
    file.write_text(text)
    first = 1 if text.startswith(("a", "x: {")) else 2
    with pytest.raises(ValueError, match=f"the key 'a' stands in line {first} and again in line {first + 2}"):
        read_yaml(file)


def test_merged_and_different_keys_are_no_duplicates(tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_text("base: &base {a: 1}\nx: {<<: *base, a: 2}\n'1': a\n1: b\n")
    assert read_yaml(file) == {"base": {"a": 1}, "x": {"a": 2}, "1": "a", 1: "b"}


def test_file_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_text("a: " + "x" * 2**21)
    with pytest.raises(ValueError, match="larger than"):
        read_yaml(file)


def test_second_address_to_listen_on_is_refused_and_not_ignored() -> None:
    command = [sys.executable, "-m", "exporter", "--web.listen-address=:0", "--web.listen-address=127.0.0.1:0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "several addresses are not supported" in ended.stderr
