"""The one model: random histories of nodes and of Redis with its faults, in simulated time, and what an exporter says.

The world knows which nodes live; an exporter sees only what Redis shows. A story may have one Redis or three
primaries, and an exporter that is started anew, with its journal or without. Stories of mass losses have no faults of
Redis, so that the numbers alone say which deaths belong together.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from clusters import Cluster

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTimeoutError
from exporter.source.reading import MISSING, Reading, Server

TTL: Final = 30.0
BEAT: Final = 10.0
TICK: Final = 0.25
CONNECT: Final = 1.0
"""Seconds that a node's client needs until it is connected again."""
LATE: Final = 45.0
"""Seconds of chance after which a death should be known."""
DEAD: Final = ("offline", "forgotten")


@dataclass
class Node:
    """A process that beats until it dies or stops."""

    next_beat: float
    slowness: float
    died: float | None = None
    stopped: bool = False
    unsure: bool = False
    """It has stopped, and Redis was at fault before that could be seen."""
    end: float = 0.0
    """When its last heartbeat ends."""


@dataclass
class Redis:
    """One Redis: what it holds, and what is wrong with it."""

    run: int = 1
    started: float = -1e6
    restored: bool = False
    up: bool = True
    hung: bool = False
    refusing: float = 0.0
    """The probability that a write is refused."""
    paused: bool = False
    cut_off_since: float | None = None
    """It is a replica whose master hangs since then."""
    refused: int = 0
    flushes: int = 0
    hashes: set[bytes] = field(default_factory=set)
    ends: dict[bytes, float] = field(default_factory=dict)

    @property
    def takes_writes(self) -> bool:
        return self.up and not self.hung and not self.paused and self.cut_off_since is None

    def server(self, now: float, address: str) -> Server:
        return Server(
            run_id=f"{address}-{self.run}",
            role="slave" if self.cut_off_since is not None else "master",
            uptime=float(int(now - self.started)),
            restored=self.restored,
            refused={"MISCONF": self.refused, "OOM": 0, "NOREPLICAS": 0},
            flushes=self.flushes,
            paused=self.paused,
            silence=0.0 if self.cut_off_since is None else float(int(now - self.cut_off_since)),
        )


class Exporter(Protocol):
    """An exporter under test."""

    def step(self) -> None:
        """Do what is due now."""

    def state(self, name: bytes) -> str | None:
        """Return the state of a node."""

    def holds(self, name: bytes) -> bool:
        """Return whether a death is held back, since it may be part of a mass loss."""

    def loss(self, name: bytes) -> object:
        """Return the mass loss that a node is a member of; None if it is not."""

    def restart(self, *, journal: bool) -> None:
        """Start anew, with the journal or without."""


@dataclass
class Tally:
    """What became of the lives of all stories.

    Attributes:
        lives: Nodes that lived.
        deaths: Nodes that died.
        false: Times that a living node was called dead, or a node that had stopped.
        late: Deaths that were seen only after more than ``LATE`` seconds in which Redis was well.
        missed: Deaths that were never known, though Redis was well for longer than that.
        losses: Mass losses by the numbers.
        torn: Mass losses that were not one page.
        lumped: Deaths of their own that had no page of their own.
        delays: Seconds from the end of a heartbeat to the verdict, for deaths of their own, without faults.
    """

    lives: int = 0
    deaths: int = 0
    false: int = 0
    late: int = 0
    missed: int = 0
    losses: int = 0
    torn: int = 0
    lumped: int = 0
    delays: list[float] = field(default_factory=list)


