"""``make bench``: what a scrape, a start and an idle exporter cost, beside plain ways and beside Redis's own part.

All ways are measured in turns, and a ratio is the median of the ratios of single rounds, so that other programs on the
machine disturb all ways alike. Redis has the first core for itself; all other programs share the others.
"""

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from exporter.demo.platform import BEAT
from lab.fakes import FakeAlertmanager
from lab.platform import ManyNodes
from lab.scraper import Floor, HttpScraper, timed
from lab.servers import ROOT, Process, RedisServer, free_port, wait_for

FLOOR: Final = "the floor: bytes read, not parsed"
OURS: Final = "**ginkgo-exporter**"
SCRAPERS: Final = 10
STARTS: Final = 7
SCRAPES: Final = 60
SETTLE: Final = 35.0
"""Seconds from an exporter's start until it is idle: by then it has read each node at a deadline once."""
_SLOW: Final = 10.0  # seconds: a way that takes longer is measured in a third of the rounds
_SAMPLES: Final = 8  # of each node; a body with fewer samples is no whole scrape
_CORES: Final = sorted(os.sched_getaffinity(0))
_PUSH: Final = ("without push", "with push")
_OF_NODES: Final = ("set", "hset", "setex")
_COLUMNS: Final = (
    *("one whole scrape", "ms, median (quartiles)", "rounds", "times the floor", "times ours", "CPU, ms"),
    *("longest block of Redis, ms", "peak MiB"),
)


