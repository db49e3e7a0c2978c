"""``python -m lab.bench.footprint``: start, memory and scrapes at few nodes, beside a plain script, in Markdown.

Both programs start in turns against the same Redis. The CPU time of a process is its user and system time, so that
other programs on the machine disturb it less than they disturb the wall time. The goals are ratios, because both
programs run on the same machine at the same time.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from lab.bench import servers
from lab.bench.nodes import Nodes
from lab.bench.scrape import HttpScraper

OURS, SCRIPT = "ginkgo-exporter", "plain script"
NODES: Final = 5
STARTS: Final = 7
"""Starts of each program, whose median is taken."""
SCRAPES: Final = 60
_PATIENCE: Final = 30.0  # seconds until a program shows its nodes
_PAUSE: Final = 0.005  # seconds between two attempts
_MIB: Final = 2**20


@dataclass
class Starts:
    """The measurements of one program; each list holds a value for each start.

    Attributes:
        wall: Seconds from the start until the first scrape that shows all nodes.
        cpu: Seconds of CPU time until then.
        memory: Resident bytes after ``SCRAPES`` scrapes.
        scrape_cpu: Seconds of CPU time of one scrape.
        scrape_wall: Seconds of one scrape, the median of this start.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    scrape_cpu: list[float] = field(default_factory=list)
    scrape_wall: list[float] = field(default_factory=list)

    def measure(self, program: servers.Program, nodes: Nodes) -> None:
        """Measure a program that has just been started, and stop it."""
        scraper = HttpScraper(program.port)
        try:
            self.wait_for_nodes(program, scraper, len(nodes.names))
            before, times = program.cpu_seconds, []
            for _ in range(SCRAPES):
                begin = time.perf_counter()
                scraper.scrape()
                times.append(time.perf_counter() - begin)
            self.scrape_cpu.append((program.cpu_seconds - before) / SCRAPES)
            self.scrape_wall.append(median(times))
            self.memory.append(program.resident_memory)
        finally:
            scraper.close()
            program.stop()

    def wait_for_nodes(self, program: servers.Program, scraper: HttpScraper, count: int) -> None:
        """Scrape until all nodes are there, and record how long that took.

        Raises:
            BenchmarkError: They are not there in time.
        """
        while bytes(scraper.scrape()).count(b"\nginkgo_node_up{") < count:
            if time.monotonic() > program.started + _PATIENCE:
                raise servers.BenchmarkError(f"no nodes after {_PATIENCE:.0f} s")
            time.sleep(_PAUSE)
        self.wall.append(time.monotonic() - program.started)
        self.cpu.append(program.cpu_seconds)


@dataclass(frozen=True)
class Row:
    """One line of the table: a value of each program, and the goal for their ratio."""

    title: str
    ours: float
    script: float
    goal: str
    form: str

    @property
    def line(self) -> str:
        """The line in Markdown."""
        ratio = f"{self.ours / self.script:.2f}" if self.script else ""
        return f"| {self.title} | {self.ours:{self.form}} | {self.script:{self.form}} | {ratio} | {self.goal} |"


def starts(count: int, rounds: int) -> list[Row]:
    """Start both programs in turns, and return what their starts, their memory and their scrapes cost.

    The first start may have to make bytecode. It is left out if there are more than one.
    """
    ours, script = Starts(), Starts()
    with ExitStack() as stack:
        stack.enter_context(servers.beside_redis())
        redis = servers.RedisServer()
        stack.callback(redis.stop)
        redis.pin()
        nodes = Nodes(count, redis.port)
        stack.callback(nodes.close)
        for number in range(_with_first(rounds)):
            for taken, start in ((ours, servers.exporter), (script, servers.script)):
                nodes.beat()
                (taken if _counts(number, rounds) else Starts()).measure(start(redis.port), nodes)
    return [
        Row(f"resident memory after {SCRAPES} scrapes, MiB", *_pair(ours.memory, script.memory, _MIB), "≤ 1.25", ".1f"),
        Row("CPU until the first scrape with nodes, ms", *_pair(ours.cpu, script.cpu, 1e-3), "≤ 1.8", ".0f"),
        Row("time until then, ms", *_pair(ours.wall, script.wall, 1e-3), "≤ 1.6", ".0f"),
        Row("CPU of a scrape, ms", *_pair(ours.scrape_cpu, script.scrape_cpu, 1e-3), "≤ 1.2", ".2f"),
        Row("time of a scrape, ms", *_pair(ours.scrape_wall, script.scrape_wall, 1e-3), "≤ 1.2", ".2f"),
    ]


def commands(rounds: int) -> list[Row]:
    """Run short commands in turns with a Python that only imports prometheus_client, and return their CPU time."""
    runs: dict[str, list[str]] = {
        "import": [sys.executable, "-c", "import prometheus_client"],
        "--help": [sys.executable, "-m", "exporter", "--help"],
        "--version": [sys.executable, "-m", "exporter", "--version"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(_with_first(rounds)):
        for name, command in runs.items():
            spent = _cpu_of(command)
            if _counts(number, rounds):
                seconds[name].append(spent)
    return [
        Row(
            f"CPU of `{name}` (script: `import prometheus_client`), ms",
            *_pair(seconds[name], seconds["import"], 1e-3),
            "≤ 1.5",
            ".0f",
        )
        for name in ("--help", "--version")
    ]


def _with_first(rounds: int) -> int:
    return rounds + 1 if rounds > 1 else rounds


def _counts(number: int, rounds: int) -> bool:
    return number > 0 or rounds == 1


def _pair(ours: Sequence[float], script: Sequence[float], unit: float) -> tuple[float, float]:
    return median(ours) / unit, median(script) / unit


def _cpu_of(command: Sequence[str]) -> float:
    """Run a command without its output, and return its CPU time in seconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=servers.with_bytecode())
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise servers.BenchmarkError(f"{command} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def table(count: int, rounds: int) -> str:
    """Measure all, and return the table in Markdown.

    Args:
        count: The number of nodes.
        rounds: Starts of each program.
    """
    rows = [*starts(count, rounds), *commands(rounds)]
    head = f"| {count} nodes, medians of {rounds} starts | {OURS} | {SCRIPT} | ratio | goal |\n|---|---|---|---|---|"
    return "\n".join((head, *(row.line for row in rows)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.footprint", description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES, help=f"nodes [{NODES}]")
    parser.add_argument("--starts", type=int, default=STARTS, help=f"starts of each program [{STARTS}]")
    arguments = parser.parse_args()
    servers.end_on_sigterm()
    print(table(arguments.nodes, arguments.starts), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
