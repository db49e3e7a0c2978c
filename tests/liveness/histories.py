"""Random histories of nodes and of a Redis with faults, in simulated time, and what the judge makes of them.

The world knows which nodes live. The judge knows what an exporter sees: a look at Redis once a second and,
while anything is wrong, four times a second, in which undecided nodes are read; and a scrape every 15 s.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.contract import FIELDS
from exporter.liveness.judge import State
from exporter.liveness.watch import CALM_PROBE, PROBE
from exporter.source.reading import MISSING, Reading, Server

TTL: Final = 30.0
BEAT: Final = 10.0
SCRAPE: Final = 15.0
CONNECT: Final = 1.0
"""Seconds that a node's client needs until it is connected again."""
LATE: Final = 45.0
"""Seconds of chance after which a death should be known."""


@dataclass
class Node:
    """A process that beats until it dies."""

    next_beat: float
    slowness: float
    died: float | None = None
    waiting: bool = False
    """Its write waits for a Redis that hangs."""


@dataclass
class Redis:
    """What Redis holds, and what is wrong with it."""

    now: float = 0.0
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
    unreachable: bool = False
    """The exporter's own network is down; the nodes' is not."""
    refused: int = 0
    flushes: int = 0
    hashes: set[bytes] = field(default_factory=set)
    ends: dict[bytes, float] = field(default_factory=dict)

    @property
    def readable(self) -> bool:
        return self.up and not self.hung and not self.unreachable

    @property
    def takes_writes(self) -> bool:
        return self.up and not self.hung and not self.paused and self.cut_off_since is None

    @property
    def server(self) -> Server:
        return Server(
            run_id=f"run-{self.run}",
            role="slave" if self.cut_off_since is not None else "master",
            uptime=float(int(self.now - self.started)),
            restored=self.restored,
            refused={"MISCONF": self.refused, "OOM": 0, "NOREPLICAS": 0},
            flushes=self.flushes,
            paused=self.paused,
            silence=0.0 if self.cut_off_since is None else float(int(self.now - self.cut_off_since)),
        )

    def read(self, names: Sequence[bytes]) -> Reading:
        left = [round((self.ends.get(name, 0.0) - self.now) * 1000) for name in names]
        return Reading(
            asked=self.now,
            at=self.now + 0.001,
            wall=self.now,
            server=self.server,
            names=names,
            fields=([None] * len(names),) * len(FIELDS),
            ttl_ms=[ms if ms > 0 else MISSING for ms in left],
            beats=[b"2026-01-06T12:30:45" if ms > 0 else None for ms in left],
            without_hash=frozenset(i for i, name in enumerate(names) if name not in self.hashes),
        )


@dataclass
class Tally:
    """What became of the lives of all histories.

    Attributes:
        lives: Nodes that lived.
        deaths: Nodes that died.
        false: Times that a living node was called dead.
        late: Deaths that were known only after more than ``LATE`` seconds in which Redis was well.
        missed: Deaths that were never known, though Redis was well for longer than that.
    """

    lives: int = 0
    deaths: int = 0
    false: int = 0
    late: int = 0
    missed: int = 0