class Redis(RedisServer):
    """A Redis on a core of its own, which measures what it does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "redis-server", "--enable-debug-command", "local")
        self.control = self.client()
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), _CORES[:1])

    def calls(self) -> Counter[str]:
        """Return how often it ran each command."""
        statistics = self.control.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in statistics.items()})


class Served(Process):
    """A program that serves metrics on a port; Python keeps its bytecode, as an installation does."""

    def __init__(self, folder: Path, port: int, *command: str | int, tree: Path = ROOT) -> None:
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        words = [str(word) for word in command]
        super().__init__(words, folder / "log", cwd=tree, env=environment | {"PYTHONPATH": str(tree)})
        self.port = port


class Stand:
    """Starts what is measured, each in a folder of its own, and stops it at the end.

    Args:
        folder: For all of them.
        stack: Stops them.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        os.sched_setaffinity(0, _CORES[1:] or _CORES)
        stack.callback(os.sched_setaffinity, 0, _CORES)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))

    def redis(self, nodes: int, portfolios: int = 0, others: int = 0) -> tuple[Redis, ManyNodes]:
        """Return a Redis with nodes that have beaten, and with other keys."""
        redis = Redis(self._new_folder())
        self._stack.callback(redis.kill)
        if others:
            redis.control.execute_command("DEBUG", "POPULATE", others, "ginkgo_func_cache_", 100)
        return redis, self._stack.enter_context(ManyNodes(redis.port, nodes, portfolios))

    def _serve(self, port: int, *command: str | int, tree: Path = ROOT) -> Served:
        program = Served(self._new_folder(), port, *command, tree=tree)
        self._stack.callback(program.kill)
        return program

    def exporter(self, redis: Redis, *flags: str, tree: Path = ROOT) -> Served:
        """Start ginkgo-exporter from a working tree."""
        port = free_port()
        more = (f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--redis.timeout=60s", *flags)
        return self._serve(port, sys.executable, "-m", "exporter", f"--redis.url={redis.url}", *more, tree=tree)

    def script(self, redis: Redis) -> Served:
        """Start the plain script."""
        port = free_port()
        return self._serve(port, sys.executable, "-m", "lab.script", redis.port, port)

    def redis_exporter(self, redis: Redis) -> Served:
        """Start redis_exporter with a Lua script that returns the same values."""
        port, lua = free_port(), ROOT / "lab" / "nodes.lua"
        flags = (f"-redis.addr={redis.url}", f"-web.listen-address=127.0.0.1:{port}", f"-script={lua}")
        more = ("-connection-timeout=600s", "-log-format=txt", "-is-tile38=false")
        return self._serve(port, "prometheus-redis-exporter", *flags, *more, "-exclude-latency-histogram-metrics")

    def way(
        self, name: str, redis: Redis, nodes: ManyNodes, program: Served | None = None, encoding: str = "identity"
    ) -> "Way":
        """Return a way to scrape; without a program the floor."""
        scraper = HttpScraper(program.port, encoding) if program else Floor(redis.port, nodes.names)
        self._stack.callback(scraper.close)
        return Way(name, scraper, redis, nodes, program)


@dataclass
class Way:
    """One way to scrape, and its measurements; each list has one value for each round, in seconds.

    Attributes:
        blocks: The longest time that Redis was blocked during each scrape.
    """

    name: str
    scraper: HttpScraper | Floor
    redis: Redis
    nodes: ManyNodes
    program: Served | None = None
    seconds: dict[int, float] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)

    def warm_up(self) -> None:
        """Scrape without measuring until all nodes are there."""

        def whole() -> bool:
            self.nodes.beat()
            with suppress(OSError):
                body = bytes(self.scraper.scrape())
                samples = body.count(b"\n") - body.count(b"# ")
                return not self.program or body.startswith(b"\x1f\x8b") or samples >= _SAMPLES * len(self.nodes.names)
            return False

        wait_for(whole, f"for {self.name}", 300)

    def scrape(self, number: int) -> None:
        """Let all nodes beat, and scrape once."""
        if number % 3 and self.seconds and self.seconds[0] > _SLOW:
            return
        self.nodes.beat()
        self.redis.control.config_resetstat()
        before = self.program.cpu_seconds if self.program else 0.0
        self.seconds[number] = timed(self.scraper)
        self.cpu.append((self.program.cpu_seconds if self.program else 0.0) - before)
        self.blocks.append(float(self.redis.control.info("debug")["eventloop_duration_max"]) / 1e6)

    def times(self, other: "Way") -> float:
        """Return the median of the ratios of the rounds in which both were measured."""
        return median(one / other.seconds[number] for number, one in self.seconds.items() if number in other.seconds)

    def line(self, floor: "Way", ours: "Way") -> str:
        """Return its line of the table."""
        milliseconds = [second * 1e3 for second in self.seconds.values()]
        low, _, high = quantiles(milliseconds, n=4) if len(milliseconds) > 1 else milliseconds * 3
        peak = f"{self.program.memory('VmHWM') / 2**20:,.0f}" if self.program else ""
        return (
            f"| {self.name} | {median(milliseconds):,.1f} ({low:,.1f} to {high:,.1f}) | {len(milliseconds)} |"
            f" {self.times(floor):.2f} | {self.times(ours):.2f} | {median(self.cpu) * 1e3:,.1f} |"
            f" {median(self.blocks) * 1e3:,.2f} | {peak} |"
        )


def scrapes(stand: Stand, nodes: int, rounds: int, others: int = 0, *, slow_ways: bool = True) -> Iterator[str]:
    """Measure all ways to scrape, and yield the lines of the table.

    Args:
        stand: Starts what is measured.
        nodes: Number of nodes.
        rounds: Number of rounds.
        others: Other keys in the same Redis. With any, the exporter is measured without them, too.
        slow_ways: Whether to measure other ways than the floor and this exporter.
    """
    redis, beating = stand.redis(nodes, others=others)
    exporter = stand.exporter(redis)
    ways = [
        stand.way(FLOOR, redis, beating),
        stand.way(OURS, redis, beating, exporter),
        stand.way("ginkgo-exporter, gzip", redis, beating, exporter, "gzip"),
    ]
    if slow_ways:
        ways.append(stand.way("redis_exporter with Lua", redis, beating, stand.redis_exporter(redis)))
        ways.append(stand.way("a plain script", redis, beating, stand.script(redis)))
    if others:
        alone, alone_nodes = stand.redis(nodes)
        ways.append(stand.way("ginkgo-exporter without the other keys", alone, alone_nodes, stand.exporter(alone)))
    for way in ways:
        way.warm_up()
    for number in range(rounds):
        for way in ways:
            way.scrape(number)
    yield f"\n### {nodes:,} nodes{f' beside {others:,} other keys' if others else ''}\n"
    yield head(*_COLUMNS)
    for way in ways:
        yield way.line(ways[0], ways[1])
    yield f"\n{SCRAPERS} scrapers at once: Redis does the work of {crowd(redis, beating, exporter):g}."


