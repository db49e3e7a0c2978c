"""``python -m lab.bench.portfolios``: what the ledger costs: scrapes with and without a plan, in turns.

Two exporters read a Redis each, with the same nodes. In one of them the plan gives five portfolios to each
node. Differences are medians over the rounds, so that other programs disturb both alike.
"""

import argparse
import random
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from lab.bench import servers
from lab.bench.__main__ import machine, show
from lab.bench.compare import Tree
from lab.bench.nodes import Nodes

EACH: Final = 5
"""Portfolios of a node."""


class Case(Tree):
    """An exporter with a Redis of its own."""

    def __init__(self, nodes: int, portfolios: int, stack: ExitStack) -> None:
        redis = servers.RedisServer()
        stack.callback(redis.stop)
        redis.pin()
        self.version = redis.version
        self.nodes = Nodes(nodes, redis.port, portfolios)
        stack.callback(self.nodes.close)
        self.nodes.beat()
        super().__init__(Path(__file__).parents[2], redis.port, stack)
        self.name = f"{nodes * portfolios:,} portfolios"

    def scrape(self) -> None:
        """Let all nodes beat, and scrape once."""
        self.nodes.beat()
        super().scrape()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.portfolios", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000, help="nodes [10000]")
    parser.add_argument("--rounds", type=int, default=30, help="rounds [30]")
    arguments = parser.parse_args()
    servers.end_on_sigterm()
    with ExitStack() as stack:
        stack.enter_context(servers.beside_redis())
        cases = [Case(arguments.nodes, portfolios, stack) for portfolios in (0, EACH)]
        for case in cases:
            case.scraper.scrape()
        for _ in range(arguments.rounds):
            for case in random.sample(cases, len(cases)):
                case.scrape()
        show(f"{machine(cases[0].version)}. {arguments.nodes:,} nodes, {arguments.rounds} rounds.\n")
        show("| plan | wall, ms | times without | wall | CPU, ms | CPU | peak MiB |\n|---|---|---|---|---|---|---|")
        for case in cases:
            show(case.line(cases[0], sorted(cases[0].wall)[len(cases[0].wall) // 2]))


if __name__ == "__main__":
    main()
