"""An installation in simulated time: nodes, a scheduler, workers, a fake Redis, exporters, and what Prometheus scrapes.

The nodes and the scheduler are those of the demo; the exporter is the real one, on a source that reads the fake Redis.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final

import hiredis
from redis import RedisError

from exporter.contract import LOADED_FIELD, WORKER_PREFIXES
from exporter.demo.platform import LOOP, TTL, Node, Platform
from exporter.errors import SourceError
from exporter.exposition.text import Format, exposition, own_families
from exporter.fleet import Fleet
from exporter.journal.journal import Journal
from exporter.settings import load
from exporter.source.discovery import Found
from exporter.source.plan import IdleTime, Plan
from exporter.source.reading import Reading, Server
from exporter.telemetry import Telemetry
from lab.fake_redis import FakeRedis
from lab.nodes import WALL, Pair, reading_of

WARM_UP: Final = 120.0
"""Seconds for which nodes and exporters run before the first scrape."""
SCRAPED_AFTER: Final = 0.001
"""Seconds from an event to a scrape of the same time, so that the scrape shows the event."""
OLD: Final = 12_000.0, 40.0, 7.0
"""Counters of a node that has run for a while: events, backpressure, drops."""
PERIOD: Final = 10.1
"""Seconds between two beats: ten, and the time of the loop's own work."""
JOB: Final = "ginkgo-exporter"
_METRICS, _HEARTBEAT, _PLAN = b"node:metrics:", b"heartbeat:node:", b"schedule:plan"
AWAY: Final[dict[str, str]] = {}
"""The scrape of a Prometheus that is away."""
_OWN: Final = ("ginkgo_exporter_internal_errors_total", "ginkgo_journal_write_errors_total")


class Timeline:
    """A clock that jumps from one action to the next; ``now`` is the time of the action that is running, in seconds."""

    def __init__(self, start: float) -> None:
        self.now = start
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def clock(self) -> float:
        return self.now

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Run an action once."""
        heapq.heappush(self._waiting, (when, next(self._order), action))

    def every(self, period: float, first: float, action: Callable[[], object]) -> None:
        """Run an action again and again."""
        self.at(first, lambda: (action(), self.every(period, self.now + period, action)))  # type: ignore[func-returns-value]

    def run(self, until: float) -> None:
        """Run everything up to a time, that time included; an action may call this, too, to let time pass."""
        while self._waiting and self._waiting[0][0] <= until:
            self.now, _, action = heapq.heappop(self._waiting)
            action()
        self.now = max(self.now, until)


@dataclass
class StoryNode(Node):
    """A node with a chosen load, which may start, end and start again.

    Attributes:
        world: Where it lives.
        period: Seconds between two beats.
        writes_metrics, reaches_redis: Whether it writes its hash; whether it writes at all.
        events, backpressure, drops: Events, push-backs of full queues, and dropped events per second.
        queue, filling: Average queue length, and its growth per second, up to 1,000.
        portfolios: Number of loaded portfolios, for a node that does not list them.
        stuck, sticking: Length and growth of the queue of the first portfolio that it lists; None if it is like the
            others.
        counters: Its events, backpressure and drops so far.
    """

    world: "World" = field(kw_only=True)
    period: float = PERIOD
    writes_metrics: bool = True
    reaches_redis: bool = True
    events: float = 10.0
    backpressure: float = 0.0
    drops: float = 0.0
    queue: float = 15.0
    filling: float = 0.0
    portfolios: int = 3
    stuck: float | None = None
    sticking: float = 0.0
    counters: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    _life: int = 0

    def begin(self, counters: Iterable[float] = (0.0, 0.0, 0.0), loaded: tuple[str, ...] = ()) -> None:
        """Delete the keys of an earlier life, and begin to beat."""
        self.end()
        self.counters, self.loaded = list(counters), loaded
        self._life += 1
        self.alive, self.status, self._last = True, "RUNNING", self.world.timeline.now
        self._beat_on(self._life)

    def end(self) -> None:
        """Stop gracefully: both keys are deleted."""
        self.alive = False
        self.world.tries(lambda: self.world.client.delete(*self.own_keys))

    def change_load(self, **changes: float) -> None:
        """Change the node's self."""
        self._pass(self.world.timeline.now)
        for name, value in changes.items():
            setattr(self, name, value)

    def _beat_on(self, life: int) -> None:
        now = self.world.timeline.now
        if not self.alive or life != self._life:
            return
        if self.reaches_redis:
            self.world.tries(lambda: self.beat(self.world.client, now))
        self.world.timeline.at(now + self.period, lambda: self._beat_on(life))

    def _pass(self, now: float) -> None:
        seconds, self._last = now - self._last, now
        for place, rate in enumerate((self.events, self.backpressure, self.drops) if self.alive else ()):
            self.counters[place] += rate * seconds
        self.queue = min(self.queue + self.filling * seconds, 1000.0)
        if self.stuck is not None:
            self.stuck = min(self.stuck + self.sticking * seconds, 1000.0)

    def _queue(self, place: int) -> int:
        return int(self.queue if place or self.stuck is None else self.stuck)

    def fields(self) -> dict[Any, Any]:
        """Return the fields of its hash."""
        queues: list[float] = [self._queue(place) for place in range(len(self.loaded))] or [self.queue]
        events, backpressure, drops = map(int, self.counters)
        values = {
            "portfolio_count": len(self.loaded) if self.world.portfolios else self.portfolios,
            "queue_size": int(sum(queues) / len(queues)),
            "cpu_usage": 0.0,
            "memory_usage": 0,
            "total_events": events,
            "backpressure_count": backpressure,
            "dropped_events": drops,
            "status": self.status,
        }
        return values | ({LOADED_FIELD: json.dumps(self.loaded)} if self.world.portfolios else {})

    def state(self, place: int) -> dict[Any, Any]:
        """Return the state of a portfolio: each has two open positions."""
        return super().state(place) | {"position_count": "2"}

    def beat(self, redis: Any, now: float) -> None:
        """Write the heartbeat, and all else unless the node writes no hash."""
        if self.writes_metrics:
            super().beat(redis, now)
        else:
            redis.set(self.own_keys[0], "alive", px=round(self.ttl * 1000))


