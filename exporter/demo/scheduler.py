"""The scheduler of the simulated platform: it plans portfolios on nodes, and moves those of dead nodes.

It behaves as the platform's scheduler does. It takes each node with a heartbeat for healthy. It rewrites the plan
by ``DEL``, then ``HSET``. A portfolio that finds no room drops out of the plan. Without any healthy node all portfolios
are orphaned. It has no heartbeat: only its looks at the plan show that it lives.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis import Redis, RedisError, ResponseError

from exporter.demo.clock import Clock
from exporter.demo.node import SimulatedNode
from exporter.demo.terminal import Terminal
from exporter.errors import ExporterError
from exporter.portfolios.ledger import ORPHANED_NODE
from exporter.settings import Keys

ORPHANED: Final = ORPHANED_NODE.decode()
LIMIT: Final = 5
"""Portfolios that a node can have."""
LOOP: Final = (31.0, 36.0)
"""Seconds from one look of the scheduler to the next, at least and at most."""
_SHOWN: Final = 6


def assigned(
    before: Mapping[str, str],
    counts: Mapping[str, int],
    portfolios: Collection[str],
    stays: Callable[[str], bool] = lambda _: False,
) -> dict[str, str]:
    """Return the plan that the scheduler makes of the last plan.

    Args:
        before: The last plan: the node of each portfolio.
        counts: How many portfolios each healthy node has.
        portfolios: All portfolios that exist.
        stays: Whether a portfolio that finds no room stays on its dead node instead of dropping out of the plan.
    """
    if not counts:
        return dict.fromkeys(sorted(portfolios), ORPHANED)
    room = {name: LIMIT - count for name, count in counts.items()}
    plan = {portfolio: node for portfolio, node in before.items() if portfolio in portfolios and node in counts}
    for portfolio in sorted(set(portfolios).difference(plan)):
        node = max(room, key=room.__getitem__)
        if room[node] > 0:
            plan[portfolio] = node
            room[node] -= 1
        elif portfolio in before and stays(portfolio):
            plan[portfolio] = before[portfolio]
    return plan


def first_plan(nodes: Sequence[SimulatedNode]) -> dict[str, str]:
    """Return the first plan: two to four portfolios on each node."""
    return {
        f"portfolio-{node.number + 1}-{place + 1}": node.node_id
        for node in nodes
        for place in range(2 + node.number % 3)
    }


class Scheduler:
    """Looks at the plan again and again, and tells the nodes what to load.

    Args:
        redis: The Redis of the platform.
        nodes: All nodes.
        keys: The names of the keys.
        clock: The demo's time.
        terminal: Prints what the scheduler does.
    """

    def __init__(
        self, redis: "Redis", nodes: Sequence[SimulatedNode], keys: Keys, clock: Clock, terminal: Terminal
    ) -> None:
        self._redis, self._keys, self._clock, self._terminal = redis, keys, clock, terminal
        self._nodes = {node.node_id: node for node in nodes}
        self._first = first_plan(nodes)
        self._dice = random.Random(1)  # noqa: S311 - each demo runs alike
        self._is_ours = False  # whether the plan in Redis is known to be of this demo
        self._looked = asyncio.Event()

    def begin(self) -> None:
        """Write the first plan, if Redis answers; else the first look that Redis answers writes it.

        Raises:
            ExporterError: Redis has the plan of a real platform.
        """
        with suppress(RedisError):
            self._claim()

    async def run(self) -> None:
        """Look at the plan now and then, until this is cancelled.

        Raises:
            ExporterError: Redis has the plan of a real platform.
        """
        due = self._clock.now()
        while True:
            due = max(due + self._dice.uniform(*LOOP), self._clock.now())
            await self._clock.until(due)
            await asyncio.to_thread(self._look)
            self._looked.set()

    async def next_look(self) -> None:
        """Wait until the scheduler has looked once more."""
        self._looked.clear()
        await self._looked.wait()

    def leave(self) -> None:
        """Delete the plan and the states of all portfolios."""
        if self._is_ours:
            states = [f"{self._keys.portfolio_prefix}{portfolio}:state" for portfolio in self._first]
            try:
                self._redis.delete(self._keys.plan, *states)
            except RedisError:
                self._terminal.log("the plan cannot be deleted: Redis does not answer, or refuses it")

    def _look(self) -> None:
        try:
            self._claim()
            self._assign()
        except ResponseError as error:
            self._terminal.log(f"the scheduler cannot rewrite the plan: Redis says {str(error).split(' ', 1)[0]}")
        except RedisError:
            pass  # the nodes' log says that Redis does not answer

    def _claim(self) -> None:
        """Write the first plan, once."""
        if self._is_ours:
            return
        for portfolio, node in self._found().items():
            if not (portfolio.startswith("portfolio-") and node.startswith(("demo-node-", ORPHANED))):
                raise ExporterError(
                    f"--redis.url: this Redis has the plan of a platform ({self._keys.plan}), and the demo would"
                    " overwrite it; the demo needs a Redis of its own"
                )
        self._write(self._first)
        self._is_ours = True

    def _found(self) -> dict[str, str]:
        found: Mapping[Any, Any] = self._redis.hgetall(self._keys.plan)
        return {portfolio.decode(errors="replace"): node.decode(errors="replace") for portfolio, node in found.items()}

    def _write(self, plan: Mapping[str, str]) -> None:
        """Replace the plan. It is missing for a moment, as on the platform."""
        self._redis.delete(self._keys.plan)
        if plan:
            self._redis.hset(self._keys.plan, mapping=plan)  # type: ignore[arg-type] # dict is invariant

    def _assign(self) -> None:
        before, counts = self._found(), dict(self._counts())
        plan = assigned(before, counts, self._first.keys())
        if plan != before:
            self._write(plan)
            self._tell(before, plan)
        for node_id in counts:
            self._nodes[node_id].load([portfolio for portfolio, node in plan.items() if node == node_id])

    def _counts(self) -> Iterator[tuple[str, int]]:
        """Yield how many portfolios each healthy node has."""
        for node_id in self._nodes:
            if self._redis.exists(self._keys.heartbeat_prefix + node_id):
                yield node_id, int(self._redis.hget(self._keys.metrics_prefix + node_id, "portfolio_count") or 0)

    def _tell(self, before: Mapping[str, str], plan: Mapping[str, str]) -> None:
        """Print what changes in the plan."""
        moved: dict[str, list[str]] = {}
        for portfolio in sorted(self._first):
            node = plan.get(portfolio, "")
            if node != before.get(portfolio, ""):
                moved.setdefault(node, []).append(portfolio)
        for node, portfolios in moved.items():
            names = shortened(portfolios)
            if node == ORPHANED:
                self._terminal.log(f"the scheduler finds no node, and orphans {names}")
            elif node:
                self._terminal.log(f"the scheduler moves {names} to {node}")
            else:
                self._terminal.log(f"the scheduler finds no room for {names}, and drops them silently")


def shortened(names: Sequence[str]) -> str:
    """Return names with commas; the first few of many."""
    more = len(names) - _SHOWN
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_SHOWN])} and {more} more"
