"""``make bench``: what a scrape, a start and an idle exporter cost, beside plain ways and beside Redis's own part.

All ways are measured in turns, in random order, and a ratio is the median of the ratios of single rounds, so that
other programs on the machine disturb all ways alike. Redis has the first core for itself; all others share the rest.

With ``--trees`` it shows what a change costs or buys: ``git worktree add ../without``, take something out there, and
run ``python -m lab bench --trees . ../without``. The first tree is the reference, and only scrapes are measured.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import hiredis

from exporter.contract import FIELDS
from lab.fakes import FakeAlertmanager
from lab.platform import ManyNodes
from lab.servers import ROOT, Process, RedisServer, free_port, wait_for

_SAMPLES: Final = 8  # of each node; a body with fewer samples is no whole scrape
_CHUNK: Final = 500
_MARK: Final = b"end of the replies to this chunk"
_CORES: Final = sorted(os.sched_getaffinity(0))
_COLUMNS: Final = "one whole scrape", "ms, median (quartiles)", "rounds", "times the floor", "times ours", "CPU, ms"
_MORE: Final = "longest block of Redis, ms", "peak MiB"


class Floor:
    """Sends the exporter's own requests chunk by chunk, each before the replies to the one before; drops the replies.

    An ECHO after each chunk marks the end of its replies, so that they need not be parsed.
    """

    cpu_seconds = 0.0

    def __init__(self, redis_port: int, names: Sequence[bytes]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", redis_port))
        self.close = self._socket.close
        chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
        self._requests = [_packed([(b"INFO",)]), *map(_request, chunks)]

    def memory(self, _: str) -> int:
        return 0

    def scrape(self) -> None:
        """Read all nodes once."""
        self._socket.sendall(self._requests[0])
        tail = b""
        for number in range(len(self._requests)):
            for request in self._requests[number + 1 : number + 2]:
                self._socket.sendall(request)
            while _MARK not in tail:
                tail = tail[-len(_MARK) :] + self._socket.recv(1 << 20)
            tail = tail.split(_MARK, 1)[1]


def _request(names: Sequence[bytes]) -> bytes:
    """Return the commands that read some nodes."""
    fields, beats = [field.encode() for field in FIELDS], [b"heartbeat:node:" + name for name in names]
    commands = [(b"HMGET", b"node:metrics:" + name, *fields) for name in names]
    return _packed([*commands, *((b"PTTL", beat) for beat in beats), *((b"GET", beat) for beat in beats)])


def _packed(commands: Sequence[tuple[bytes, ...]]) -> bytes:
    return b"".join(map(hiredis.pack_command, [*commands, (b"ECHO", _MARK)]))  # type: ignore[arg-type] # its stub is narrow


@dataclass
class Way:
    """One way to scrape, and its measurements; each list has one value for each round, in seconds.

    Attributes:
        program: What is scraped.
        blocks: The longest time that Redis was blocked during each scrape.
    """

    name: str
    scrape: Callable[[], object]
    program: Process | Floor
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)

    def line(self, floor: "Way", ours: "Way") -> str:
        """Return its line of the table."""
        milliseconds = [second * 1e3 for second in self.seconds]
        low, _, high = quantiles(milliseconds, n=4)
        times = [median(map(float.__truediv__, self.seconds, other.seconds)) for other in (floor, ours)]
        return (
            f"| {self.name} | {median(milliseconds):,.1f} ({low:,.1f} to {high:,.1f}) | {len(milliseconds)} |"
            f" {times[0]:.2f} | {times[1]:.2f} | {median(self.cpu) * 1e3:,.1f} |"
            f" {median(self.blocks) * 1e3:,.2f} | {self.program.memory('VmHWM') / 2**20:,.0f} |"
        )


class Stand:
    """A Redis with nodes, and the ways to scrape them.

    Args:
        folder: For the servers' data.
        stack: Stops all of them.
        nodes: Number of nodes.
        portfolios: Portfolios of each node.
        others: Other keys in the same Redis.
    """

    def __init__(self, folder: Path, stack: ExitStack, nodes: int, portfolios: int = 0, others: int = 0) -> None:
        self._folder, self._stack = folder, stack
        os.sched_setaffinity(0, _CORES[1:] or _CORES)
        stack.callback(os.sched_setaffinity, 0, _CORES)
        self.redis = RedisServer(folder, "redis-server", "--enable-debug-command", "local")
        stack.callback(self.redis.kill)
        for thread in Path(f"/proc/{self.redis.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), _CORES[:1])
        self.control = self.redis.client()
        if others:
            self.control.execute_command("DEBUG", "POPULATE", others, "ginkgo_func_cache_", 100)
        self.nodes = stack.enter_context(ManyNodes(self.redis.port, nodes, portfolios))
        floor = Floor(self.redis.port, self.nodes.names)
        stack.callback(floor.close)
        self.ways = [Way("the floor: bytes read, not parsed", floor.scrape, floor)]

    def add(self, name: str, port: int, *command: str, tree: Path = ROOT, encoding: str = "identity") -> Process:
        """Start a program that serves metrics on a port, scrape it until all nodes are there, and return it."""
        # Python keeps its bytecode, as an installation does.
        environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": ""}
        program = Process(command, self._folder / "log", cwd=tree, env=environment)
        self._stack.callback(program.kill)
        connection = HTTPConnection("127.0.0.1", port, timeout=600)
        self._stack.callback(connection.close)

        def scrape() -> bytes:
            connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
            reply = connection.getresponse()
            assert reply.status == 200
            return reply.read()

        self.ways.append(Way(name, scrape, program))

        def whole() -> bool:
            self.nodes.beat()
            connection.close()  # an attempt that failed leaves its request behind
            with suppress(OSError):
                body = scrape()
                samples = body.count(b"\n") - body.count(b"# ")
                return encoding == "gzip" or samples >= _SAMPLES * len(self.nodes.names)
            return False

        wait_for(whole, name, 300)
        return program

    def add_exporter(
        self, name: str = "**ginkgo-exporter**", *more: str, tree: Path = ROOT, encoding: str = "identity"
    ) -> Process:
        """Add ginkgo-exporter from a working tree, with more flags."""
        port = free_port()
        command = (
            sys.executable,
            "-m",
            "exporter",
            f"--redis.url={self.redis.url}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
            "--redis.timeout=60s",
        )
        return self.add(name, port, *command, *more, tree=tree, encoding=encoding)

    def add_redis_exporter(self) -> None:
        """Add redis_exporter with a Lua script that returns the same values."""
        port, lua = free_port(), ROOT / "lab" / "nodes.lua"
        self.add(
            "redis_exporter with Lua",
            port,
            "prometheus-redis-exporter",
            f"-redis.addr={self.redis.url}",
            f"-web.listen-address=127.0.0.1:{port}",
            f"-script={lua}",
            "-connection-timeout=600s",
            "-log-format=txt",
            "-is-tile38=false",
            "-exclude-latency-histogram-metrics",
        )

    def add_script(self) -> Process:
        """Add the plain script."""
        port = free_port()
        return self.add("a plain script", port, sys.executable, "-m", "lab.script", str(self.redis.port), str(port))

    def measure(self, rounds: int) -> Iterator[str]:
        """Scrape all ways in turns, with nodes that have just beaten, and yield the lines of the table."""
        for _ in range(rounds):
            for way in random.sample(self.ways, len(self.ways)):
                self.nodes.beat()
                self.control.config_resetstat()
                before, start = way.program.cpu_seconds, time.perf_counter()
                way.scrape()
                way.seconds.append(time.perf_counter() - start)
                way.cpu.append(way.program.cpu_seconds - before)
                way.blocks.append(float(self.control.info("debug")["eventloop_duration_max"]) / 1e6)
        yield head(*_COLUMNS, *_MORE)
        for way in self.ways:
            yield way.line(*self.ways[:2])


def head(*columns: str) -> str:
    """Return the head of a table."""
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def scrapes(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Measure each number of nodes, and yield the lines of all tables."""
    for nodes in arguments.nodes:
        with ExitStack() as stack:
            stand = Stand(folder, stack, nodes, arguments.portfolios, arguments.others)
            for tree in arguments.trees:
                stand.add_exporter(tree.resolve().name, tree=tree.resolve())
            if not arguments.trees:
                stand.add_exporter()
                stand.add_exporter("ginkgo-exporter, gzip", encoding="gzip")
                stand.add_redis_exporter()
                stand.add_script()
            yield f"\n### {nodes:,} nodes beside {arguments.others:,} other keys\n"
            yield from stand.measure(arguments.rounds)


