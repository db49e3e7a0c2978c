"""The simulated platform: nodes that beat, their scheduler, and Redis's disk.

All of it happens in ``Platform.step``, by plain Redis commands one after the other. So a caller can drive the platform
by a clock of its own, and can see each write by passing a client that records it.
"""

import json
import math
import random
import shutil
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from redis import Redis, RedisError

from exporter.contract import NUMBERS
from exporter.errors import ExporterError
from exporter.settings import Keys

BEAT: Final = 10.0
"""Seconds from one beat of a node to the next."""
TTL: Final = 30.0
"""Seconds that a heartbeat lives."""
LOOP: Final = (31.0, 36.0)
"""Seconds from one look of the scheduler to the next, at least and at most."""
LIMIT: Final = 5
"""Portfolios that a node can have."""
QUEUE_LIMIT: Final = 1000
"""Events in a full queue of a portfolio."""
ORPHANED: Final = "__ORPHANED__"
"""The plan's node of a portfolio for which the scheduler found no node."""
_HEADROOM: Final = 1.6
_FLOOD: Final = 4.0


def assigned(before: Mapping[str, str], counts: Mapping[str, int], portfolios: Collection[str]) -> dict[str, str]:
    """Return the plan that the platform's scheduler makes of the last plan.

    Args:
        before: The last plan: the node of each portfolio.
        counts: How many portfolios each healthy node has.
        portfolios: All portfolios that exist.
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
    return plan


@dataclass
class Node:
    """A simulated ExecutionNode, and what it writes to Redis.

    Events arrive in a slow wave around the node's usual rate. It processes 1.6 times that rate. During a flood four
    times the usual rate arrives: the queues fill up, and events that find a full queue are pushed back and dropped.

    Attributes:
        node_id: Its id.
        number: Gives each node a rate and a wave of its own.
        keys: The names of the platform's keys.
        ttl: Seconds of real time that its heartbeat lives.
        loaded: The portfolios that it has loaded.
        alive: Whether it beats.
        flooded: Whether more events arrive than it can process.
        due: When it beats next, in seconds of the platform's time.
    """

    node_id: str
    number: int = 0
    keys: Keys = field(default_factory=Keys)
    ttl: float = TTL
    loaded: tuple[str, ...] = ()
    alive: bool = False
    flooded: bool = False
    due: float = 0.0
    _last: float = 0.0
    _events: float = 0.0
    _backlog: float = 0.0
    _overflow: float = 0.0

    @property
    def own_keys(self) -> tuple[str, str]:
        """The names of its heartbeat and its hash."""
        return self.keys.heartbeat_prefix + self.node_id, self.keys.metrics_prefix + self.node_id

    def start(self, redis: "Redis", now: float) -> None:
        """Start at a moment of the platform's time: delete what an earlier life left, and beat, counters from 0."""
        redis.delete(*self.own_keys)
        self._last, self.due, self.alive, self.flooded = now, now + BEAT, True, False
        self._events = self._backlog = self._overflow = 0.0
        self.beat(redis, now)

    def beat(self, redis: "Redis", now: float) -> None:
        """Write the heartbeat, then the hash, then the state of each loaded portfolio."""
        heartbeat, metrics = self.own_keys
        redis.set(heartbeat, datetime.now(UTC).isoformat(timespec="microseconds"), px=round(self.ttl * 1000))
        self._pass(now)
        redis.hset(metrics, mapping=self.fields())
        for place, portfolio in enumerate(self.loaded):
            redis.hset(f"{self.keys.portfolio_prefix}{portfolio}:state", mapping=self.state(place))

    def crash(self) -> None:
        """End at once: both keys stay, and the heartbeat expires."""
        self.alive, self.loaded = False, ()

    def stop(self, redis: "Redis") -> None:
        """Stop gracefully: delete the heartbeat, then the hash."""
        self.crash()
        for key in self.own_keys:
            redis.delete(key)

    def flood(self, *, on: bool) -> None:
        """Let more events arrive than it can process, or no longer."""
        self.flooded = on

    def fields(self) -> dict[Any, Any]:
        """Return the fields of its hash."""
        queues = [self._queue(place) for place in range(len(self.loaded))]
        return {
            **{metric.field: int(self._events) // 100 for metric in NUMBERS},  # for fields that are not simulated
            "portfolio_count": str(len(self.loaded)),
            "queue_size": str(sum(queues) // max(1, len(queues))),
            "cpu_usage": f"{4 + 12 * len(self.loaded) + self._backlog / 50:.1f}",
            "memory_usage": str(160 + 45 * len(self.loaded)),
            "total_events": str(int(self._events)),
            "backpressure_count": str(int(self._overflow)),
            "dropped_events": str(int(self._overflow)),
            "status": "RUNNING",
            "loaded_portfolio_ids": json.dumps(self.loaded),
        }

    def state(self, place: int) -> dict[Any, Any]:
        """Return the fields of the state of a loaded portfolio, by its place in ``loaded``."""
        return {
            "status": "RUNNING",
            "queue_size": str(self._queue(place)),
            "buffer_size": "0",
            "position_count": str(2 + (self.number + 3 * place) % 5),
            "node_id": self.node_id,
        }

    def _pass(self, now: float) -> None:
        """Let events arrive from the last beat until now."""
        seconds, self._last = now - self._last, now
        usual = (80 + 25 * (self.number % 5)) * seconds if self.loaded else 0.0
        arrived = usual * (1 + 0.3 * self._wave(0)) * (_FLOOD if self.flooded else 1)
        backlog = self._backlog + (arrived - usual * _HEADROOM) / max(1, len(self.loaded))
        self._events += arrived
        self._overflow += max(0.0, backlog - QUEUE_LIMIT) * len(self.loaded)
        self._backlog = min(max(backlog, 0.0), QUEUE_LIMIT)

    def _queue(self, place: int) -> int:
        """Return the queue of a portfolio. The queues of a node rise and fall one after the other."""
        return int(min(QUEUE_LIMIT, self._backlog + 12 + 9 * self._wave(place)))

    def _wave(self, place: int) -> float:
        return math.sin(self._last / 7 + 2.4 * self.number + 0.7 * place)


class Disk:
    """The disk of a Redis or Valkey that saves snapshots, as the platform's Redis does.

    It refuses all writes after a failed snapshot. A folder in the snapshot's place makes a snapshot fail, as a full
    disk would.

    Args:
        redis: The server.
        folder: Its working directory.
    """

    def __init__(self, redis: "Redis", folder: Path) -> None:
        self._redis, self._snapshot = redis, folder / "dump.rdb"

    def fill(self) -> None:
        """Let a snapshot fail."""
        self._snapshot.unlink(missing_ok=True)
        (self._snapshot / "no room").mkdir(parents=True)
        self._redis.config_set("save", "3600 1000000")
        self._redis.bgsave()

    def free(self) -> None:
        """Let the next snapshot succeed. All writes are taken again at once."""
        shutil.rmtree(self._snapshot, ignore_errors=True)
        self._redis.config_set("save", "")  # the server takes writes again
        self._redis.bgsave()  # and its last snapshot succeeded


class Platform:
    """Nodes and their scheduler in one Redis. Not thread-safe but for ``todo``.

    The scheduler takes each node with a heartbeat for healthy, and rewrites the plan by ``DEL``, then ``HSET``. A
    portfolio that finds no room drops out of the plan. Without any healthy node all portfolios are orphaned. The
    scheduler has no heartbeat: only its looks at the plan show that it lives.

    Args:
        redis: The client of all reads and writes.
        nodes: The nodes, which share their names of keys. What they have loaded is the first plan.
        clock: Returns the platform's time in seconds.
        tell: Takes each line that the platform has to say.

    Attributes:
        redis, clock: As above.
        nodes: The nodes by id.
        portfolios: All portfolios that exist.
        todo: What happens at the next step, before all else.
        next_look: The time of the scheduler's next look; infinity if it never looks.
    """

    def __init__(
        self,
        redis: "Redis",
        nodes: Sequence[Node],
        clock: Callable[[], float],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.nodes = {node.node_id: node for node in nodes}
        self.portfolios = {portfolio for node in nodes for portfolio in node.loaded}
        self.todo: deque[Callable[[], object]] = deque()
        self.next_look = LOOP[0]
        self.redis, self.clock, self._tell = redis, clock, tell
        self._keys = nodes[0].keys
        self._dice = random.Random(1)  # noqa: S311 - each run is alike

    def begin(self) -> None:
        """Write the plan, and let all nodes beat.

        Raises:
            ExporterError: Redis has the plan of a real platform, or cannot be used.
        """
        plan = {portfolio: node.node_id for node in self.nodes.values() for portfolio in node.loaded}
        try:
            if not self._plan().keys() <= plan.keys():
                raise ExporterError(
                    f"--redis.url: this Redis has the plan of a platform ({self._keys.plan}), and the demo would"
                    " overwrite it; the demo needs a Redis of its own"
                )
            self._write(plan)
            for node in self.nodes.values():
                node.start(self.redis, self.clock())
        except RedisError as error:
            raise ExporterError(f"--redis.url: the nodes cannot write to Redis: {error}") from None

    def end(self) -> None:
        """Delete all keys of the platform."""
        states = [f"{self._keys.portfolio_prefix}{portfolio}:state" for portfolio in self.portfolios]
        nodes = [key for node in self.nodes.values() for key in node.own_keys]
        with suppress(RedisError):
            self.redis.delete(self._keys.plan, *states, *nodes)

    def step(self) -> None:
        """Do what is due now. A beat that Redis refuses is lost; the next beats follow all the same."""
        now = self.clock()
        with suppress(RedisError):
            while self.todo:
                self.todo.popleft()()
            for node in self.nodes.values():
                if node.alive and node.due <= now:
                    node.due = max(node.due + BEAT, now)
                    node.beat(self.redis, now)
        if self.next_look <= now:
            self.next_look = now + self._dice.uniform(*LOOP)
            try:
                self.look()
            except RedisError as error:
                self._tell(f"the scheduler cannot rewrite the plan: Redis says {str(error).partition(' ')[0]}")

    def look(self) -> None:
        """Let the scheduler look at the plan once, and let the healthy nodes load what it says."""
        before, counts = self._plan(), {}
        for name in self.nodes:
            if self.redis.exists(self._keys.heartbeat_prefix + name):
                counts[name] = int(self.redis.hget(self._keys.metrics_prefix + name, "portfolio_count") or 0)
        plan = assigned(before, counts, self.portfolios)
        if plan != before:
            self._write(plan)
            moves = [
                f"{portfolio} to {plan.get(portfolio, 'no node')}"
                for portfolio in sorted(self.portfolios)
                if plan.get(portfolio) != before.get(portfolio)
            ]
            self._tell(f"the scheduler moves {', '.join(moves)}")
        for name, node in self.nodes.items():
            if node.alive and name in counts:
                node.loaded = tuple(portfolio for portfolio, its_node in plan.items() if its_node == name)

    def _plan(self) -> dict[str, str]:
        found: Mapping[Any, Any] = self.redis.hgetall(self._keys.plan)
        return {portfolio.decode(errors="replace"): node.decode(errors="replace") for portfolio, node in found.items()}

    def _write(self, plan: Mapping[Any, Any]) -> None:
        """Replace the plan. It is missing for a moment, as on the platform."""
        self.redis.delete(self._keys.plan)
        if plan:
            self.redis.hset(self._keys.plan, mapping=dict(plan))