class History:
    """One random history.

    Args:
        seed: What makes it repeatable.
        make: Makes the judge under test: it has ``ask``, ``observe``, ``judge`` and ``is_calm``.
        restarts: Whether the exporter is started anew while Redis is cut off from everybody.
    """

    def __init__(self, seed: int, make: Callable[[], Any], tally: Tally, *, restarts: bool) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self._make, self._tally, self._restarts = make, tally, restarts
        self._judge = make()
        self._redis = Redis()
        self._nodes = {
            b"n%d" % i: Node(self._random.uniform(0, BEAT), self._random.uniform(0, 0.5))
            for i in range(self._random.randint(1, 6))
        }
        self._names = tuple(sorted(self._nodes))
        self._states: dict[bytes, State] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._well: dict[bytes, float] = {}  # seconds in which Redis was well since a node died
        self._found: set[bytes] = set()
        self._wronged: set[bytes] = set()
        tally.lives += len(self._nodes)

    def run(self, seconds: float = 900.0) -> None:
        """Live through it."""
        self._plan(seconds)
        redis, scrape_at, look_at = self._redis, 0.0, 0.0
        last = max((at for at, _, _ in self._events), default=seconds)
        end = max(seconds, last) + 3 * (TTL + BEAT)  # in which all is well, so that every death can be known
        while redis.now < end:
            redis.now += PROBE
            while self._events and self._events[0][0] <= redis.now:
                self._events.pop(0)[2]()
            self._beat()
            redis.ends = {name: ends for name, ends in redis.ends.items() if ends > redis.now}
            scrape = redis.now >= scrape_at
            self._judge.ask(redis.now)
            if redis.readable and (scrape or redis.now >= look_at):
                self._judge.observe(redis.server, redis.now)
                undecided = [name for name, state in self._states.items() if state is State.UNDECIDED]
                if scrape:
                    scrape_at = redis.now + SCRAPE
                    self._look(self._names)
                elif undecided:
                    self._look(undecided)
                look_at = redis.now + (CALM_PROBE if self._judge.is_calm() else PROBE)
            self._count()
        self._tally.missed += sum(
            node.died is not None and name not in self._found for name, node in self._nodes.items()
        )

    def _look(self, names: Sequence[bytes]) -> None:
        states = self._judge.judge(self._redis.read(names)).states
        self._states.update(zip(names, states, strict=True))

    def _count(self) -> None:
        redis = self._redis
        steady = redis.readable and redis.takes_writes and redis.refusing == 0 and redis.now - redis.started > TTL / 2
        for name, node in self._nodes.items():
            dead = self._states.get(name) in (State.OFFLINE, State.FORGOTTEN)
            if node.died is None:
                if dead and name not in self._wronged:
                    self._tally.false += 1
                (self._wronged.add if dead else self._wronged.discard)(name)
                continue
            if name not in self._found:
                self._well[name] = self._well.get(name, 0.0) + PROBE * steady
                if dead:
                    self._found.add(name)
                    self._tally.late += self._well[name] > LATE

    def _beat(self) -> None:
        redis = self._redis
        for name, node in self._nodes.items():
            if node.died is not None or redis.now < node.next_beat:
                continue
            if redis.up and (redis.hung or redis.paused or redis.cut_off_since is not None):
                continue  # its write waits
            node.next_beat = redis.now + BEAT + node.slowness
            if not redis.up or redis.now - redis.started < CONNECT:
                continue
            if self._random.random() < redis.refusing:
                redis.refused += 1
                continue
            redis.ends[name] = redis.now + TTL
            redis.hashes.add(name)

    # --- what happens ----------------------------------------------------------------------

    def _plan(self, seconds: float) -> None:
        at = 60.0
        while at < seconds:
            at += self._random.expovariate(1 / 60)
            kind = self._random.choice(
                (
                    self._crash,
                    self._crash,
                    self._restart,
                    self._loop,
                    self._hang,
                    self._part,
                    self._refuse,
                    self._pause,
                    self._cut_off,
                    self._flush,
                    self._lose_network,
                )
            )
            at = kind(at)

    def _at(self, at: float, what: Callable[[], None]) -> None:
        self._events.append((at, len(self._events), what))
        self._events.sort(key=lambda event: event[:2])

    def _crash(self, at: float) -> float:
        name = self._random.choice(self._names)

        def crash() -> None:
            node = self._nodes[name]
            if node.died is None:
                node.died = self._redis.now
                self._tally.deaths += 1
                if self._states.get(name) is State.OFFLINE:
                    self._found.add(name)

        self._at(at, crash)
        return at

    def _restart(self, at: float) -> float:
        return self._down(
            at, self._random.choice((0.5, 3, 20, 60, 200)), self._random.choice(("all", "old", "nothing"))
        )

    def _loop(self, at: float) -> float:
        for _ in range(self._random.randint(2, 10)):
            at = self._down(at, self._random.uniform(5, 25), "all") + self._random.uniform(2, 14)
        return at

    def _down(self, at: float, seconds: float, keeps: str) -> float:
        redis = self._redis
        dump: dict[str, Any] = {}

        def save() -> None:
            dump.update(hashes=set(redis.hashes), ends=dict(redis.ends))

        def down() -> None:
            redis.up = False

        def up() -> None:
            redis.up, redis.started, redis.run = True, redis.now, redis.run + 1
            redis.refused = redis.flushes = 0
            redis.restored = keeps != "nothing"
            if keeps == "old":
                redis.hashes, redis.ends = dump["hashes"], dump["ends"]
            elif keeps == "nothing":
                redis.hashes, redis.ends = set(), {}

        self._at(at - 20, save)
        self._at(at, down)
        self._at(at + seconds, up)
        return at + seconds

    def _for(self, at: float, seconds: float, begin: Callable[[], None], end: Callable[[], None]) -> float:
        self._at(at, begin)
        self._at(at + seconds, end)
        return at + seconds

    def _set(self, **values: Any) -> Callable[[], None]:
        def change() -> None:
            for name, value in values.items():
                setattr(self._redis, name, self._redis.now if value == "now" else value)

        return change

    def _hang(self, at: float) -> float:
        seconds = self._random.choice((2, 6, 20, 40, 100))
        return self._for(at, seconds, self._set(hung=True), self._set(hung=False))

    def _part(self, at: float) -> float:
        """Cut Redis off from everybody."""
        seconds = self._random.choice((6, 20, 60, 100))
        if self._restarts and seconds > TTL / 2:
            self._at(at + 2, self._start_exporter)
        return self._for(at, seconds, self._set(up=False), self._set(up=True))

    def _start_exporter(self) -> None:
        self._judge, self._states = self._make(), {}

    def _refuse(self, at: float) -> float:
        seconds = self._random.choice((20, 60, 200))
        return self._for(at, seconds, self._set(refusing=1.0), self._set(refusing=0.0))

    def _pause(self, at: float) -> float:
        return self._for(at, self._random.choice((10, 45, 120)), self._set(paused=True), self._set(paused=False))

    def _cut_off(self, at: float) -> float:
        seconds = self._random.choice((10, 25, 60))
        return self._for(at, seconds, self._set(cut_off_since="now"), self._set(cut_off_since=None))

    def _flush(self, at: float) -> float:
        def flush() -> None:
            if self._redis.takes_writes:
                self._redis.hashes, self._redis.ends = set(), {}
                self._redis.flushes += 1

        self._at(at, flush)
        return at

    def _lose_network(self, at: float) -> float:
        for _ in range(self._random.randint(1, 12)):
            at = self._for(at, self._random.uniform(3, 12), self._set(unreachable=True), self._set(unreachable=False))
            at += self._random.uniform(8, 25)
        return at


def tell(seeds: Iterable[int], make: Callable[[], Any], *, restarts: bool = False) -> Tally:
    """Live through a history for each seed, each with a judge of its own, and return what became of all lives."""
    tally = Tally()
    for seed in seeds:
        History(seed, make, tally, restarts=restarts).run()
    return tally
