"""Bodies of the page and of JSON: each is made once for all who ask at the same time, and scrapes go first."""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.snapshot.snapshot import Snapshot
from exporter.web.precedence import Pause, Precedence
from exporter.web.scrape import Body, awaitable

_WAITING: Final = 8
"""Different bodies that may wait to be made. Requests for others are refused."""
_IDLE_FACTOR: Final = 4.0
"""A body is given again for this many times the CPU seconds that it took, so page and JSON take a fifth of the time.

Waiting does not count. Otherwise a read that waited for a hanging Redis would make the answers of a small fleet old.
"""
_LONGEST: Final = 5.0
"""Seconds for which a body is given again at most."""
_KEPT: Final = 16 * 2**20
"""Bytes of bodies that are kept to be given again."""
Make = Callable[[Snapshot | None, Pause], Body]
"""Makes a body of a snapshot, None if Redis cannot be read. It is called in the thread of the views."""


@dataclass(frozen=True, slots=True)
class _Made:
    body: Body
    until: float
    size: int


class Views:
    """Makes the bodies of page and JSON. Its state belongs to the event loop; bodies are made in a thread of its own.

    Args:
        fleet: The fleet.
        precedence: Lets scrapes go first.
        spent: Called with what was done when too many different bodies are asked for.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        fleet: Fleet,
        precedence: Precedence,
        spent: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet, self._precedence, self._spent, self._clock = fleet, precedence, spent, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="views")
        self._one_at_a_time = asyncio.Lock()
        self._making: dict[Hashable, asyncio.Task[Body]] = {}
        self._made: dict[Hashable, _Made] = {}

    async def body(self, key: Hashable, make: Make) -> Body | None:
        """Return the body for a key; None if too many different ones are asked for.

        Args:
            key: Names the body: requests with equal keys share it.
            make: Makes the body.
        """
        made = self._made.get(key)
        if made and self._clock() < made.until:
            return made.body
        task = self._making.get(key)
        if task is None:
            if len(self._making) >= _WAITING:
                self._spent("a request for page or JSON was answered with 503")
                return None
            task = self._making[key] = asyncio.create_task(self._make(key, make))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _forget(self, key: Hashable, done: "asyncio.Task[Body]") -> None:
        self._making.pop(key, None)
        if not done.cancelled():
            done.exception()  # asyncio logs an exception that nobody retrieves, and all waiters may be gone

    async def _make(self, key: Hashable, make: Make) -> Body:
        async with self._one_at_a_time:
            snapshot = await self._snapshot()
            loop = asyncio.get_running_loop()
            body, took = await loop.run_in_executor(self._thread, _timed, make, snapshot, self._precedence.pause())
            del snapshot
            until = self._clock() + min(_LONGEST, _IDLE_FACTOR * took)
            self._keep(key, _Made(body, until, sum(map(len, body))))
            return body

    def _keep(self, key: Hashable, made: _Made) -> None:
        """Keep a body until its time is over, and drop the oldest ones that do not fit beside it."""
        self._made.pop(key, None)
        self._made[key] = made
        while len(self._made) > 1 and sum(kept.size for kept in self._made.values()) > _KEPT:
            del self._made[next(iter(self._made))]
        asyncio.get_running_loop().call_later(max(0.0, made.until - self._clock()), self._drop, key, made)

    def _drop(self, key: Hashable, made: _Made) -> None:
        if self._made.get(key) is made:
            del self._made[key]

    async def _snapshot(self) -> Snapshot | None:
        """Return a snapshot of the fleet, or None if Redis cannot be read in time."""
        try:
            async with asyncio.timeout(self._fleet.settings.redis.timeout):
                return await awaitable(self._fleet.request())
        except (SourceError, TimeoutError):
            return None


def _timed(make: Make, snapshot: Snapshot | None, pause: Pause) -> tuple[Body, float]:
    """Return a body, and the CPU seconds that it took."""
    start = time.thread_time()
    return make(snapshot, pause), time.thread_time() - start
