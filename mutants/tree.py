"""A copy of the working tree in which tests run against a module's mutants."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Final

import psutil

_LEFT_OUT: Final = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "build", "dist", "node_modules", "__pycache__"
)
_PYTEST: Final = (
    sys.executable,
    *("-m", "pytest", "-x", "-q", "--no-header", "--failed-first"),
    *("-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin", "-p", "no:xdist"),
)


class Outcome(Enum):
    """What the tests say of a mutant."""

    CAUGHT = "caught"
    ENDLESS = "stopped at the timeout"
    SURVIVED = "survived"


class Tree:
    """A copy of the tree, for one mutant at a time.

    The mutant is a file on disk, so that programs which the tests start run it as well.

    Args:
        root: The tree to copy.
        folder: Where the copy goes; it must not exist.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._folder = folder
        self._times = count(int(time.time()) + 1)
        shutil.copytree(root, folder, ignore=_LEFT_OUT)

    def run(self, module: str, text: str, tests: Sequence[str], timeout: float) -> Outcome:
        """Return what the tests say of a module with another text; the module's own text is back afterwards.

        Args:
            module: The module's path below the root.
            text: The module's text.
            tests: Paths of tests below the root.
            timeout: Seconds after which the tests are stopped.
        """
        path = self._folder / module
        own = path.read_text(encoding="utf-8")
        try:
            self._write(path, text)
            return self._test(tests, timeout)
        finally:
            self._write(path, own)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Python takes bytecode for current if the source's whole second and size are the same.
        moment = next(self._times)
        os.utime(path, (moment, moment))

    def _test(self, tests: Sequence[str], timeout: float) -> Outcome:
        process = subprocess.Popen(  # noqa: S603 - pytest
            [*_PYTEST, f"--basetemp={self._folder}/.tmp", *tests],
            cwd=self._folder,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return Outcome.CAUGHT if process.wait(timeout) else Outcome.SURVIVED
        except subprocess.TimeoutExpired:
            return Outcome.ENDLESS
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, if it still runs, with the servers that its tests started."""
    if process.poll() is None:
        for each in (*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)):
            try:
                each.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        process.wait()
