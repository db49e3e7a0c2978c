"""What the tests of the demo share: demos that end with the test."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers import Process, Series, free_port, series_of, wait_for


class Demo(Process):
    """``ginkgo-exporter demo`` as a process of its own, with a folder of its own for temporary files."""

    def __init__(self, folder: Path, *flags: str, address: bool = True, **options: Any) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.port = free_port()
        listen = ("--web.listen-address", f"127.0.0.1:{self.port}") if address else ()
        command = [sys.executable, "-m", "exporter", "demo", *listen, *flags]
        environment = {**os.environ, "TMPDIR": str(self.temporary)} | options.pop("variables", {})
        super().__init__(command, folder / "demo.log", env=environment, **options)

    def series(self) -> Series:
        """The series of a scrape; none while the exporter is not there."""
        assert self.alive, self.output()
        try:
            return series_of(get(f"http://127.0.0.1:{self.port}/metrics").encode())
        except OSError:
            return {}

    def told(self, *texts: str, patience: float = 60) -> None:
        """Wait until it has printed these texts in this order."""

        def all_there() -> bool:
            assert self.alive, self.output()
            output, at = self.output(), 0
            for text in texts:
                at = output.find(text, at) + 1
                if not at:
                    return False
            return True

        wait_for(all_there, f"for {texts} in\n{self.output()}", patience)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def assert_nothing_is_left(self, children: list[psutil.Process]) -> None:
        wait_for(lambda: all(has_ended(child) for child in children), f"for {children} to end")
        wait_for(lambda: not list(self.temporary.iterdir()), "for the folder to go")


def has_ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def get(url: str) -> str:
    import urllib.request

    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - addresses of this test's own servers
        text: str = answer.read().decode()
        return text


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Start demos, and end those that a test leaves."""
    started: list[Demo] = []

    def start(*flags: str, **options: Any) -> Demo:
        started.append(Demo(tmp_path / f"demo{len(started)}", *flags, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop(signal.SIGKILL)
