"""``python -m lab.bench.compare TREE…``: scrapes exporters from several working trees in turns, in random order.

It shows what a change costs or buys: ``git worktree add ../without``, take a trick out there, and run
``python -m lab.bench.compare . ../without``. All exporters read the same Redis. Differences are medians
over the rounds, so that other programs on the machine disturb all trees alike.
"""

import argparse
import random
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from lab.bench import servers
from lab.bench.__main__ import machine, show
from lab.bench.nodes import Nodes
from lab.bench.scrape import Floor, HttpScraper, timed


class Tree:
    """An exporter of one working tree, and its measurements; both lists hold seconds for each round."""

    def __init__(self, path: Path, redis_port: int, stack: ExitStack) -> None:
        self.name = path.resolve().name
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.program = servers.exporter(redis_port, tree=path.resolve())
        stack.callback(self.program.stop)
        self.scraper = HttpScraper(self.program.port)
        stack.callback(self.scraper.close)

    def scrape(self) -> None:
        """Scrape once, and record wall and CPU time."""
        before = self.program.cpu_seconds
        self.wall.append(timed(self.scraper))
        self.cpu.append(self.program.cpu_seconds - before)

    def line(self, first: "Tree", floor: float) -> str:
        """Return the line of the table."""
        wall, cpu = (
            median(mine - other for mine, other in zip(ours, others, strict=True)) / median(others) * 100
            for ours, others in ((self.wall, first.wall), (self.cpu, first.cpu))
        )
        return (
            f"| {self.name} | {median(self.wall) * 1e3:.1f} | {median(self.wall) / floor:.2f} | {wall:+.1f} % |"
            f" {median(self.cpu) * 1e3:.1f} | {cpu:+.1f} % | {self.program.peak_memory / 2**20:.0f} |"
        )


def main() -> None:
    """Compare the trees that the command line names; the first one is the reference."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.compare", description=__doc__)
    parser.add_argument("trees", nargs="+", type=Path, help="working trees; the first one is the reference")
    parser.add_argument("--nodes", type=int, default=10_000, help="nodes [10000]")
    parser.add_argument("--rounds", type=int, default=40, help="rounds [40]")
    arguments = parser.parse_args()
    servers.end_on_sigterm()
    with ExitStack() as stack:
        stack.enter_context(servers.beside_redis())
        redis = servers.RedisServer()
        stack.callback(redis.stop)
        redis.pin()
        nodes = Nodes(arguments.nodes, redis.port)
        stack.callback(nodes.close)
        nodes.beat()
        floor = Floor(redis.port, nodes.names)
        stack.callback(floor.close)
        trees = [Tree(path, redis.port, stack) for path in arguments.trees]
        for tree in trees:
            tree.scraper.scrape()
        floors: list[float] = []
        for _ in range(arguments.rounds):
            nodes.beat()
            floors.append(timed(floor))
            for tree in random.sample(trees, len(trees)):
                nodes.beat()
                tree.scrape()
        show(f"{machine(redis.version)}. {arguments.nodes:,} nodes, {arguments.rounds} rounds.")
        show(f"Floor: {median(floors) * 1e3:.1f} ms.\n")
        show("| tree | wall, ms | times the floor | wall | CPU, ms | CPU | peak MiB |\n|---|---|---|---|---|---|---|")
        for tree in trees:
            show(tree.line(trees[0], median(floors)))


if __name__ == "__main__":
    main()
