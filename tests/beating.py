"""The demo's platform in real time, faster than a real one."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Event, Thread
from typing import Any, Self, TypeVar

from exporter.demo.platform import BEAT, Node, Platform
from lab.servers import PATIENCE

T = TypeVar("T")


class Beating(Platform):
    """Nodes that beat in a thread of their own while a block lasts. The scheduler never looks at the plan.

    Args:
        redis: The client of all writes.
        nodes: The nodes.
        speed: How many times as fast as real nodes they beat.
        in_step: Whether all nodes beat at the same time.
    """

    def __init__(self, redis: Any, nodes: Sequence[Node], speed: float, *, in_step: bool = False) -> None:
        start = time.monotonic()
        super().__init__(redis, nodes, lambda: speed * (time.monotonic() - start))
        self.next_look, self._apart = math.inf, 0.0 if in_step else BEAT / len(nodes)
        self._over, self._thread = Event(), Thread(target=self._run)

    def __enter__(self) -> Self:
        self.begin()
        for place, node in enumerate(self.nodes.values()):
            node.due = self._apart * place
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self.step()

    def rest(self) -> None:
        """Beat no more."""
        self._over.set()
        self._thread.join()

    def do(self, action: Callable[[], T]) -> T:
        """Do something between two beats, and return its result."""
        done: Future[T] = Future()
        self.todo.append(lambda: done.set_result(action()))
        return done.result(PATIENCE)

    def crash(self, *names: str) -> float:
        """Let nodes crash together, and return when the last of their heartbeats ends, in monotonic seconds."""

        def crash() -> float:
            for name in names:
                self.nodes[name].alive = False
            left = max(self.redis.pttl(self.nodes[name].own_keys[0]) for name in names)
            return time.monotonic() + left / 1000

        return self.do(crash)

    def start(self, *names: str) -> None:
        """Let nodes start anew under their names."""
        for name in names:
            self.do(lambda node=self.nodes[name]: node.start(self.redis, self.clock()))  # type: ignore[misc]
