"""The platform's scheduler in the soak: it plans portfolios on nodes, fails them over, moves them, and makes mistakes.

Its times are a tenth of the platform's. It takes each node with a heartbeat for healthy, rewrites the plan by
``DEL``, then ``HSET``, drops portfolios that find no room, and orphans all of them when there is no node.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Event, Thread
from typing import Any, Final

from redis import Redis, RedisError

from exporter.demo.platform import assigned
from lab.soak.nodes import Platform

PLAN_KEY: Final = "schedule:plan"
PORTFOLIOS: Final = (
    *(f"portfolio-{number}" for number in range(60)),
    "with space",
    'with "quotes" and \\',
    "with\nline",
    "a:b:c",
    "组合-1",
    "<b>bold</b> & co",
)
"""All portfolios that there may be."""
LOOP: Final = (3.1, 3.6)
"""Seconds from one look of the scheduler to the next."""
AWAY: Final = (6.0, 9.0)
"""Seconds for which the scheduler hangs now and then."""
_NORMAL: Final = "looked"
_MISTAKES: Final = {
    "hung": 3,
    "moved a portfolio": 20,
    "sent a portfolio astray": 6,
    "found an empty database": 2,
    "died between DEL and HSET": 2,
    _NORMAL: 67,
}
"""What a look may do besides, and how often of all looks, in percent."""
_LOST: Final = 0.1
"""Share of the messages to nodes that are lost."""
_OWNED: Final = 0.8
"""Share of the portfolios that exist at the start."""


class Scheduler:
    """Looks at the plan again and again in a thread of its own.

    Args:
        platform: The nodes, and the truth about the plan.
        connect: Returns a client of Redis.
        seed: Decides what it does.

    Attributes:
        events: How often it did something.
    """

    def __init__(self, platform: Platform, connect: "Callable[[], Redis]", seed: int) -> None:
        self.events: Counter[str] = Counter()
        self._platform, self._client = platform, connect()
        self._rng = random.Random(seed)  # noqa: S311 - the same load for the same seed
        self._database = set(self._rng.sample(PORTFOLIOS, round(_OWNED * len(PORTFOLIOS))))
        self._over = Event()
        self._thread = Thread(target=self._live, name="scheduler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; Redis must not hang."""
        self._over.set()
        self._thread.join(LOOP[1])

    def _live(self) -> None:
        pause = LOOP[0]
        while not self._over.wait(pause):
            (mistake,) = self._rng.choices(tuple(_MISTAKES), tuple(_MISTAKES.values()))
            pause = self._rng.uniform(*(AWAY if mistake == "hung" else LOOP))
            try:
                self._look(mistake)
            except RedisError:
                self.events["failed"] += 1
            else:
                self.events[mistake] += 1

    def _look(self, mistake: str) -> None:
        self._change_owners()
        healthy = sorted(self._healthy())
        found: dict[Any, Any] = {}
        self._platform.looks.write(True, lambda: found.update(self._client.hgetall(PLAN_KEY)))
        before = {portfolio.decode(): node.decode() for portfolio, node in found.items()}
        owned = self._database if mistake != "found an empty database" else set[str]()
        counts = {name: int(self._client.hget(f"node:metrics:{name}", "portfolio_count") or 0) for name in healthy}
        plan = assigned(before, counts, owned, stays=lambda _: self._rng.random() < 1 / 2)
        if mistake == "moved a portfolio":
            self._move(plan, healthy)
        if plan != before:
            self._write(plan, finish=mistake != "died between DEL and HSET")
        if owned:
            self._deliver(plan, healthy)
        if mistake == "sent a portfolio astray" and healthy:
            self._send(self._rng.choice(healthy), self._rng.choice(PORTFOLIOS), load=True)

    def _change_owners(self) -> None:
        """Create or delete a portfolio now and then."""
        if self._rng.random() < _LOST:
            self._database ^= {self._rng.choice(PORTFOLIOS)}

    def _healthy(self) -> Iterator[str]:
        for key in self._client.scan_iter("heartbeat:node:*", count=1000):
            yield key.decode().removeprefix("heartbeat:node:")

    def _move(self, plan: dict[str, str], healthy: Collection[str]) -> None:
        """Move one portfolio to another healthy node; its old node unloads it at once or a loop later."""
        movable = sorted(portfolio for portfolio, node in plan.items() if node in healthy)
        if movable and len(healthy) > 1:
            portfolio = self._rng.choice(movable)
            old = plan[portfolio]
            plan[portfolio] = self._rng.choice([name for name in healthy if name != old])
            if self._rng.random() < 1 / 2:
                self._send(old, portfolio, load=False)

    def _write(self, plan: dict[str, str], *, finish: bool) -> None:
        key = self._platform.plan
        with self._platform.writing:
            key.write(None, lambda: self._client.delete(PLAN_KEY))
            if plan and finish:
                key.write(plan, lambda: self._client.hset(PLAN_KEY, mapping=plan))  # type: ignore[arg-type] # invariant

    def _deliver(self, plan: Mapping[str, str], healthy: Collection[str]) -> None:
        """Tell each healthy node what to load and what to unload."""
        for name in healthy:
            loaded = self._platform.nodes[name].loaded
            planned = {portfolio for portfolio, node in plan.items() if node == name}
            for portfolio in sorted(planned - loaded):
                self._send(name, portfolio, load=True)
            for portfolio in sorted(loaded - planned):
                self._send(name, portfolio, load=False)

    def _send(self, name: str, portfolio: str, *, load: bool) -> None:
        """Send a message to a node; some messages are lost."""
        if self._rng.random() >= _LOST:
            with self._platform.lock:
                self._platform.nodes[name].inbox.append((portfolio, load))
