"""The simulated platform: nodes, their scheduler, and the disk of an embedded Valkey."""

import asyncio
import time
from pathlib import Path
from typing import Final, Self

from redis import ConnectionPool, Redis

from exporter.demo.clock import Clock
from exporter.demo.disk import Disk
from exporter.demo.node import SimulatedNode
from exporter.demo.scheduler import Scheduler, first_plan
from exporter.demo.terminal import Terminal
from exporter.settings import Settings
from exporter.source.connection import options_of

_FIRST_BEATS: Final = 2.0
"""Seconds that the nodes have for their first beat before the exporter starts."""


class Platform:
    """The platform runs inside an ``async with`` block. The end of the block deletes its keys.

    Args:
        settings: The address of Redis, and the names of its keys.
        count: How many nodes there are.
        clock: The demo's time.
        terminal: Prints what the scheduler does.
        folder: Working directory of the embedded Valkey; None if the user gives a Redis.

    Attributes:
        nodes: All nodes.
        scheduler: Their scheduler.
        disk: The disk of the embedded Valkey; None without one.
    """

    def __init__(self, settings: Settings, count: int, clock: Clock, terminal: Terminal, folder: Path | None) -> None:
        options = options_of(settings.redis, settings.redis.url[0].get_secret_value())
        self._redis = Redis(connection_pool=ConnectionPool(**options))
        self.nodes = [SimulatedNode(self._redis, number, settings.keys, clock) for number in range(count)]
        self.scheduler = Scheduler(self._redis, self.nodes, settings.keys, clock, terminal)
        self.disk = Disk(self._redis, folder) if folder else None

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.scheduler.begin)
        except BaseException:
            self._redis.close()
            raise
        plan = first_plan(self.nodes)
        for node in self.nodes:
            node.start([portfolio for portfolio, planned in plan.items() if planned == node.node_id])
        await asyncio.to_thread(self._wait_for_beats)
        return self

    def _wait_for_beats(self) -> None:
        deadline = time.monotonic() + _FIRST_BEATS
        for node in self.nodes:
            if not node.beats.wait(max(0.0, deadline - time.monotonic())):
                return  # a Redis given by --redis.url may start later

    async def __aexit__(self, *_: object) -> None:
        if self.disk and self.disk.is_full:
            await asyncio.to_thread(self.disk.free)  # else no key could be deleted
        await asyncio.gather(*(asyncio.to_thread(node.leave) for node in self.nodes))
        await asyncio.to_thread(self.scheduler.leave)
        self._redis.close()
