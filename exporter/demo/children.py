"""The programs that the demo starts, and their folder. They end with the demo, also when it is killed."""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from exporter.errors import ExporterError

_GUARD: Final = """
trap '' HUP INT TERM
while read -r word; do
    case $word in
        end) pids= ;;
        *) pids="$pids $word" ;;
    esac
done
[ -n "$pids" ] && kill -9 $pids 2>/dev/null
rm -rf -- "$1"
"""
"""A shell script. It reads process ids until the demo has ended, also by SIGKILL. Then it kills these processes and
removes the folder."""
_READY: Final = 20.0
"""Seconds that a program has to get ready."""
_STOP: Final = 3.0
"""Seconds that a program has to stop."""
_POLL: Final = 0.05
"""Seconds between two checks of a program."""


def free_port(preferred: int = 0, host: str = "127.0.0.1") -> int:
    """Return a free port: the preferred one if it is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise ExporterError(f"no port is free on {host}")


class Child:
    """A running program of the demo. Its output goes to a file."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.name = name
        self._process = process
        self._output = output

    async def ready(self, answers: Callable[[], bool]) -> None:
        """Wait until the program answers.

        Args:
            answers: Returns whether the program answers.

        Raises:
            ExporterError: The program ended, or did not answer in time.
        """
        deadline = time.monotonic() + _READY
        while not await asyncio.to_thread(answers):
            self._raise_if_ended()
            if time.monotonic() > deadline:
                raise ExporterError(f"{self.name} did not get ready within {_READY:.0f} s")
            await asyncio.sleep(_POLL)

    async def ended(self) -> None:
        """Wait until the program ends by itself, and then raise ExporterError."""
        while True:
            self._raise_if_ended()
            await asyncio.sleep(_POLL)

    async def stop(self) -> None:
        """Stop the program with SIGTERM. If it does not end in time, kill it."""
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, _STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    def _raise_if_ended(self) -> None:
        if self._process.poll() is not None:
            lines = self._output.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
            raise ExporterError(f"{self.name} ended: {last}")


class Children:
    """Starts programs, and stops them in reverse order when its block ends.

    Each program runs in a session of its own. So Ctrl-C reaches only the demo, and the demo stops the
    programs in order. If the demo is killed, a shell that waits for the end of a pipe kills the programs and
    removes the folder.

    Args:
        logs: Folder for the programs' output; None for a temporary folder.
    """

    def __init__(self, logs: Path | None = None) -> None:
        self._logs = logs
        self._folder: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._all: list[Child] = []

    @property
    def folder(self) -> Path:
        """The programs' temporary folder. It is made at the first use and removed at the end.

        Raises:
            ExporterError: The folder cannot be made.
        """
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="ginkgo-demo-"))
            except OSError as error:
                raise ExporterError(f"no temporary folder can be made: {error.strerror}") from None
            self._guard = subprocess.Popen(  # noqa: S603 - a fixed program
                ("/bin/sh", "-c", _GUARD, "ginkgo-demo-guard", self._folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._folder

    @property
    def logs(self) -> Path | None:
        """The folder of the programs' output; None if no program was started."""
        return (self._logs or self._folder) if self._all else None

    def start(self, name: str, *command: str | Path) -> Child:
        """Start a program. Its output goes to ``NAME.log``.

        Raises:
            ExporterError: The program cannot be started.
        """
        folder = self.folder
        output = (self._logs or folder) / f"{name}.log"
        try:
            with output.open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - fixed programs
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True
                )
        except OSError as error:
            raise ExporterError(f"{name} cannot be started: {error.filename}: {error.strerror}") from None
        self._to_guard(str(process.pid))
        child = Child(name, process, output)
        self._all.append(child)
        return child

    async def first_to_end(self) -> None:
        """Wait until a program ends by itself, and then raise ExporterError."""
        await asyncio.gather(asyncio.Event().wait(), *(child.ended() for child in self._all))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._all):
            await child.stop()
        self._to_guard("end")
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            await asyncio.to_thread(self._guard.wait)

    def _to_guard(self, word: str) -> None:
        if self._guard and self._guard.stdin:
            self._guard.stdin.write(word.encode() + b"\n")
            self._guard.stdin.flush()
