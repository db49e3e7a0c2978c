"""The platform of the soak: simulated nodes that beat, stop, crash, freeze and return, and the truth about each."""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from threading import Event, Lock, RLock, Thread
from typing import Final

from redis import Redis, RedisError, ResponseError

from lab.soak.measure import PortfolioValues, measure
from lab.soak.servers import BEAT, TTL
from lab.soak.truth import Key, Span, Write

NAMES: Final = (
    *(f"node-{number}" for number in range(18)),
    "with space",
    'with "quotes" and \\',
    "with\nline",
    "a:b:c",
    "节点-1",
    "<b>bold</b> & co",
)
_REFUSALS: Final = ("MISCONF", "NOREPLICAS", "command not allowed when used memory")
"""The first words of errors by which Redis refuses writes; redis-py removes ``OOM``."""
_LOOK: Final = 0.02
_AGAIN: Final = 0.25


class Mode(StrEnum):
    """What a node does now."""

    GONE = "gone"
    STARTING = "starting"
    LIVING = "living"
    FROZEN = "frozen"
    CRASHED = "crashed"
    STOPPING = "stopping"


ACTS: Final = {
    "start": (Mode.GONE, Mode.STARTING, 4),
    "stop": (Mode.LIVING, Mode.STOPPING, 1),
    "crash": (Mode.LIVING, Mode.CRASHED, 1),
    "return": (Mode.CRASHED, Mode.STARTING, 2),
    "freeze": (Mode.LIVING, Mode.FROZEN, 1),
    "thaw": (Mode.FROZEN, Mode.LIVING, 2),
}
"""Changes of a node: its mode before, its mode afterwards, and the weight of the change among all changes."""


@dataclass(slots=True)
class Node:
    """One node id, and all lives of nodes with this id.

    Attributes:
        appeared: Time of the first beat after a time without heartbeat.
        births: Start times of its lives, the latest last. The keys of the life before are deleted by then.
        number: Number of the id; it decides whether the node is a newer one.
        loaded: The portfolios that it has loaded.
        inbox: Messages of the scheduler that it has not read yet: a portfolio, and whether to load or to unload it.
            A node reads them before each beat, so that the list in its hash is what it has loaded.
    """

    name: str
    number: int
    mode: Mode = Mode.GONE
    heartbeat: Key = field(default_factory=Key)
    hash: Key = field(default_factory=Key)
    appeared: float = 0.0
    births: list[float] = field(default_factory=list)
    due: float = 0.0
    counters: tuple[int, int, int] = (0, 0, 0)
    loaded: frozenset[str] = frozenset()
    inbox: deque[tuple[str, bool]] = field(default_factory=deque)

    @property
    def newer(self) -> bool:
        """Whether it writes its status, an offset and its list of portfolios."""
        return self.number % 3 > 0


