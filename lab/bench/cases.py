"""The cases of the benchmark: a number of nodes, and all ways to scrape them in turns."""

import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Self

from lab.bench import servers
from lab.bench.nodes import Nodes
from lab.bench.scrape import Floor, HttpScraper, timed

FLOOR: Final = "the floor: bytes read, not parsed"
OURS: Final = "**ginkgo-exporter**"
GZIP: Final = "ginkgo-exporter, gzip"
LUA: Final = "redis_exporter with Lua"
PIPELINED: Final = "plain Python, pipelined"
PLAIN: Final = "plain Python"

SCRAPERS: Final = 10
_SLOW: Final = 10.0  # seconds: a way that takes longer is measured in a third of the rounds
_SAMPLES: Final = 12  # of each node; a body with fewer samples is not a complete scrape


@dataclass(frozen=True)
class Case:
    """A number of nodes, and a number of other keys in the same Redis."""

    nodes: int
    others: int = 0

    @property
    def title(self) -> str:
        """The case's name in the report."""
        return f"{self.nodes:,} nodes" + (f" beside {self.others:,} other keys" if self.others else "")


@dataclass
class Way:
    """One way to scrape, and its measurements.

    Attributes:
        seconds: Seconds of each scrape.
        blocks: The longest time that Redis was blocked during each scrape, in seconds.
        peak_memory: Bytes; 0 if the way has no process of its own.
    """

    name: str
    scraper: HttpScraper | Floor
    program: servers.Program | None = None
    seconds: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)
    peak_memory: int = 0

    def warm_up(self, nodes: int) -> None:
        """Scrape once without measuring, so that connections, caches and discovery do not count.

        Raises:
            BenchmarkError: The scrape does not contain all nodes.
        """
        body = bytes(self.scraper.scrape())
        samples = body.count(b"\n") - body.count(b"# ")
        if self.program and not body.startswith(b"\x1f\x8b") and samples < _SAMPLES * nodes:
            raise servers.BenchmarkError(f"{self.name} exported {samples} samples of {nodes} nodes")

    def scrape(self, redis: servers.RedisServer) -> None:
        """Scrape once, and record the measurements."""
        redis.forget_statistics()
        self.seconds.append(timed(self.scraper))
        self.blocks.append(redis.longest_block)


class Bench:
    """One case with its running programs: Redis, its nodes, and all ways to scrape them.

    Args:
        case: The case.
        slow_ways: Whether to measure other ways than the floor and this exporter.
    """

    def __init__(self, case: Case, *, slow_ways: bool) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(servers.beside_redis())
        try:
            self._start(case, slow_ways=slow_ways)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, case: Case, *, slow_ways: bool) -> None:
        self.redis = servers.RedisServer()
        self.redis.pin()
        self._stack.callback(self.redis.stop)
        self.nodes = Nodes(case.nodes, self.redis.port)
        self._stack.callback(self.nodes.close)
        self.nodes.beat()
        if case.others:
            self.redis.fill(case.others)
        self.ours = servers.exporter(self.redis.port)
        floor = Floor(self.redis.port, self.nodes.names)
        self._stack.callback(floor.close)
        self.ways = [Way(FLOOR, floor)]
        self._add(OURS, self.ours)
        self._add(GZIP, self.ours, "gzip")
        if slow_ways:
            if other := servers.redis_exporter(self.redis.port):
                self._add(LUA, other)
            self._add(PIPELINED, servers.plain(self.redis.port, "pipelined"))
            self._add(PLAIN, servers.plain(self.redis.port, "plain"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _add(self, name: str, program: servers.Program, encoding: str = "identity") -> None:
        self._stack.callback(program.stop)
        scraper = HttpScraper(program.port, encoding)
        self._stack.callback(scraper.close)
        self.ways.append(Way(name, scraper, program))

    def warm_up(self) -> None:
        """Let every way scrape once without measuring."""
        for way in self.ways:
            self.nodes.beat()
            way.warm_up(len(self.nodes.names))

    def round(self, number: int) -> None:
        """Let every way scrape once; every node beats before each."""
        for way in self.ways:
            if number % 3 and way.seconds[0] > _SLOW:
                continue
            self.nodes.beat()
            way.scrape(self.redis)
            if way.program:
                way.peak_memory = way.program.peak_memory

    def crowd(self, rounds: int) -> float:
        """Return the work of Redis for ten simultaneous scrapes, as a multiple of the work for one; the largest round.

        The requests are sent while the exporter's process is stopped, so that all ten wait when it continues.
        """
        scrapers = [HttpScraper(self.ours.port) for _ in range(SCRAPERS)]
        for scraper in scrapers:
            self._stack.callback(scraper.close)
        work = 0.0
        for _ in range(rounds):
            self.nodes.beat()
            self.redis.forget_statistics()
            self.ours.send(signal.SIGSTOP)
            asked = [(scraper, scraper.ask()) for scraper in scrapers]
            self.ours.send(signal.SIGCONT)
            for scraper, connection in asked:
                scraper.body_from(connection)
            work = max(work, self.redis.calls("hmget") / len(self.nodes.names))
        return work
