"""A newcomer who has read only the documents: a shell, a fresh environment, and servers for the examples' addresses."""

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.servers import Process, free_port
from packages import OFFLINE, ROOT

PATIENCE = 60.0
"""Seconds until a newcomer gives up."""
PROGRAMS = (
    *("amtool", "apt-get", "curl", "docker", "eval", "export", "ginkgo-exporter", "helm", "htpasswd", "kubectl"),
    *("make", "npm", "pip", "promtool", "python", "redis-cli", "sed", "systemctl"),
)
"""First words of commands that stand in a sentence."""
DOCUMENTS = (
    "README.md",
    *(
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if ".zh" not in path.suffixes
    ),
)
"""The documents whose commands and blocks are tried. Chinese ones have the same, as another test checks."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str

    def commands(self) -> Iterator[str]:
        """Yield the commands of a shell block: without comments, continued lines joined."""
        for line in re.sub(r"\s*\\\n\s*", " ", self.text).splitlines():
            if command := re.sub(r"(^|\s+)#.*", "", line):
                yield command


def blocks(*documents: str) -> list[Block]:
    text = "\n".join((ROOT / document).read_text(encoding="utf-8") for document in documents)
    return [Block(*parts) for parts in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(*documents: str) -> list[str]:
    """Return the commands of documents in their order, from blocks and from text, each once."""
    places = re.compile(rf"^```(\w*)\n(.*?)^```$|`((?:{'|'.join(PROGRAMS)}) [^`]+)`", re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for document in documents:
        for language, block, inline in places.findall((ROOT / document).read_text(encoding="utf-8")):
            if inline:
                found.append(" ".join(inline.split()))
            elif language == "sh":
                found += Block(language, block).commands()
    return list(dict.fromkeys(found))


INSTALL, SERVE, EXPORT = (
    next(line for line in commands(*DOCUMENTS) if line.startswith(start))
    for start in ("pip install", "ginkgo-exporter --redis.url", "export")
)
"""The commands that install the exporter, serve, and set a variable."""


def get(url: str) -> str:
    """Return the text served at an address; an empty text while no server answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - addresses of the test's own servers
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


class Reader:
    """Types the documents' commands without a change.

    Args:
        folder: The reader's current folder: a checkout.
        programs: The folder of programs of the reader's environment.
        places: This machine's address for each address of the examples.
        environment: Further variables of the reader's shell.
    """

    def __init__(self, folder: Path, programs: Path, places: dict[str, str], **environment: str) -> None:
        self.folder, self.places = folder, places
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**kept, "PATH": path, **OFFLINE, **environment}

    def here(self, text: str) -> str:
        """Return a text with this machine's addresses in place of the examples' addresses."""
        for example, ours in self.places.items():
            text = text.replace(example, ours)
        return text

    def types(self, command: str) -> str:
        """Run a command to its end, which must be exit code 0, and return its output.

        Variables that it exports stay set for later commands.
        """
        if command.startswith("export "):
            self.environment |= [self.here(command).removeprefix("export ").split("=", 1)]
        shell = ["bash", "-c", self.here(command)]
        done = subprocess.run(
            shell,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout

    @contextmanager
    def keeps_running(self, command: str, log: Path) -> Iterator[tuple[Process, str]]:
        """Run a command until Ctrl-C; lend it with the address at which it serves."""
        address = f"127.0.0.1:{free_port()}"
        environment = {**self.environment, "GINKGO_EXPORTER_WEB_LISTEN_ADDRESS": address}
        if command.startswith("make"):  # typed in another shell, in which nothing was exported
            environment.pop("GINKGO_EXPORTER_REDIS_URL", None)
        shell = ["bash", "-c", self.here(command)]
        process = Process(shell, log, cwd=self.folder, env=environment, start_new_session=True)
        try:
            yield process, f"http://{address}"
            assert process.alive, process.output()
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            # make says by its own code that it was interrupted
            assert process.wait() in ((0, 2, -signal.SIGINT) if command.startswith("make") else (0,)), process.output()
            assert "Traceback" not in process.output()
        finally:
            if process.alive:
                os.killpg(process.pid, signal.SIGTERM)
                process.stop()
