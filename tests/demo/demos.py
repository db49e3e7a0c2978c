"""Demos for the tests: each a process of its own, with a folder of its own for temporary files."""

import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from lab.servers import Process, Series, free_port, series_of, wait_for


class Demo(Process):
    """``ginkgo-exporter demo``."""

    def __init__(self, folder: Path, *flags: str, **options: Any) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.port = free_port()
        listen = () if "--web.listen-address" in flags else ("--web.listen-address", f"127.0.0.1:{self.port}")
        command = [sys.executable, "-m", "exporter", "demo", *listen, *flags]
        super().__init__(command, folder / "demo.log", env={**os.environ, "TMPDIR": str(self.temporary)}, **options)

    def series(self) -> Series:
        """The series of a scrape; none while the exporter is not there."""
        assert self.alive, self.output()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                return series_of(answer.read())
        except OSError:
            return {}

    def tells(self, *texts: str, patience: float = 60) -> str:
        """Wait until it has printed these texts in this order; return what follows the last one."""

        def rest() -> str | None:
            assert self.alive, self.output()
            left = self.output()
            for text in texts:
                _, found, left = left.partition(text)
                if not found:
                    return None
            return left or None

        return wait_for(rest, f"for {texts}", patience)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def leaves_nothing(self, children: list[psutil.Process]) -> None:
        wait_for(lambda: all(map(has_ended, children)), f"for {children} to end")
        wait_for(lambda: not list(self.temporary.iterdir()), "for the folder to go")
        assert "Traceback" not in self.output()


def has_ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