class Scheduler(Platform):
    """The scheduler of the platform.

    Attributes:
        deployed: New portfolios, which the next look places.
        schedules: Whether it looks at the plan.
        unheard: Nodes that its messages do not reach.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world.client, list(world.nodes.values()), world.timeline.clock)
        self.nodes = world.nodes  # type: ignore[assignment] # with those that come later
        self.deployed, self.unheard, self.schedules, self._world = set[str](), set[str](), True, world
        world.timeline.at(world.timeline.now + self._dice.uniform(15, LOOP[1]), self._loop)

    def _loop(self) -> None:
        if self.schedules:
            self._world.tries(self.look)
        self._world.timeline.at(self.clock() + self._dice.uniform(*LOOP), self._loop)

    def look(self) -> None:
        """Look at the plan, and tell the nodes what to load and what to unload; some hear nothing.

        A portfolio that has dropped out of the plan stays out of it.
        """
        before = self._plan()
        self.portfolios = set(before) | self.deployed
        self.deployed.clear()
        kept = {name: node.loaded for name, node in self.nodes.items()}
        super().look()
        plan = self._plan()
        for name, node in self.nodes.items():
            own = [each for each in kept[name] if before.get(each) != name]  # no plan gave it these
            told = [each for each, its_node in plan.items() if its_node == name]
            node.loaded = kept[name] if name in self.unheard else tuple(dict.fromkeys((*own, *told)))


class SimulatedSource:
    """What the exporter asks a source for, answered by a fake Redis.

    Attributes:
        reads: Whether this exporter reaches it.
    """

    def __init__(self, redis: FakeRedis) -> None:
        self._fake, self._clock, self.reads, self._idle = redis, redis.clock, True, IdleTime()

    def reader(self) -> "SimulatedSource":
        return self

    @property
    def _redis(self) -> FakeRedis:
        if self._fake.down or not self.reads:
            raise SourceError("the simulated Redis is down")
        return self._fake

    def _server(self) -> Server:
        redis = self._redis
        return Server(
            f"run-{redis.run}",
            "master",
            uptime=self._clock() - redis.started,
            restored=redis.restored,
            refused=dict(redis.refused),
            last_save_ok=redis.refusing != "MISCONF",
            memory_used_ratio=redis.memory,
            saving=redis.saving,
        )

    def _pair(self, name: bytes) -> Pair:
        held = {field.decode(): value for field, value in self._redis.value(_METRICS + name, {}).items()}
        return Pair(self._redis.left(_HEARTBEAT + name), held or None)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:  # noqa: ARG002 - it answers at once
        """Return a reading of some nodes."""
        return reading_of({name: self._pair(name) for name in names}, self._clock(), self._server(), names)

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        yield self.read(names, deadline)

    def discover(self, timeout: float) -> Found:  # noqa: ARG002
        """Return the names of all nodes that have keys."""
        keys, workers = self._redis.keys(), tuple(prefix.encode() for prefix in WORKER_PREFIXES.values())
        names = {key.split(b":", 2)[2] for key in keys if key.startswith((_METRICS, _HEARTBEAT))}
        return Found(frozenset(names), 0.01, workers=frozenset(key for key in keys if key.startswith(workers)))

    def gather(self, keys: Sequence[bytes], command: Callable[[bytes], bytes], deadline: float) -> list[Any]:  # noqa: ARG002
        """Return the reply about each key."""
        reader = hiredis.Reader()
        for key in keys:
            reader.feed(command(key))
        return [self._redis.execute(*reader.gets()) for _ in keys]

    def plan(self, deadline: float) -> Plan:  # noqa: ARG002
        """Return the plan, and for how long nobody but the exporter has looked at it."""
        plan, looked = self._redis.value(_PLAN, {}), self._redis.execute(b"OBJECT", b"IDLETIME", _PLAN)
        return Plan(plan, self._idle.counted(looked, self._server(), self._clock()))


class SimulatedExporter:
    """One exporter, which looks at Redis and discovers names; and its samples.

    Args:
        world: Where it runs.
        labels: The labels that Prometheus adds to its series.
        settings: Its settings.

    Attributes:
        running, discovers: Whether the process runs; whether it looks for names.
        found: Whether Prometheus finds it.
        labels: The labels of its series.
        scrapes: The samples of each scrape, as texts.
    """

    def __init__(self, world: "World", labels: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        self._world, self._timeline, self._settings = world, world.timeline, load(settings)
        self.labels = {"job": JOB, **labels}
        self.scrapes = [AWAY] * (world.scrapes + 1)
        self.source = SimulatedSource(world.redis)
        self.running = self.discovers = self.found = True
        self._timeline.every(1.0, self._timeline.now, self._look)
        self._timeline.every(10.0, self._timeline.now, self._discover)
        self.start()

    def start(self) -> None:
        """Start as a new process, without any memory of nodes."""
        self.running, clock = True, self._timeline.clock
        self.telemetry = Telemetry()
        self.journal = Journal(None, self.telemetry, lambda: WALL + clock(), clock)
        self.fleet = Fleet(self._settings, self.telemetry, self.source, clock, self.journal)  # type: ignore[arg-type]
        self.fleet._closed.wait = self._pause  # type: ignore[method-assign,assignment] # time passes in place of waiting
        self.fleet._watch._request = lambda: None
        self._discover()

    def _scrape(self) -> str | None:
        """Return the metrics that it exports now; None if it is down."""
        if not self.running:
            return None
        snapshot = None
        if self.fleet.discovery.last:
            with suppress(SourceError):
                snapshot = self.fleet.read_here()
        if self.fleet.discovery._rung.is_set():
            self._timeline.at(self._timeline.now, self._discover)
        own = self.telemetry.registry.restricted_registry(_OWN).collect()
        families = (*own_families(snapshot, self.fleet.info), *own)
        return b"".join(exposition(snapshot, families, Format.TEXT)).decode()

    def _pause(self, seconds: float | None = None) -> bool:
        self._timeline.run(self._timeline.now + (seconds or 0.0))
        return False

    def _look(self) -> None:
        if self.running:
            self.fleet._watch.look()
            self.fleet._watch.tell()

    def _discover(self) -> None:
        if self.running and self.discovers:
            discovery = self.fleet.discovery
            discovery._rung.clear()
            with suppress(SourceError):
                discovery.discover()
                # promtool's time begins at 0
                discovery.last = discovery.last and discovery.last._replace(timestamp=self._timeline.now)
            discovery._tried.set()

    def store(self, *, away: bool) -> None:
        """Store the answer of a scrape; nothing while Prometheus is away."""
        samples = AWAY if away else dict[str, str]()
        if self.found and not away:
            body = self._scrape()
            samples["up"] = "0" if body is None else "1"
            for line in (body or "#").splitlines():
                if line[0] != "#":
                    name, _, samples[name] = line.rpartition(" ")
        self.scrapes.append(samples)


class World:
    """One run of an installation.

    Args:
        nodes: Number of nodes at the beginning: n1, n2, …
        portfolios: Number of portfolios, p1, p2, …, spread over the nodes. Without any there is no scheduler, and the
            nodes do not say what they have loaded.
        exporters: Names of the exporters: the host part of ``instance``.
        interval: Seconds between two scrapes.
        labels: Labels that Prometheus adds to all series, beside ``job`` and ``instance``.
        settings: Settings of the exporters.

    Attributes:
        exporters: The exporters by the names of their present targets.
        targets: All exporters, former targets too.
        prometheus_away: Whether Prometheus scrapes nothing.
        scrapes: Number of scrapes so far.
    """

    def __init__(  # noqa: PLR0913 - a declaration in keywords
        self,
        nodes: int,
        portfolios: int,
        *,
        exporters: Sequence[str],
        interval: float,
        labels: Mapping[str, str],
        settings: Mapping[str, Any],
    ) -> None:
        self._labels, self._settings = labels, settings
        self.timeline = Timeline(-WARM_UP)
        self.redis = FakeRedis(self.timeline.clock)
        self.client = self.redis.client()
        self.portfolios = [f"p{number}" for number in range(1, portfolios + 1)]
        self.nodes: dict[str, StoryNode] = {}
        self.scheduler: Scheduler | None = None
        self.workers: set[str] = set()
        self.prometheus_away = False
        for number in range(1, nodes + 1):
            begin = partial(self.node(f"n{number}").begin, OLD, tuple(self.portfolios[number - 1 :: nodes]))
            # Beats are spread over the period, as if the nodes had started at different times.
            self.timeline.at(-WARM_UP + number * 3.7 % 10, begin)
        if portfolios:
            self.plan_is(**{portfolio: f"n{1 + place % nodes}" for place, portfolio in enumerate(self.portfolios)})
            self.scheduler = Scheduler(self)
            self.workers |= {"heartbeat:task_timer:t1", "heartbeat:data_worker:d1", "heartbeat:data_worker:d2"}
        self.timeline.every(1.0, self.timeline.now, self._beat_workers)
        self.exporters: dict[str, SimulatedExporter] = {}
        self.targets: list[SimulatedExporter] = []
        self.scrapes = 0
        for name in exporters:
            self._add(name)
        self.timeline.every(interval, SCRAPED_AFTER, self._scrape)

    def node(self, name: str) -> StoryNode:
        """Return the node of a name; it is created if the name is new."""
        if name not in self.nodes:
            self.nodes[name] = StoryNode(name, len(self.nodes), world=self)
        return self.nodes[name]

    def tries(self, write: Callable[[], object]) -> None:
        """Write; a write that Redis refuses is lost."""
        with suppress(RedisError):
            write()

    def plan_is(self, **plan: str) -> None:
        """Replace the plan."""
        self.client.delete(_PLAN)
        if plan:
            self.client.hset("schedule:plan", mapping=dict[Any, Any](plan))

    def move(self, name: str, to: str) -> None:
        """Let an exporter start again with another ``instance``; its old target is gone."""
        target = self.exporters.pop(name)
        target.running = target.found = False
        self._add(to)

    def _add(self, name: str) -> None:
        labels = {**self._labels, "instance": f"{name}:19121"}
        self.exporters[name] = SimulatedExporter(self, labels, self._settings)
        self.targets.append(self.exporters[name])

    def _beat_workers(self) -> None:
        for key in () if self.redis.down else self.workers:
            self.redis.execute(b"SET", key.encode(), b"{}", b"PX", b"%d" % (TTL * 1000))

    def _scrape(self) -> None:
        for target in self.targets:
            target.store(away=self.prometheus_away)
        self.scrapes += 1