def starts(folder: Path, count: int = 7) -> Iterator[str]:
    """Start the exporter and the plain script in turns, and yield the lines of the table."""
    with ExitStack() as stack:
        stand, found = Stand(folder, stack, 5), list[tuple[float, ...]]()
        for start in (stand.add_exporter, stand.add_script) * count:
            program = start()
            ready, cpu = time.monotonic() - program.started, program.cpu_seconds
            for _ in range(60):
                stand.ways[-1].scrape()
            found.append((ready * 1e3, cpu * 1e3, program.memory() / 2**20))
            program.kill()
    yield f"\n### 5 nodes, medians of {count} starts\n"
    yield head("", "ms until a whole scrape", "CPU until then, ms", "MiB after 60 scrapes")
    for name, rows in (("ginkgo-exporter", found[::2]), ("a plain script", found[1::2])):
        yield f"| {name} | {' | '.join(f'{median(column):,.0f}' for column in zip(*rows, strict=True))} |"


def idle(folder: Path, seconds: float = 30.0) -> Iterator[str]:
    """Let nobody scrape the exporter, and yield the lines of the table."""
    yield f"\n### 5 nodes, nobody scrapes for {seconds:g} s\n\n{head('', 'commands a second', 'its share of a core')}"
    with FakeAlertmanager() as alertmanager:
        for name, flags in (("without push", ()), ("with push", (f"--alertmanager.url={alertmanager.url}",))):
            with ExitStack() as stack:
                stand = Stand(folder, stack, 5)
                program = stand.add_exporter(name, *flags)
                stand.control.config_resetstat()
                cpu = program.cpu_seconds
                for _ in range(3):
                    stand.nodes.beat()
                    time.sleep(seconds / 3)
                cpu = program.cpu_seconds - cpu
                calls = stand.control.info("commandstats").items()
                # SET and HSET are the nodes' commands, and CONFIG RESETSTAT is the bench's.
                asked = sum(each["calls"] for command, each in calls if "set" not in command)
            yield f"| {name} | {asked / seconds:.2f} | {cpu / seconds:.2%} |"


def machine() -> str:
    """Return the date, the number of cores and their kind, and the versions of Python and Redis."""
    here = "date -I; echo $(nproc) cores; grep -m1 'model name' /proc/cpuinfo"
    return subprocess.getoutput(f"{here}; {sys.executable} --version; redis-server --version").replace("\n", ", ")  # noqa: S605


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command line."""
    parser.add_argument("--rounds", type=int, default=15, help="rounds, two at least [%(default)s]")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10_000], help="numbers of nodes [%(default)s]")
    parser.add_argument("--others", type=int, default=0, help="keys of others beside those nodes [0]")
    parser.add_argument("--portfolios", type=int, default=0, help="portfolios of each node [0]")
    parser.add_argument(
        "--trees", type=Path, nargs="+", default=[], help="measure the exporters of these working trees"
    )


def run(arguments: argparse.Namespace, folder: Path, _: ExitStack) -> bool:
    """Print all figures, and return True."""
    rest = [] if arguments.trees else [starts(folder), idle(folder)]
    for lines in ([machine()], scrapes(arguments, folder), *rest):
        for line in lines:
            print(line, flush=True)  # noqa: T201
    return True