class World:
    """Redis, the nodes, and the clock. It is a reader, too: the exporter's only sight of it."""

    def __init__(self, seed: int, *, nodes: int, primaries: Sequence[str] = ("",)) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable
        self.now = 1000.0
        self.redis = {address: Redis() for address in primaries}
        self.owners = dict(zip("abc", primaries, strict=False))
        self.unreachable = False
        """The exporter's own network is down; the nodes' is not."""
        self.nodes = {
            b"%c%d" % (self.random.choice(b"abc"[: len(primaries)]), i): Node(
                self.now + self.random.uniform(0, BEAT), self.random.uniform(0, 0.5)
            )
            for i in range(nodes)
        }
        self.names = tuple(sorted(self.nodes))

    def clock(self) -> float:
        """Return the time, which each reading takes a little of."""
        return self.now

    def of(self, name: bytes) -> Redis:
        return self.redis[self.owners[name.decode()[:1]]]

    def found(self) -> frozenset[bytes]:
        """Return the names that a scan finds now."""
        return frozenset(name for name in self.names if name in self.of(name).hashes or name in self.of(name).ends)

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        yield self.read(names, deadline)

    def read(self, names: Sequence[bytes], _: float) -> Reading:
        readable = {address for address, redis in self.redis.items() if redis.up and not redis.hung}
        wanted = set(self.owners.values())
        if self.unreachable or not readable & wanted:
            hung = self.unreachable or any(self.redis[address].hung for address in wanted)
            raise SourceTimeoutError("hangs") if hung else SourceError("is down")
        left = [round((self.of(name).ends.get(name, 0.0) - self.now) * 1000) for name in names]
        servers = {address: self.redis[address].server(self.now, address) for address in wanted & readable}
        unread = frozenset(i for i, name in enumerate(names) if self.owners[name.decode()[:1]] not in readable)
        return Reading(
            asked=self.now,
            at=self.now + 0.001,
            wall=self.now,
            server=servers[""] if "" in servers else Cluster("", "cluster", members=servers, owners=dict(self.owners)),
            names=names,
            fields=([None] * len(names),) * len(FIELDS),
            ttl_ms=[MISSING if i in unread or ms <= 0 else ms for i, ms in enumerate(left)],
            beats=[b"2026-01-06T12:30:45" if ms > 0 else None for ms in left],
            without_hash=frozenset(i for i, name in enumerate(names) if name not in self.of(name).hashes),
            unread=unread,
        )

    def tick(self) -> None:
        """Let a moment pass: nodes beat, and heartbeats end."""
        self.now += TICK
        for name, node in self.nodes.items():
            redis = self.of(name)
            if node.died is not None or node.stopped or self.now < node.next_beat:
                continue
            if redis.up and (redis.hung or redis.paused or redis.cut_off_since is not None):
                continue  # its write waits
            node.next_beat = self.now + BEAT + node.slowness
            if not redis.up or self.now - redis.started < CONNECT:
                continue
            if self.random.random() < redis.refusing:
                redis.refused += 1
                continue
            node.end = redis.ends[name] = self.now + TTL
            redis.hashes.add(name)
        for redis in self.redis.values():
            redis.ends = {name: end for name, end in redis.ends.items() if end > self.now}

    @property
    def steady(self) -> bool:
        redis = self.redis.values()
        well = all(each.takes_writes and not each.refusing and self.now - each.started > TTL / 2 for each in redis)
        return well and not self.unreachable


