"""A small platform on a real Redis, faster than in production: nodes, their scheduler, and a task timer.

Its scheduler is that of the demo. What happens to the platform is done by calling a function of ``FAULTS``.
"""

import json
import random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

import redis

from exporter.demo.platform import LOOP, ORPHANED, assigned
from lab.nodes import beat

SPEED: Final = 5
TTL: Final = 30 / SPEED
BEAT: Final = 10 / SPEED
PLAN: Final = "schedule:plan"


@dataclass
class Node:
    """A node: what it has loaded, and how it misbehaves."""

    loaded: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    alive: bool = True
    deaf: bool = False
    status: str = "RUNNING"
    events: int = 0


class Platform:
    """Three nodes with portfolios, a scheduler and a task timer in one database; ends with the ``with`` block."""

    def __init__(self, client: "redis.Redis", portfolios: int) -> None:
        self.client = client
        self.nodes = {name: Node() for name in ("n1", "n2", "n3")}
        self.portfolios = {f"p{number:02}" for number in range(portfolios)}
        self.timers = {"t1"}
        self.schedules, self.keeps_dead, self.database_fails = True, False, False
        self._next_look = 0.0
        self._now = 0.0
        self._dice = random.Random(1)  # noqa: S311 - each run is alike
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._step()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def suffer(self, fault: Callable[["Platform"], None]) -> None:
        with self._lock:
            fault(self)

    def _run(self) -> None:
        while not self._over.wait(BEAT):
            with self._lock:
                self._step()

    def _step(self) -> None:
        with suppress(redis.ResponseError):  # Redis may refuse writes
            self._beat()
        if self.schedules and self._now >= self._next_look:
            self._next_look = self._now + self._dice.uniform(*LOOP) / SPEED
            with suppress(redis.ResponseError):
                self._look()
        self._now += BEAT

    def _beat(self) -> None:
        for name, node in self.nodes.items():
            if node.alive:
                node.events += 0 if node.deaf else 100
                beat(
                    self.client,
                    name,
                    TTL,
                    portfolio_count=len(node.loaded),
                    queue_size=0 if node.deaf else 15,
                    total_events=node.events,
                    backpressure_count=0,
                    dropped_events=0,
                    status=node.status,
                    loaded_portfolio_ids=json.dumps(sorted(node.loaded)),
                )
        for timer in self.timers:
            seen = json.dumps({"timestamp": datetime.now(UTC).isoformat()})
            self.client.set(f"heartbeat:task_timer:{timer}", seen, px=round(TTL * 1000))

    def _look(self) -> None:
        healthy = [name for name in self.nodes if self.client.exists(f"heartbeat:node:{name}")]
        found: Mapping[Any, Any] = self.client.hgetall(PLAN)
        before = {portfolio.decode(): node.decode() for portfolio, node in found.items()}
        counts = {name: len(self.nodes[name].loaded) for name in healthy}
        existing = () if self.database_fails else self.portfolios
        plan = {} if self.database_fails else assigned(before, counts, existing, lambda _: self.keeps_dead)
        if plan != before:
            self.client.delete(PLAN)
            if plan:
                self.client.hset(PLAN, mapping=plan)  # type: ignore[arg-type] # dict is invariant
        for portfolio, name in plan.items():
            if name != ORPHANED and self.nodes[name].alive and portfolio not in self.nodes[name].refuses:
                self.nodes[name].loaded.add(portfolio)


def _dies(platform: Platform) -> None:
    platform.nodes["n1"].alive = False


def _dies_and_stays_planned(platform: Platform) -> None:
    platform.keeps_dead = True
    platform.nodes["n1"].alive = False


def _all_die(platform: Platform) -> None:
    for node in platform.nodes.values():
        node.alive = False


def _is_not_delivered(platform: Platform) -> None:
    node = platform.nodes["n2"]
    node.refuses = {min(node.loaded)}
    node.loaded -= node.refuses


def _runs_twice(platform: Platform) -> None:
    platform.nodes["n3"].loaded.add(min(platform.nodes["n1"].loaded))


def _is_deleted_and_runs_on(platform: Platform) -> None:
    platform.portfolios.discard(min(platform.nodes["n1"].loaded))


def _database_fails(platform: Platform) -> None:
    platform.database_fails = True


def _scheduler_hangs(platform: Platform) -> None:
    platform.schedules = False


def _writes_are_refused(platform: Platform) -> None:
    platform.client.config_set("min-replicas-to-write", 1)


def _one_is_deaf(platform: Platform) -> None:
    platform.nodes["n1"].deaf = True


def _all_are_paused(platform: Platform) -> None:
    for node in platform.nodes.values():
        node.status = "PAUSED"


def _timer_dies(platform: Platform) -> None:
    platform.timers.clear()


def _timer_runs_twice(platform: Platform) -> None:
    platform.timers.add("t2")


@dataclass(frozen=True)
class Fault:
    """Something that loses money silently.

    Attributes:
        happens: Does it to a platform.
        expected: The alerts about it.
        also: The alerts that follow from the same cause.
        portfolios: How many portfolios the platform has. Three nodes have room for 15.
    """

    happens: Callable[[Platform], None]
    expected: frozenset[str]
    also: frozenset[str] = frozenset()
    portfolios: int = 6


def _fault(happens: Callable[[Platform], None], *expected: str, also: str = "", portfolios: int = 6) -> Fault:
    return Fault(happens, frozenset(expected), frozenset(also.split()), portfolios)


FAULTS: Final = {
    "planned-on-a-dead-node": _fault(
        _dies_and_stays_planned, "GinkgoPortfoliosUntraded", also="GinkgoNodeOffline", portfolios=14
    ),
    "planned-and-never-loaded": _fault(_is_not_delivered, "GinkgoPortfoliosUntraded"),
    "no-node-could-be-found": _fault(
        _all_die,
        "GinkgoPortfoliosUntraded",
        also="GinkgoMassHeartbeatLoss GinkgoAllNodesOffline GinkgoNodesDisappeared",
    ),
    "dropped-from-the-plan": _fault(_dies, "GinkgoPortfoliosUntraded", also="GinkgoNodeOffline", portfolios=14),
    "run-by-two-nodes": _fault(_runs_twice, "GinkgoPortfolioDuplicated"),
    "run-and-not-planned": _fault(_is_deleted_and_runs_on, "GinkgoPortfoliosUnplanned"),
    "the-plan-is-gone": _fault(_database_fails, "GinkgoPlanLost"),
    "scheduler-hangs": _fault(_scheduler_hangs, "GinkgoSchedulerStalled"),
    "writes-are-refused": _fault(_writes_are_refused, "GinkgoRedisWritesRefused"),
    "a-deaf-node": _fault(_one_is_deaf, "GinkgoNodeDeaf"),
    "all-nodes-are-paused": _fault(_all_are_paused, "GinkgoNodePaused"),
    "task-timer-is-dead": _fault(_timer_dies, "GinkgoTaskTimerDown"),
    "two-task-timers": _fault(_timer_runs_twice, "GinkgoTaskTimerTwice"),
}
"""What the platform suffers without a word, each in an installation of its own, with the alerts that tell it."""
