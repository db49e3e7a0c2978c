"""Demos for the tests: each a process of its own, with a folder of its own for temporary files."""

import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from lab.servers import Process, free_port, wait_for

FAST = ("--fast",)

Samples = dict[tuple[str, str], float]
"""Values by the sample's name and the node."""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - addresses of this test's own servers
        text: str = answer.read().decode()
        return text


def scrape(port: int) -> Samples:
    try:
        text = get(f"http://127.0.0.1:{port}/metrics")
    except OSError:
        return {}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, s.labels["node_id"]): s.value for s in samples if "node_id" in s.labels}


class Demo(Process):
    """``ginkgo-exporter demo`` as a process of its own, with a folder of its own for temporary files."""

    def __init__(self, folder: Path, *flags: str, address: bool = True, **options: Any) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.port = free_port()
        listen = ("--web.listen-address", f"127.0.0.1:{self.port}") if address else ()
        command = [sys.executable, "-m", "exporter", "demo", *listen, *flags]
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        super().__init__(command, folder / "demo.log", env=environment, **options)

    def metrics(self) -> Samples:
        """The per-node samples of a scrape; none while the exporter is not there."""
        if not self.alive:
            raise AssertionError(self.output())
        return scrape(self.port)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)


def ended(processes: list[psutil.Process]) -> bool:
    """Whether all these processes have ended. A zombie counts as ended."""
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            pass
    return True


def assert_nothing_is_left(demo: Demo, children: list[psutil.Process]) -> None:
    assert children, "else this looks at nothing"
    wait_for(lambda: ended(children), f"for {children} to end")
    wait_for(lambda: not list(demo.temporary.iterdir()), "for the folder to go")
