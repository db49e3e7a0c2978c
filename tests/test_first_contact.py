"""A newcomer gets help that fits the terminal, completion, and errors of one line that say what to do."""

import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.nodes import beat
from lab.servers import RedisServer, free_port

ROOT = Path(__file__).parent.parent
COMMANDS = ("serve", "demo", "check", "nodes", "forget")


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "exporter", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=60
    )


def said(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the only line on standard error."""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns(command: str) -> None:
    done = run(*filter(None, [command]), "--help", COLUMNS="80")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Connection to Redis:" in done.stdout


def test_help_names_the_commands_before_the_settings() -> None:
    text = run("--help").stdout
    assert text.index("forget ") < text.index("--redis.url")


def test_help_of_nodes_lists_only_settings_that_the_command_uses() -> None:
    assert "--alertmanager" not in run("nodes", "--help").stdout


def test_unreachable_redis_is_reported_with_its_address() -> None:
    port = free_port()
    done = run("nodes", "--redis.url", f"redis://127.0.0.1:{port}/0")
    assert done.returncode == 1
    assert f"cannot connect to Redis at 127.0.0.1:{port}: Connection refused" in said(done)
    assert "--redis.url" in said(done)


@pytest.mark.parametrize("output", ["csv", "json", "table"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_causes_no_traceback(
    output: str, unbuffered: str, shared_redis: RedisServer
) -> None:
    command = [sys.executable, "-m", "exporter", "nodes", "--redis.url", shared_redis.url, "--output", output]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    nobody, closed = os.pipe()
    os.close(nobody)
    with shared_redis.client() as client:
        beat(client, "a", ttl=600)
    try:
        gone = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, check=False, env=environment)
    finally:
        os.close(closed)
    assert (gone.returncode, gone.stderr) == (1, b"")  # as after `| head`
    with Path("/dev/full").open("wb") as full:
        lost = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, env=environment)
    assert lost.returncode == 1
    assert lost.stderr.decode().splitlines() == ["ginkgo-exporter: [Errno 28] No space left on device"]


def test_closed_output_causes_no_traceback(shared_redis: RedisServer) -> None:
    command = f"{sys.executable} -m exporter nodes --output json --redis.url {shared_redis.url}"
    for closed, code in ((">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)):
        done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (code, b""), closed


def test_missing_or_wrong_password_is_reported_and_no_secret_is_shown(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", "right")
    done = run("nodes", "--redis.url", redis_server.url)
    assert "--redis.password-file" in said(done)
    done = run("forget", "n", "--redis.url", redis_server.url.replace("//", "//:s3cret@"))
    assert done.returncode == 1
    assert "--redis.password-file" in said(done)
    assert "s3cret" not in done.stderr


def test_missing_right_is_named(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        beat(client, "n")
        client.execute_command("acl", "setuser", "reader", "on", "nopass", "~*", "+info", "+scan")
    done = run("nodes", "--redis.url", redis_server.url.replace("//", "//reader:x@"))
    assert done.returncode == 1
    assert "no permissions to run the 'mget' command" in said(done)
    assert "docs/how-to/redis.md" in said(done)


def test_port_in_use_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--web.listen-address", f"127.0.0.1:{port}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "Address already in use (is another exporter running? choose another port)"
    )
    assert "Traceback" not in done.stderr


def test_unknown_flag_points_to_the_right_help() -> None:
    done = run("nodes", "--nonsense")
    assert done.returncode == 2
    assert said(done).endswith("(see ginkgo-exporter --help)") or said(done).endswith(
        "(see ginkgo-exporter nodes --help)"
    )


NEAREST = "; the nearest known name is --redis.url (see ginkgo-exporter --help)"
NO_FILE = "no such file: missing.yml"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--redis.urll", "redis://h"], f"unrecognized arguments: --redis.urll{NEAREST}"),
        (["--redis.urll=redis://:s3cret@h"], f"unrecognized arguments: --redis.urll=redis://…@h{NEAREST}"),
        (["--nonsense"], "unrecognized arguments: --nonsense (see ginkgo-exporter --help)"),
        (["--config.file", "missing.yml"], f"--config.file: {NO_FILE}"),
        (["--redis.password-file", "missing.yml"], f"--redis.password-file: {NO_FILE}"),
        (["--web.config.file", "missing.yml"], f"--web.config.file: {NO_FILE}"),
        (["--redis.url", "localhost:6379"], "--redis.url: must begin with redis://, rediss:// or unix://"),
        (["--redis.timeout", "5"], "--redis.timeout: not a duration such as 500ms, 10s or 1h30m"),
    ],
)
def test_mistyped_flag_or_file_is_named(arguments: list[str], line: str) -> None:
    done = run(*arguments)
    assert (done.returncode, said(done)) == (2, f"ginkgo-exporter: {line}")


def test_check_reads_the_web_configuration_too(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {prometheus: plain}\n")
    done = run("check", "--web.config.file", str(web))
    assert done.returncode == 2
    assert "not a bcrypt hash" in said(done)
    web.write_text("tls_server_config: {cert_file: missing.crt, key_file: missing.key}\n")
    done = run("check", "--web.config.file", str(web))
    assert done.returncode == 2
    assert said(done).endswith(f"tls_server_config: no such file: {tmp_path / 'missing.crt'}")


def test_address_where_no_redis_answers_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as web, ThreadPoolExecutor() as pool:

        def answer() -> None:
            connection, _ = web.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"<html>")

        answered = pool.submit(answer)
        done = run("nodes", "--redis.url", f"redis://127.0.0.1:{web.getsockname()[1]}")
        answered.result()
    assert done.returncode == 1
    assert said(done) == "ginkgo-exporter: what answers does not speak Redis's protocol (see --redis.url)"


def test_sentinels_that_know_no_master_are_reported_in_plain_words() -> None:
    port = free_port()
    address = f"redis://127.0.0.1:{port}"
    done = run("nodes", "--redis.mode", "sentinel", "--redis.sentinel-master", "m", "--redis.url", address)
    assert done.returncode == 1
    assert said(done).startswith(
        "ginkgo-exporter: Redis: No master found for 'm'"
        " (do the Sentinels run there, and know it? see --redis.url and --redis.sentinel-master)"
        f" Last answer: cannot connect to Redis at 127.0.0.1:{port}: Connection refused"
    )


def test_unreachable_alertmanager_is_reported_in_plain_words() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("check", "--redis.url", f"redis://127.0.0.1:{free_port()}", "--alertmanager.url", url)
    assert done.returncode == 1
    assert f"alertmanager {url}: cannot connect: Connection refused (is it running there?" in done.stdout


def old_python() -> str | None:
    """Return a working Python older than 3.11, or None if this machine has no such Python."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in (
        *map(shutil.which, ("python3.10", "python3.9", "python3.8")),
        *map(str, pyenv.glob("3.[6-9].*/bin/python")),
    ):
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.mark.server("an older Python")
def test_old_python_is_refused_in_one_line() -> None:
    python = old_python()
    if python is None:
        pytest.skip("no Python older than 3.11 is installed")
    done = subprocess.run([python, "-m", "exporter"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert said(done).startswith("ginkgo-exporter: needs Python 3.11 or newer, and this is 3.")


def completed(line: str, script: Path) -> set[str]:
    """Return the completions that bash offers at the end of a line."""
    words = line.split(" ")
    commands = f"""
    source {script}
    COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
    COMP_LINE={line!r}; COMP_POINT={len(line)}
    $(complete -p ginkgo-exporter | sed 's/.*-F \\([^ ]*\\).*/\\1/') ginkgo-exporter {words[-1]!r} {words[-2]!r}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True, cwd=ROOT / "tests")
    return {word.strip() for word in done.stdout.splitlines() if word}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("completion") / "ginkgo-exporter"
    script.write_text(run("--print-completion", "bash").stdout)
    return script


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ginkgo-exporter no", {"nodes"}),
        ("ginkgo-exporter --redis.ti", {"--redis.timeout"}),
        ("ginkgo-exporter nodes --out", {"--output"}),
        ("ginkgo-exporter nodes --output ", {"table", "json", "csv"}),
        ("ginkgo-exporter nodes --sort port", {"portfolios"}),
        ("ginkgo-exporter serve --log.level w", {"warning"}),
        ("ginkgo-exporter serve --config.file conft", {"conftest.py"}),
        ("ginkgo-exporter forget --offline", {"--offline-longer-than"}),
    ],
)
def test_bash_completes_commands_flags_choices_and_files(line: str, words: set[str], script: Path) -> None:
    assert completed(line, script) == words


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_too(shell: str) -> None:
    done = run("--print-completion", shell)
    assert done.returncode == 0
    assert "offline-longer-than" in done.stdout