class Story:
    """One random history.

    Args:
        seed: What makes it repeatable.
        make: Makes the exporter under test, which reads the world.
        tally: Counts what became of it.
        restarts: Whether the exporter is started anew, also while Redis is cut off from everybody.
        cluster: Whether there are three primaries.
        partial: Whether Redis refuses a part of the writes only.
        masses: Whether nodes die together, and Redis has no faults.
    """

    def __init__(  # noqa: PLR0913 - the kinds of stories
        self,
        seed: int,
        make: Callable[[World], Exporter],
        tally: Tally,
        *,
        restarts: bool = False,
        cluster: bool = False,
        partial: bool = False,
        masses: bool = False,
    ) -> None:
        rng = self._random = random.Random(seed + 1_000_000)  # noqa: S311 - repeatable
        nodes = rng.randint(4, 24) if masses else rng.randint(1, 6)
        self._world = World(seed, nodes=nodes, primaries=("A", "B", "C") if cluster else ("",))
        if masses and rng.random() < 0.5:  # the nodes were started together, and beat in step
            for node in self._world.nodes.values():
                node.next_beat, node.slowness = self._world.now + rng.uniform(0, 1), 0.0
        self._restarts, self._partial, self._masses = restarts, partial, masses
        self._exporter, self._tally = make(self._world), tally
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._well: Counter[bytes] = Counter()  # seconds in which Redis was well since a node died
        self._wronged: set[bytes] = set()
        self._noticed: set[bytes] = set()  # dead nodes that are known, or held back as part of a mass loss
        self._found: dict[bytes, object] = {}  # dead nodes that are known, with the mass loss of each
        self._steady_since = self._world.now
        self._alive_at: dict[bytes, int] = {}  # how many nodes lived when a node died
        tally.lives += nodes

    def run(self, seconds: float = 900.0) -> None:
        """Live through it."""
        world = self._world
        self._plan(world.now + seconds)
        # In the end all is well for so long that every death can be known.
        end = max([world.now + seconds, *(at for at, _, _ in self._events)]) + 3 * (TTL + BEAT)
        while world.now < end:
            while self._events and self._events[0][0] <= world.now:
                self._events.pop(0)[2]()
            world.tick()
            self._exporter.step()
            self._count()
        dead = [name for name, node in world.nodes.items() if node.died is not None]
        self._tally.missed += sum(name not in self._found and name in world.found() for name in dead)
        if self._masses:
            self._count_losses()

    def _count(self) -> None:
        steady, tally, now = self._world.steady, self._tally, self._world.now
        self._steady_since = self._steady_since if steady else now
        for name, node in self._world.nodes.items():
            dead = self._exporter.state(name) in DEAD
            node.unsure = node.stopped and (node.unsure or not steady)  # if keys are lost before anybody looks
            if node.died is None and not node.unsure:
                tally.false += dead and name not in self._wronged
                (self._wronged.add if dead else self._wronged.discard)(name)
            elif node.died is not None and name not in self._found:
                self._well[name] += TICK * steady  # type: ignore[assignment] # seconds
                if (dead or self._exporter.holds(name)) and name not in self._noticed:
                    self._noticed.add(name)
                    tally.late += self._well[name] > LATE
                if dead:
                    self._found[name] = self._exporter.loss(name)
                    if self._masses and self._found[name] is None:
                        tally.delays.append(now - node.end)

    def _count_losses(self) -> None:
        """Compare the deaths with the numbers of a mass loss, where these are beyond doubt."""
        ends = {name: node.end for name, node in self._world.nodes.items() if node.died is not None}
        for name, end in ends.items():
            near = [other for other, there in ends.items() if abs(there - end) <= TTL and other != name]
            if not near:
                self._tally.lumped += self._found.get(name) is not None
            together = [other for other in ends if 0 <= ends[other] - end <= BEAT + 1]
            apart = all(other in together for other in near)
            alive = max(self._alive_at[other] for other in together)  # they crashed in another order
            if apart and (len(together) >= 10 or (len(together) >= 3 and len(together) > 0.25 * alive)):
                losses = {self._found.get(other) for other in together}
                self._tally.losses += 1
                self._tally.torn += len(losses) > 1 or None in losses

    # --- what happens ----------------------------------------------------------------------

    def _plan(self, until: float) -> None:
        at = self._world.now + 60.0
        kinds: tuple[Callable[[float], float], ...] = (
            *(self._crash, self._crash, self._stop, self._restart, self._loop, self._hang, self._part, self._refuse),
            *(self._pause, self._cut_off, self._flush, self._lose_network),
        )
        if len(self._world.redis) > 1:
            kinds = (*kinds, self._move, self._fail_over)
        if self._restarts:
            kinds = (*kinds, self._start_exporter)
        if self._partial:
            kinds = (self._crash, self._refuse)
        if self._masses:
            kinds = (self._crash, self._die_together, self._die_together)
        while at < until:
            at = self._random.choice(kinds)(at + self._random.expovariate(1 / 60))

    def _at(self, at: float, what: Callable[[], object]) -> None:
        self._events.append((at, len(self._events), what))  # type: ignore[arg-type]
        self._events.sort(key=lambda event: event[:2])

    def _redis(self) -> Redis:
        return self._random.choice(list(self._world.redis.values()))

    def _die(self, name: bytes, alive: int) -> None:
        node = self._world.nodes[name]
        if node.died is None and not node.stopped:
            node.died = self._world.now
            self._tally.deaths += 1
            self._alive_at[name] = alive
            if name in self._wronged:
                self._found[name] = None

    def _alive(self) -> int:
        return sum(node.died is None and not node.stopped for node in self._world.nodes.values())

    def _crash(self, at: float) -> float:
        name = self._random.choice(self._world.names)
        self._at(at, lambda: self._die(name, self._alive()))
        return at

    def _die_together(self, at: float) -> float:
        wanted = self._random.randint(2, 12)

        def die() -> None:
            living = [name for name, node in self._world.nodes.items() if node.died is None]
            for name in self._random.sample(living, min(wanted, len(living))):
                self._die(name, len(living))

        self._at(at, die)
        return at + self._random.choice((5, 20, 90))

    def _stop(self, at: float) -> float:
        """Let a node stop gracefully, if Redis has been well for long; otherwise it cannot be told from a crash."""
        name = self._random.choice(self._world.names)

        def stop() -> None:
            redis, node = self._world.of(name), self._world.nodes[name]
            known = self._exporter.state(name) == "online" and node.end > self._world.now + TTL / 2
            if node.died is None and known and all(each.takes_writes for each in self._world.redis.values()):
                node.stopped = True
                redis.ends.pop(name, None)
                redis.hashes.discard(name)

        if not self._restarts and self._random.random() < 0.3:
            self._at(at, stop)
        return at

    def _restart(self, at: float) -> float:
        seconds = self._random.choice((0.5, 3, 20, 60, 200))
        return self._down(self._redis(), at, seconds, self._random.choice(("all", "old", "nothing")))

    def _loop(self, at: float) -> float:
        redis = self._redis()
        for _ in range(self._random.randint(2, 10)):
            at = self._down(redis, at, self._random.uniform(5, 25), "all") + self._random.uniform(2, 14)
        return at

    def _down(self, redis: Redis, at: float, seconds: float, keeps: str) -> float:
        dump: dict[str, Any] = {}

        def up() -> None:
            redis.up, redis.started, redis.run = True, self._world.now, redis.run + 1
            redis.refused = redis.flushes = 0
            redis.restored = keeps != "nothing"
            if keeps == "old":
                redis.hashes, redis.ends = set(dump["hashes"]), dict(dump["ends"])
            elif keeps == "nothing":
                redis.hashes, redis.ends = set(), {}

        self._at(at - 20, lambda: dump.update(hashes=set(redis.hashes), ends=dict(redis.ends)))
        self._at(at, lambda: setattr(redis, "up", False))
        self._at(at + seconds, up)
        return at + seconds

    def _for(self, at: float, seconds: float, what: object, name: str, *, value: object = True) -> float:
        """Set what is wrong at a moment; some seconds later it has its value of before again."""
        well = getattr(what, name)
        self._at(at, lambda: setattr(what, name, self._world.now if value == "now" else value))
        self._at(at + seconds, lambda: setattr(what, name, well))
        return at + seconds

    def _hang(self, at: float) -> float:
        return self._for(at, self._random.choice((2, 6, 20, 40, 100)), self._redis(), "hung")

    def _part(self, at: float) -> float:
        """Cut a Redis off from everybody."""
        seconds = self._random.choice((6, 20, 60, 100))
        if self._restarts and seconds > TTL / 2:
            self._at(at + 2, self._restart_exporter)
        return self._for(at, seconds, self._redis(), "up", value=False)

    def _start_exporter(self, at: float) -> float:
        """Start the exporter anew, unless there was a fault just before, of which a new process knows nothing."""

        def start() -> None:
            if self._steady_since < self._world.now - TTL:
                self._restart_exporter()

        self._at(at, start)
        return at

    def _restart_exporter(self) -> None:
        self._well.clear()  # a new process knows nothing of the chance that nodes had before it
        self._exporter.restart(journal=self._random.random() < 0.5)

    def _refuse(self, at: float) -> float:
        share = self._random.choice((0.3, 0.5, 0.7, 0.9)) if self._partial or self._random.random() < 0.3 else 1.0
        return self._for(at, self._random.choice((20, 60, 200)), self._redis(), "refusing", value=share)

    def _pause(self, at: float) -> float:
        return self._for(at, self._random.choice((10, 45, 120)), self._redis(), "paused")

    def _cut_off(self, at: float) -> float:
        return self._for(at, self._random.choice((10, 25, 60)), self._redis(), "cut_off_since", value="now")

    def _flush(self, at: float) -> float:
        redis = self._redis()

        def flush() -> None:
            if redis.takes_writes:
                redis.hashes, redis.ends = set(), {}
                redis.flushes += 1
                for node in self._world.nodes.values():
                    node.unsure = node.stopped

        self._at(at, flush)
        return at

    def _lose_network(self, at: float) -> float:
        for _ in range(self._random.randint(1, 12)):
            at = self._for(at, self._random.uniform(3, 12), self._world, "unreachable")
            at += self._random.uniform(8, 25)
        return at

    def _move(self, at: float) -> float:
        """Move the slots of some nodes to another primary, with their keys."""
        letter, world = self._random.choice("abc"), self._world
        to = self._random.choice(list(world.redis))

        def move() -> None:
            old, new = world.redis[world.owners[letter]], world.redis.get(to)
            if new and old.takes_writes and new.takes_writes:
                mine = [name for name in world.names if name.decode()[:1] == letter]
                new.ends |= {name: old.ends.pop(name) for name in mine if name in old.ends}
                new.hashes |= old.hashes.intersection(mine)
                old.hashes -= old.hashes.intersection(mine)
                world.owners[letter] = to

        self._at(at, move)
        return at

    def _fail_over(self, at: float) -> float:
        """Let a primary die; after a while its replica, with the data of a moment before, takes its slots over."""
        world, address = self._world, self._random.choice(list(self._world.redis))
        seconds, number = self._random.choice((3, 10, 30)), self._random.randrange(10**6)
        lag, copies = self._random.choice((0.0, 0.5)), []

        def take_over() -> None:
            old = world.redis.pop(address, None)
            if old is not None and copies:
                new = world.redis[f"{address[:1]}{number}"] = replace(old, run=1, up=True, hung=False)
                new.hashes, new.ends = set(copies[0][0]), dict(copies[0][1])
                new.refused, new.refusing, new.paused, new.cut_off_since = 0, 0.0, False, None
                world.owners = {k: f"{address[:1]}{number}" if v == address else v for k, v in world.owners.items()}

        def copy() -> None:
            if redis := world.redis.get(address):
                copies.append((set(redis.hashes), dict(redis.ends)))

        def die() -> None:
            if redis := world.redis.get(address):
                redis.up = False

        self._at(at - lag, copy)
        self._at(at, die)
        self._at(at + seconds, take_over)
        return at + seconds


def tell(seeds: Iterable[int], make: Callable[[World], Exporter], **kinds: bool) -> Tally:
    """Live through a story for each seed, each with an exporter of its own, and return what became of all lives."""
    tally = Tally()
    for seed in seeds:
        Story(seed, make, tally, **kinds).run()
    return tally
