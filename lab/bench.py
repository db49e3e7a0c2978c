"""``make bench``: what a scrape costs, beside plain ways and beside Redis's own part.

All ways are measured in turns, in random order, and a ratio is the median of the ratios of single rounds, so that
other programs on the machine disturb all ways alike. Redis has the first core for itself; all others share the rest.

With ``--trees`` it shows what a change costs or buys: ``git worktree add ../without``, take something out there, and
run ``python -m lab bench --trees . ../without``. The first tree is the reference.
"""

import argparse
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import hiredis

from exporter.contract import FIELDS
from lab.platform import ManyNodes
from lab.servers import ROOT, Process, RedisServer, free_port, wait_for

_SAMPLES: Final = 8  # of each node; a body with fewer samples is no whole scrape
_READ: Final = 1 << 20
_CHUNK: Final = 500
_MARK: Final = b"end of the replies to this chunk"
_CORES: Final = sorted(os.sched_getaffinity(0))
_COLUMNS: Final = (
    *("one whole scrape", "ms, median (quartiles)", "rounds", "times the floor", "times ours", "CPU, ms"),
    *("longest block of Redis, ms", "peak MiB"),
)


class HttpScraper:
    """Scrapes over one connection that is kept open, as Prometheus does.

    Args:
        port: The exporter's port.
        encoding: The accepted encoding.
    """

    def __init__(self, port: int, encoding: str = "identity") -> None:
        self._connection, self._headers = HTTPConnection("127.0.0.1", port, timeout=600), {"Accept-Encoding": encoding}
        self.close = self._connection.close

    def scrape(self) -> bytes:
        """Scrape, and return the body.

        Raises:
            RuntimeError: The status is not 200.
        """
        self._connection.request("GET", "/metrics", headers=self._headers)
        reply = self._connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"HTTP {reply.status}")
        return body


