"""A newcomer gets help that fits the terminal, completion, and errors of one line that say what to do."""

import gc
import os
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.cli import main
from lab.nodes import beat
from lab.servers import RedisServer, free_port

ROOT = Path(__file__).parent.parent
COMPLETIONS = {
    "ginkgo-exporter no": {"nodes"},
    "ginkgo-exporter --redis.ti": {"--redis.timeout"},
    "ginkgo-exporter nodes --out": {"--output"},
    "ginkgo-exporter nodes --output ": {"table", "json", "csv"},
    "ginkgo-exporter nodes --sort port": {"portfolios"},
    "ginkgo-exporter serve --log.level w": {"warning"},
    "ginkgo-exporter serve --config.file conft": {"conftest.py"},
    "ginkgo-exporter forget --offline": {"--offline-longer-than"},
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command in this process; return its exit code and its outputs."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return int(str(ended.value.code)), *capsys.readouterr()

    yield run
    with warnings.catch_warnings():  # a command leaves it to the end of its process to close what failed
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_help_fits_80_columns_and_names_the_commands_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    whole = run("--help")[1].split()
    monkeypatch.setenv("COLUMNS", "80")
    texts = {
        name: run(*name.split(), "--help") for name in ("", "serve", "demo", "check", "nodes", "explain", "forget")
    }
    assert {code for code, _, _ in texts.values()} == {0}
    assert texts[""][1].split() == whole, "a word is broken"
    assert [name for name, (_, text, _) in texts.items() if max(map(len, text.splitlines())) > 80] == []
    text = texts[""][1]
    assert text.index("forget ") < text.index("--redis.url")
    assert "--alertmanager" not in texts["nodes"][1], "a command lists the settings that it uses"


def test_what_cannot_be_reached_is_named_with_its_address_and_what_to_do(run: Run, redis_server: RedisServer) -> None:
    port = free_port()
    away = f"redis://127.0.0.1:{port}"
    with redis_server.client() as client:
        beat(client, "n")
        client.execute_command("acl", "setuser", "reader", "on", "nopass", "~*", "+info", "+scan")
        client.config_set("requirepass", "right")
    sentinel = ("--redis.mode=sentinel", "--redis.sentinel-master=m", f"--redis.url={away}")
    for arguments, expected in {
        ("nodes", f"--redis.url={away}"): (
            f"cannot connect to Redis at 127.0.0.1:{port}: Connection refused",
            "--redis.url",
        ),
        ("nodes", f"--redis.url={redis_server.url}"): ("--redis.password-file",),
        ("forget", "n", "--redis.url", redis_server.url.replace("//", "//:s3cret@")): ("--redis.password-file",),
        ("nodes", "--redis.url", redis_server.url.replace("//", "//reader:x@")): (
            "no permissions to run the '",
            "docs/how-to/redis.md",
        ),
        ("nodes", *sentinel): ("master 'm'", "--redis.sentinel-master"),
    }.items():
        code, _, said = run(*arguments)
        assert (code, said.count("\n"), "s3cret" in said) == (1, 1, False)
        assert [words for words in expected if words not in said] == [], said
    code, said, _ = run("check", f"--redis.url={away}", f"--alertmanager.url=http://127.0.0.1:{port}")
    assert code == 1, "systemd starts it again"
    assert f"alertmanager http://127.0.0.1:{port}: cannot connect: Connection refused (is it running there?" in said


def test_address_where_no_redis_answers_is_reported(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as web, ThreadPoolExecutor() as pool:

        def answer() -> None:
            connection, _ = web.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"<html>")

        answered = pool.submit(answer)
        code, _, said = run("nodes", "--redis.url", f"redis://127.0.0.1:{web.getsockname()[1]}")
        answered.result()
    assert (code, said.count("\n")) == (1, 1)
    assert "the server does not speak Redis's protocol (see --redis.url)" in said


def test_port_in_use_says_what_to_do(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, said = run("--web.listen-address", f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 1, "systemd starts it again"
    assert said.endswith("Address already in use\n")


def test_check_reads_the_files_that_settings_name_and_tells_all_their_errors(run: Run, tmp_path: Path) -> None:
    for name in ("web", "http", "rules"):
        (tmp_path / name).write_text(f"{name}: 1\n")
    flags = (f"--web.config.file={tmp_path}/web", f"--alertmanager.config-file={tmp_path}/http")
    flags += (f"--alertmanager.rules-file={tmp_path}/rules", "--alertmanager.url=http://127.0.0.1:9")
    for command in ("check", "serve"):
        code, _, said = run(command, *flags, "--web.listen-address=127.0.0.1:0", "--redis.url=redis://127.0.0.1:1")
        assert code == 2
        refused = [line.split(": ")[1] for line in said.splitlines() if line.startswith("ginkgo-exporter")]
        assert refused == ["--alertmanager.config-file", "--alertmanager.rules-file", "--web.config.file"]


def test_output_that_is_closed_or_cannot_be_written_causes_no_traceback(shared_redis: RedisServer) -> None:
    with shared_redis.client() as client:
        beat(client, "a", ttl=600)
    base = f"{sys.executable} -m exporter nodes --redis.url {shared_redis.url} --output"
    full = "ginkgo-exporter: [Errno 28] No space left on device\n"
    for output, code, said in (
        ("csv >&-", 0, ""),
        ("table >&- 2>&-", 0, ""),
        ("json | true", 0, ""),
        *((f"{form} >/dev/full", 1, full) for form in ("csv", "table")),
    ):
        done = subprocess.run(["sh", "-c", f"{base} {output}"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (code, said), output


@pytest.mark.server("an older Python")
def test_old_python_is_refused_in_one_line() -> None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*map(shutil.which, ("python3.10", "python3.9")), *map(str, pyenv.glob("3.[6-9].*/bin/python"))]
    for python in filter(None, found):
        done = subprocess.run([python, "-m", "exporter"], capture_output=True, text=True, check=False, cwd=ROOT)
        if "needs Python" in done.stderr:
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            return
    pytest.skip("no Python older than 3.11 is installed")


def test_shells_complete_commands_flags_choices_and_files(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "ginkgo-exporter"
    script.write_text(run("--print-completion", "bash")[1])
    for line, expected in COMPLETIONS.items():
        words = line.split(" ")
        commands = f"""
        source {script}
        COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
        COMP_LINE={line!r}; COMP_POINT={len(line)}
        $(complete -p ginkgo-exporter | sed 's/.*-F \\([^ ]*\\).*/\\1/') ginkgo-exporter {words[-1]!r} {words[-2]!r}
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True, cwd=ROOT / "tests")
        assert {word.strip() for word in done.stdout.splitlines() if word} == expected, line
    for shell in ("zsh", "tcsh"):
        assert "offline-longer-than" in run("--print-completion", shell)[1]