def crowd(redis: Redis, nodes: ManyNodes, exporter: Served) -> float:
    """Return the work of Redis for ten scrapes at once, as a multiple of the work for one.

    The requests are sent while the exporter is stopped, so that all ten wait when it continues.
    """
    nodes.beat()
    scrapers = [HttpScraper(exporter.port) for _ in range(SCRAPERS)]
    redis.control.config_resetstat()
    exporter.send(signal.SIGSTOP)
    asked = [(scraper, scraper.ask()) for scraper in scrapers]
    exporter.send(signal.SIGCONT)
    for scraper, connection in asked:
        scraper.body_from(connection)
        scraper.close()
    return redis.calls()["hmget"] / len(nodes.names)


def footprint(stand: Stand, starts: int, nodes: int = 5) -> Iterator[str]:
    """Start this exporter and a plain script in turns, and yield the lines of the table of their ratios."""
    redis, beating = stand.redis(nodes)
    measured: list[list[list[float]]] = [[], []]
    for number in range(starts + 1):
        for values, ours in zip(measured, (True, False), strict=True):
            beating.beat()
            program = stand.exporter(redis) if ours else stand.script(redis)
            figures = _start(program, nodes)
            program.kill()
            if number:  # the first start may have to make bytecode
                values.append(figures)
    titles = (
        *("time until the first scrape with nodes, ms", "CPU until then, ms", "time of a scrape, ms"),
        *("CPU of a scrape, ms", f"resident memory after {SCRAPES} scrapes, MiB"),
    )
    yield f"\n### {nodes} nodes, medians of {starts} starts\n\n{head('', 'ginkgo-exporter', 'plain script', 'ratio')}"
    for place, (title, unit) in enumerate(zip(titles, (1e3, 1e3, 1e3, 1e3, 2**-20), strict=True)):
        mine, theirs = ([start[place] * unit for start in starts_of] for starts_of in measured)
        ratio = median(one / other for one, other in zip(mine, theirs, strict=True))
        yield f"| {title} | {median(mine):.2f} | {median(theirs):.2f} | {ratio:.2f} |"


def _start(program: Served, nodes: int) -> list[float]:
    """Return what a program that has just been started costs: until its first whole scrape, and for a scrape."""
    scraper = HttpScraper(program.port)

    def whole() -> bool:
        with suppress(OSError):
            return bytes(scraper.scrape()).count(b"\nginkgo_node_up{") >= nodes
        return False

    wait_for(whole)
    ready, cpu = time.monotonic() - program.started, program.cpu_seconds
    seconds = median(timed(scraper) for _ in range(SCRAPES))
    scraper.close()
    return [ready, cpu, seconds, (program.cpu_seconds - cpu) / SCRAPES, program.memory()]


def idle(stand: Stand, seconds: float, settle: float = SETTLE) -> Iterator[str]:
    """Let five nodes beat while nobody scrapes, and yield the lines of the table of commands and CPU."""
    with FakeAlertmanager() as alertmanager:
        exporters = []
        for flags in ((), (f"--alertmanager.url={alertmanager.url}",)):
            redis, nodes = stand.redis(5)
            exporters.append((redis, nodes, stand.exporter(redis, *flags)))
        _pass(exporters, settle)
        before = [(redis.calls(), exporter.cpu_seconds) for redis, _, exporter in exporters]
        _pass(exporters, seconds)
        yield f"\n### Nobody scrapes, 5 nodes\n\n{head('', 'commands a second', 'CPU', 'each command, a second')}"
        for (redis, _, exporter), (calls, cpu), title in zip(
            exporters, before, ("without push", "with push"), strict=True
        ):
            spent = (exporter.cpu_seconds - cpu) / seconds
            counted = redis.calls() - calls
            counted["info"] -= 1  # the one that counted before
            for name in (*_OF_NODES, *(name for name, count in counted.items() if not count)):
                del counted[name]
            rates = {command: count / seconds for command, count in counted.most_common()}
            each = ", ".join(f"{command} {rate:.2f}" for command, rate in rates.items())
            yield f"| {title} | {sum(rates.values()):.2f} | {spent:.3%} | {each} |"