class Floor:
    """Sends the exporter's own requests chunk by chunk, each before the replies to the one before; drops the replies.

    An ECHO after each chunk marks the end of its replies, so that they need not be parsed.
    """

    def __init__(self, redis_port: int, names: Sequence[bytes]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", redis_port))
        self.close = self._socket.close
        chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
        self._requests = [_packed([(b"INFO",)]), *map(_request, chunks)]

    def scrape(self) -> bytes:
        """Read all nodes once; return an empty body."""
        self._socket.sendall(self._requests[0])
        tail = b""
        for number in range(len(self._requests)):
            for request in self._requests[number + 1 : number + 2]:
                self._socket.sendall(request)
            while _MARK not in tail:
                tail = tail[-len(_MARK) :] + self._socket.recv(_READ)
            tail = tail.split(_MARK, 1)[1]
        return b""


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
        program: The scraped program; None for the floor.
        blocks: The longest time that Redis was blocked during each scrape.
    """

    name: str
    scraper: HttpScraper | Floor
    program: Process | None = None
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)

    def line(self, floor: "Way", ours: "Way") -> str:
        """Return its line of the table."""
        milliseconds = [second * 1e3 for second in self.seconds]
        low, _, high = quantiles(milliseconds, n=4)
        times = [median(map(float.__truediv__, self.seconds, other.seconds)) for other in (floor, ours)]
        peak = f"{self.program.memory('VmHWM') / 2**20:,.0f}" if self.program else ""
        return (
            f"| {self.name} | {median(milliseconds):,.1f} ({low:,.1f} to {high:,.1f}) | {len(milliseconds)} |"
            f" {times[0]:.2f} | {times[1]:.2f} | {median(self.cpu) * 1e3:,.1f} |"
            f" {median(self.blocks) * 1e3:,.2f} | {peak} |"
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
        self.redis = RedisServer(self._new_folder(), "redis-server", "--enable-debug-command", "local")
        stack.callback(self.redis.kill)
        for thread in Path(f"/proc/{self.redis.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), _CORES[:1])
        self.control = self.redis.client()
        if others:
            self.control.execute_command("DEBUG", "POPULATE", others, "ginkgo_func_cache_", 100)
        self.nodes = stack.enter_context(ManyNodes(self.redis.port, nodes, portfolios))
        floor = Floor(self.redis.port, self.nodes.names)
        stack.callback(floor.close)
        self.ways = [Way("the floor: bytes read, not parsed", floor)]

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))

    def add(self, name: str, port: int, *command: str, tree: Path = ROOT, gzip: bool = False) -> None:
        """Start a program that serves metrics on a port, and scrape it until all nodes are there."""
        # Python keeps its bytecode, as an installation does.
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        program = Process(command, self._new_folder() / "log", cwd=tree, env=environment | {"PYTHONPATH": str(tree)})
        self._stack.callback(program.kill)
        scraper = HttpScraper(port, "gzip" if gzip else "identity")
        self._stack.callback(scraper.close)
        self.ways.append(Way(name, scraper, program))

        def whole() -> bool:
            self.nodes.beat()
            scraper.close()  # an attempt that failed leaves its request behind
            with suppress(OSError):
                body = scraper.scrape()
                samples = body.count(b"\n") - body.count(b"# ")
                return gzip or samples >= _SAMPLES * len(self.nodes.names)
            return False

        wait_for(whole, f"for {name}", 300)

    def add_exporter(self, name: str, tree: Path = ROOT, *, gzip: bool = False) -> None:
        """Add ginkgo-exporter from a working tree."""
        port = free_port()
        flags = (f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--redis.timeout=60s")
        command = (sys.executable, "-m", "exporter", f"--redis.url={self.redis.url}", *flags)
        self.add(name, port, *command, tree=tree, gzip=gzip)

    def add_plain_ways(self) -> None:
        """Add redis_exporter with a Lua script that returns the same values, and the plain script."""
        port, lua = free_port(), ROOT / "lab" / "nodes.lua"
        flags = (f"-redis.addr={self.redis.url}", f"-web.listen-address=127.0.0.1:{port}", f"-script={lua}")
        more = ("-connection-timeout=600s", "-log-format=txt", "-is-tile38=false", "-exclude-latency-histogram-metrics")
        self.add("redis_exporter with Lua", port, "prometheus-redis-exporter", *flags, *more)
        port = free_port()
        self.add("a plain script", port, sys.executable, "-m", "lab.script", str(self.redis.port), str(port))

    def measure(self, rounds: int) -> Iterator[str]:
        """Scrape all ways in turns, with nodes that have just beaten, and yield the lines of the table."""
        for _ in range(rounds):
            for way in random.sample(self.ways, len(self.ways)):
                self.nodes.beat()
                self.control.config_resetstat()
                before, start = way.program.cpu_seconds if way.program else 0.0, time.perf_counter()
                way.scraper.scrape()
                way.seconds.append(time.perf_counter() - start)
                way.cpu.append((way.program.cpu_seconds if way.program else 0.0) - before)
                way.blocks.append(float(self.control.info("debug")["eventloop_duration_max"]) / 1e6)
        yield head(*_COLUMNS)
        for way in self.ways:
            yield way.line(*self.ways[:2])


def head(*columns: str) -> str:
    """Return the head of a table."""
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def tables(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Measure each number of nodes, and yield the lines of all tables."""
    for nodes in arguments.nodes:
        with ExitStack() as stack:
            stand = Stand(folder, stack, nodes, arguments.portfolios, arguments.others)
            for tree in arguments.trees:
                stand.add_exporter(tree.resolve().name, tree.resolve())
            if not arguments.trees:
                stand.add_exporter("**ginkgo-exporter**")
                stand.add_exporter("ginkgo-exporter, gzip", gzip=True)
                stand.add_plain_ways()
            yield f"\n### {nodes:,} nodes{f' beside {arguments.others:,} other keys' if arguments.others else ''}\n"
            yield from stand.measure(arguments.rounds)


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
    for line in tables(arguments, folder):
        print(line, flush=True)  # noqa: T201
    return True