class Platform:
    """All nodes. One thread writes for them. One lock guards their modes and the record of their writes.

    Args:
        connect: Returns a client of Redis.
        seed: Seed of the random values that nodes write.

    Attributes:
        plan: The scheduler's plan: the node of each portfolio.
        looks: The looks of the scheduler at the plan, noted as writes: a look changes the plan's idle time.
        states: The writes of each portfolio's state.
        refused: The times of request and reply of each write that Redis refused.
        taken: The time of each heartbeat that Redis took.
        writing: Held while a node or the scheduler writes.
    """

    def __init__(self, connect: "Callable[[], Redis]", seed: int) -> None:
        self.lock = RLock()
        self.nodes = {name: Node(name, number) for number, name in enumerate(NAMES)}
        self.plan = Key()
        self.looks = Key()
        self.states: dict[str, Key] = {}
        self.beats = 0
        self.failed = 0
        self.refused: deque[Span] = deque(maxlen=2000)
        self.taken: deque[float] = deque(maxlen=2000)
        self.writing = Lock()
        self._client = connect()
        self._random = random.Random(seed)  # noqa: S311 - the same load for the same seed
        self._over = Event()
        self._thread = Thread(target=self._live, name="platform", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all nodes as by a crash; Redis must not hang."""
        self._over.set()
        self._thread.join(TTL)

    def act(self, name: str, act: str) -> None:
        """Change what a node does. Its writes follow as soon as Redis takes them."""
        with self.lock:
            node = self.nodes[name]
            before, after, _ = ACTS[act]
            if node.mode is not before:
                raise ValueError(f"{name!r} is {node.mode}: no {act}")
            node.mode, node.due = after, time.monotonic()

    def in_mode(self, *modes: Mode) -> list[str]:
        """Return the names of the nodes in one of these modes."""
        with self.lock:
            return [name for name, node in self.nodes.items() if node.mode in modes]

    @property
    def settled(self) -> bool:
        """Whether no start or stop is under way."""
        return not self.in_mode(Mode.STARTING, Mode.STOPPING)

    def lose(self, begun: float) -> Callable[[], None]:
        """Note that Redis has lost all keys, and return a function to call when Redis is back.

        Args:
            begun: Earliest moment of the loss. Redis confirmed no write after it.
        """
        losses = []
        with self.lock:
            nodes = self.nodes.values()
            keys = (self.plan, *self.states.values(), *(key for node in nodes for key in (node.heartbeat, node.hash)))
            for key in keys:
                if any(write.value is not None for write in tuple(key.writes)):
                    losses.append(Write(None, begun, sure=True, lost=True))
                    key.writes.append(losses[-1])

        def back() -> None:
            ended = time.monotonic()
            for loss in losses:
                loss.ended = ended

        return back

    def flush(self, execute: Callable[[], object]) -> None:
        """Have Redis delete all data while no node writes."""
        with self.writing:
            back = self.lose(time.monotonic())
            execute()
            back()

    def _live(self) -> None:
        while not self._over.wait(_LOOK):
            for node in self.nodes.values():
                if node.due <= time.monotonic() and not self._over.is_set():
                    begun = time.monotonic()
                    try:
                        with self.writing:
                            self._turn(node)
                    except ResponseError as error:
                        self.failed += 1
                        if str(error).startswith(_REFUSALS):
                            self.refused.append((begun, time.monotonic()))
                    except RedisError:
                        self.failed += 1

    def _turn(self, node: Node) -> None:
        mode, now = node.mode, time.monotonic()
        if mode is Mode.STARTING:
            node.due = now + _AGAIN
            self._delete(node.hash, "node:metrics:", node)
            self._delete(node.heartbeat, "heartbeat:node:", node)
            with self.lock:
                node.births = [*node.births[-9:], time.monotonic()]
                node.counters = (0, 0, 0)
                node.loaded = frozenset()
                node.inbox.clear()
            self._beat(node)
            with self.lock:
                node.mode = Mode.LIVING
        elif mode is Mode.LIVING:
            node.due = max(node.due + BEAT, now)
            self._beat(node)
        elif mode is Mode.STOPPING:
            node.due = now + _AGAIN
            self._delete(node.heartbeat, "heartbeat:node:", node)
            time.sleep(self._random.choice((0, 0, 0.004)))
            self._delete(node.hash, "node:metrics:", node)
            with self.lock:
                node.mode = Mode.GONE
        with self.lock:
            if node.mode not in (Mode.STARTING, Mode.LIVING, Mode.STOPPING):
                node.due = float("inf")

    def _delete(self, key: Key, prefix: str, node: Node) -> None:
        key.write(None, lambda: self._client.delete(prefix + node.name))

    def _beat(self, node: Node) -> None:
        """Write the heartbeat, then the hash."""
        written = datetime.now(UTC)
        text = written.isoformat() if node.newer else written.replace(tzinfo=None).isoformat()
        rng, counters = self._random, node.counters
        node.counters = (
            counters[0] + rng.randrange(1, 5000),
            counters[1] + rng.randrange(3),
            counters[2] + rng.randrange(2),
        )
        with self.lock:
            while node.inbox:
                portfolio, load = node.inbox.popleft()
                node.loaded = node.loaded | {portfolio} if load else node.loaded - {portfolio}
        fields, shown = measure(rng, node.counters, node.loaded, newer=node.newer)
        absent = next((write.value for write in reversed(node.heartbeat.writes) if write.sure), None) is None
        heartbeat, metrics = f"heartbeat:node:{node.name}", f"node:metrics:{node.name}"
        node.heartbeat.write(written.timestamp(), lambda: self._client.set(heartbeat, text, px=round(TTL * 1000)))
        self.taken.append(time.monotonic())
        if absent:
            node.appeared = time.monotonic()
        node.hash.write(shown, lambda: self._client.hset(metrics, mapping=fields))
        if node.newer:
            self._write_states(node)
        self.beats += 1

    def _write_states(self, node: Node) -> None:
        for portfolio in sorted(node.loaded):
            values = PortfolioValues.random(self._random, node.name)
            with self.lock:
                key = self.states.setdefault(portfolio, Key())
            fields = values._asdict()
            key.write(values, lambda p=portfolio, f=fields: self._client.hset(f"portfolio:{p}:state", mapping=f))  # type: ignore[misc]