def _pass(exporters: Sequence[tuple[Redis, ManyNodes, Served]], seconds: float) -> None:
    """Let all nodes beat for some seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for _, nodes, _ in exporters:
            nodes.beat()
        time.sleep(min(BEAT, left))


def compare(stand: Stand, trees: Sequence[Path], nodes: int, rounds: int, portfolios: int = 0) -> Iterator[str]:
    """Scrape exporters from several working trees in turns, in random order, and yield the lines of the table.

    It shows what a change costs or buys: ``git worktree add ../without``, take something out there, and run
    ``python -m lab compare . ../without``. The first tree is the reference.
    """
    redis, beating = stand.redis(nodes, portfolios)
    floor = stand.way(FLOOR, redis, beating)
    programs = {tree: stand.exporter(redis, tree=tree.resolve()) for tree in trees}
    ways = [stand.way(tree.resolve().name, redis, beating, program) for tree, program in programs.items()]
    for way in ways:
        way.warm_up()
    for number in range(rounds):
        for way in (floor, *random.sample(ways, len(ways))):
            way.scrape(number)
    yield f"\n### {nodes:,} nodes with {portfolios} portfolios each\n\n{head(*_COLUMNS)}"
    for way in (floor, *ways):
        yield way.line(floor, ways[0])
    for way in ways[1:]:
        cpu = median(mine / theirs for mine, theirs in zip(way.cpu, ways[0].cpu, strict=True))
        yield f"\nCPU of {way.name}: {cpu:.3f} times that of {ways[0].name} (median of pairs)."


def head(*columns: str) -> str:
    """Return the head of a table."""
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def machine() -> str:
    """Return the date, the machine and the software."""
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    redis = version.split(" sha")[0]
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    parts = (platform.system(), platform.release(), f"Python {platform.python_version()}", redis)
    day = datetime.now(UTC).date().isoformat()
    return f"{day}, {os.cpu_count()} cores of {names[0] if names else platform.machine()}, {', '.join(parts)}."


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command line."""
    parser.add_argument("--rounds", type=int, default=40, help="rounds of each case [%(default)s]")
    parser.add_argument("--nodes", type=int, nargs="+", help="measure scrapes of these numbers of nodes only")
    parser.add_argument("--others", type=int, default=0, help="keys of others beside those nodes [0]")
    parser.add_argument("--ours-only", action="store_true", help="measure only the floor and this exporter")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see whether everything works")


def run(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> bool:
    """Print all figures, and return True."""
    rounds, starts, seconds, settle = arguments.rounds, STARTS, 30.0, SETTLE
    cases = [(1000, 0, rounds), (10_000, 0, rounds), (100_000, 0, min(rounds, 9)), (1000, 1_000_000, rounds)]
    if arguments.quick:
        cases, starts, seconds, settle = [(1000, 0, 3)], 1, 3.0, 0.0
    if arguments.nodes:
        cases = [(count, arguments.others, rounds) for count in arguments.nodes]
    _show([machine()])
    for nodes, others, times in cases:
        with ExitStack() as parts:
            _show(scrapes(Stand(folder, parts), nodes, times, others, slow_ways=not arguments.ours_only))
    if not arguments.nodes:
        stand = Stand(folder, stack)
        _show(footprint(stand, starts))
        _show(idle(stand, seconds, settle))
    return True


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the comparison."""
    parser.add_argument("trees", nargs="+", type=Path, help="working trees; the first one is the reference")
    parser.add_argument("--nodes", type=int, default=10_000, help="nodes [%(default)s]")
    parser.add_argument("--portfolios", type=int, default=0, help="portfolios of each node [0]")
    parser.add_argument("--rounds", type=int, default=40, help="rounds [%(default)s]")


def run_compare(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> bool:
    """Print the table, and return True."""
    stand = Stand(folder, stack)
    _show(compare(stand, arguments.trees, arguments.nodes, arguments.rounds, arguments.portfolios))
    return True


def _show(lines: Iterator[str] | Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201
