"""``python -m lab.bench.idle [TREE…]``: what the exporter costs while nobody scrapes.

Five nodes beat every ten seconds. For half a minute, Redis counts the exporter's commands, and the kernel its CPU
time. Each exporter has a Redis of its own, so all are measured at the same time.
"""

import argparse
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from lab.bench import servers
from lab.bench.nodes import Nodes

NODES: Final = 5
BEAT: Final = 10.0
"""Seconds between two beats of a node."""
SETTLE: Final = 35.0
"""Seconds from the start of an exporter until it is measured: by then, it has read each node at a deadline once."""
SECONDS: Final = 30.0
GOALS: Final = {False: 1.5, True: 3.0}
"""The most commands a second, without push and with it."""
CPU_GOAL: Final = 0.10
"""The most CPU, in percent of one core."""
COLUMNS: Final = ("nobody scrapes, 5 nodes", "commands a second", "goal", "CPU", "goal", "each command, a second")
_OF_NODES: Final = ("setex", "hset")  # the nodes' own commands


class _Alertmanager(BaseHTTPRequestHandler):
    """Accepts all posts."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer as an Alertmanager that accepts."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


@dataclass
class Idle:
    """An exporter that nobody scrapes, and its measurements.

    Attributes:
        name: Its name in the report.
        push: Whether it pushes to an Alertmanager.
        commands: Its commands a second, by name.
        cpu: Its CPU time in percent of one core.
    """

    name: str
    push: bool
    redis: servers.RedisServer
    program: servers.Program
    nodes: Nodes
    commands: dict[str, float] = field(default_factory=dict)
    cpu: float = 0.0
    _before: tuple[float, float, Counter[str]] = (0.0, 0.0, Counter())

    def begin(self) -> None:
        """Begin to measure."""
        self._before = time.monotonic(), self.program.cpu_seconds, self._calls()

    def end(self) -> None:
        """End the measurement."""
        start, cpu, calls = self._before
        seconds = time.monotonic() - start
        self.cpu = (self.program.cpu_seconds - cpu) / seconds * 100
        counted = self._calls() - calls
        counted["info"] -= 1  # the one that counted before
        self.commands = {name: count / seconds for name, count in counted.most_common() if count > 0}

    def _calls(self) -> Counter[str]:
        """Return how often Redis has run each command, except the nodes' own."""
        statistics = self.redis.client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in statistics.items()}
        return Counter({name: count for name, count in calls.items() if name not in _OF_NODES})

    @property
    def line(self) -> str:
        """The line of the table."""
        each = ", ".join(f"{name} {rate:.2f}" for name, rate in self.commands.items())
        total = sum(self.commands.values())
        goals = f"≤ {GOALS[self.push]:g} | {self.cpu:.3f} % | ≤ {CPU_GOAL:.2f} %"
        return f"| {self.name} | {total:.2f} | {goals} | {each} |"


def idle_exporter(stack: ExitStack, *, push: bool, tree: Path | None = None) -> Idle:
    """Start an exporter with a Redis and nodes of its own; ``stack`` ends them.

    Args:
        stack: What ends them.
        push: Whether the exporter pushes to an Alertmanager.
        tree: The exporter's working tree; None for this one.
    """
    redis = servers.RedisServer()
    stack.callback(redis.stop)
    nodes = Nodes(NODES, redis.port)
    stack.callback(nodes.close)
    nodes.beat()
    flags = []
    if push:
        receiver = ThreadingHTTPServer(("127.0.0.1", 0), _Alertmanager)
        stack.callback(receiver.server_close)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        stack.callback(receiver.shutdown)
        flags = [f"--alertmanager.url=http://127.0.0.1:{receiver.server_port}"]
    program = servers.exporter(redis.port, *flags, tree=tree)
    stack.callback(program.stop)
    name = f"{tree.name}, " if tree else ""
    return Idle(name + ("with push" if push else "without push"), push, redis, program, nodes)


def measure(seconds: float = SECONDS, settle: float = SETTLE, trees: Sequence[Path] = ()) -> list[Idle]:
    """Measure an exporter without push and one with push.

    Args:
        seconds: Length of the measurement.
        settle: Seconds from the start of the exporters to the start of the measurement.
        trees: Working trees whose exporters are measured; none for this one.
    """
    with ExitStack() as stack:
        idle = [idle_exporter(stack, push=push, tree=tree) for tree in trees or (None,) for push in (False, True)]
        _live(idle, settle)
        for each in idle:
            each.begin()
        _live(idle, seconds)
        for each in idle:
            each.end()
    return idle


def _live(idle: Sequence[Idle], seconds: float) -> None:
    """Let all nodes beat for some seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for each in idle:
            each.nodes.beat()
        time.sleep(min(BEAT, left))


def table(idle: Sequence[Idle]) -> str:
    """Return the table of the report."""
    return "\n".join((f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *(each.line for each in idle)))


def main() -> None:
    """Measure the trees that the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.idle", description=__doc__)
    parser.add_argument("trees", nargs="*", type=Path, help="working trees [this one]")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"seconds of the measurement [{SECONDS:g}]")
    parser.add_argument("--settle", type=float, default=SETTLE, help=f"seconds before it [{SETTLE:g}]")
    arguments = parser.parse_args()
    servers.end_on_sigterm()
    trees = [tree.resolve() for tree in arguments.trees]
    print(table(measure(arguments.seconds, arguments.settle, trees)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
