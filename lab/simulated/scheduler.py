"""A simulated scheduler of the platform, which gives portfolios to nodes as the platform's own does."""

import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Final

from lab.simulated.node import Node
from lab.simulated.redis_server import SimulatedRedis
from lab.simulated.timeline import Timeline

LOOP: Final = 31.0, 36.0
"""Seconds between two looks, from and to."""
REWRITE: Final = 0.02
"""Seconds between the DEL and the HSET of a plan."""
LOADING: Final = 4.0
"""Seconds that a node needs to load a portfolio, with the time of the message."""
ROOM: Final = 5
"""Portfolios that a node takes at most."""
ORPHANED: Final = "__ORPHANED__"


class Scheduler:
    """One scheduler. It looks at all nodes and at the plan, and moves what a dead node had.

    Args:
        redis: The Redis with plan and heartbeats.
        timeline: The simulated time.
        node: Returns the node of a name, or None.
        seed: Of the lengths of its loops.

    Attributes:
        running: Whether it looks.
        moves_all: Whether it places every portfolio anew at each look. Of two schedulers with different seeds, one
            takes the nodes in the reverse order, so their plans differ.
        unheard: Nodes that its messages do not reach.
    """

    def __init__(
        self, redis: SimulatedRedis, timeline: Timeline, node: Callable[[str], Node | None], seed: int = 1
    ) -> None:
        self._redis, self._timeline, self._node = redis, timeline, node
        self._random = Random(seed)  # noqa: S311 - no secret
        self.running = True
        self._reversed = seed % 2 == 0
        self.moves_all = False
        self.unheard: set[str] = set()
        self._deployed: list[str] = []
        timeline.at(timeline.now + self._random.uniform(15, 36), self._loop)

    def deploy(self, *portfolios: str) -> None:
        """Let the next look place new portfolios."""
        self._deployed += portfolios

    def _loop(self) -> None:
        self._timeline.at(self._timeline.now + self._random.uniform(*LOOP), self._loop)
        if self.running and not self._redis.down:
            self._look()

    def _look(self) -> None:
        nodes = self._redis.living()
        before = self._redis.platform.look()
        plan = self._placed(before, nodes)
        self._deployed.clear()
        if plan != before and self._redis.writable:
            self._write(plan)
        for portfolio, name in plan.items():
            if name in nodes and portfolio not in _loaded(nodes[name]):
                self._send(name, portfolio)
        for portfolio, name in before.items():
            if plan.get(portfolio) != name:
                self._withdraw(name, portfolio)

    def _placed(self, before: Mapping[str, str], nodes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        homeless = [portfolio for portfolio, name in before.items() if name not in nodes or self.moves_all]
        plan = {portfolio: name for portfolio, name in before.items() if portfolio not in homeless}
        if not nodes:
            return dict.fromkeys([*before, *self._deployed], ORPHANED)
        counts = {name: sum(node == name for node in plan.values()) for name in sorted(nodes, reverse=self._reversed)}
        for portfolio in [*homeless, *self._deployed]:
            name = min(counts, key=lambda name: counts[name])
            if counts[name] < ROOM:  # otherwise it drops out of the plan, and nobody is told
                counts[name] += 1
                plan[portfolio] = name
        return plan

    def _write(self, plan: dict[str, str]) -> None:
        platform = self._redis.platform
        platform.plan = {}

        def write() -> None:
            platform.plan = plan
            platform.touch()

        self._timeline.at(self._timeline.now + REWRITE, write)

    def _send(self, name: str, portfolio: str) -> None:
        node = self._node(name)
        if node and name not in self.unheard:
            self._timeline.at(self._timeline.now + LOADING, lambda: node.take(portfolio))

    def _withdraw(self, name: str, portfolio: str) -> None:
        node = self._node(name)
        if node and name not in self.unheard:
            self._timeline.at(self._timeline.now + 1, lambda: node.give_up(portfolio))


def _loaded(fields: Mapping[str, str]) -> Iterator[str]:
    loaded: list[str] = json.loads(fields.get("loaded_portfolio_ids", "[]"))
    return iter(loaded)
