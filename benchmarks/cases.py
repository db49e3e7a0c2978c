"""The cases of the benchmark: so many nodes, and all ways to scrape them side by side."""

import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Self

from benchmarks import servers
from benchmarks.nodes import Nodes
from benchmarks.scrape import Floor, HttpScraper, timed

FLOOR: Final = "the floor: bytes read, not parsed"
OURS: Final = "**ginkgo-exporter**"
GZIP: Final = "ginkgo-exporter, gzip"
LUA: Final = "redis_exporter with Lua"
PIPELINED: Final = "plain Python, pipelined"
PLAIN: Final = "plain Python"

SCRAPERS: Final = 10
_SLOW: Final = 10.0  # seconds: a way that takes longer is measured in a third of the rounds
_SAMPLES: Final = 12  # of each node at least, or what is measured is no scrape


@dataclass(frozen=True)
class Case:
    """That many nodes, beside that many keys of others."""

    nodes: int
    others: int = 0

    @property
    def title(self) -> str:
        """What the report calls it."""
        return f"{self.nodes:,} nodes" + (f" beside {self.others:,} other keys" if self.others else "")


@dataclass
class Way:
    """One way to scrape, and what was measured of it.

    Attributes:
        seconds: What each scrape took.
        blocks: Seconds for which Redis served nobody else, at most, during each.
        peak_memory: Bytes; 0 for what is no process of its own.
    """

    name: str
    scraper: HttpScraper | Floor
    program: servers.Program | None = None
    seconds: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)
    peak_memory: int = 0

    def warm_up(self, nodes: int) -> None:
        """Scrape once unmeasured: connections, caches and discovery are not what a scrape costs.

        Raises:
            BenchmarkError: The scrape does not hold all nodes.
        """
        body = bytes(self.scraper.scrape())
        samples = body.count(b"\n") - body.count(b"# ")
        if self.program and not body.startswith(b"\x1f\x8b") and samples < _SAMPLES * nodes:
            raise servers.BenchmarkError(f"{self.name} exported {samples} samples of {nodes} nodes")

    def scrape(self, redis: servers.RedisServer) -> None:
        """Scrape once, and note what it took."""
        redis.forget_statistics()
        self.seconds.append(timed(self.scraper))
        self.blocks.append(redis.longest_block)


class Bench:
    """One case set up: Redis, its nodes, and all ways to scrape them.

    Args:
        case: What to measure.
        slow_ways: Whether to measure other ways than the floor and ours.
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
        """Let every way scrape once, unmeasured."""
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
        """Return the work that Redis does for ten scrapers at once, in units of that for one, at most.

        Their requests are sent while the exporter is stopped: it finds all ten when it goes on.
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
