"""Reads the scheduler's plan, and how long ago the scheduler looked at it.

``OBJECT IDLETIME`` tells who looked last. A connection that said ``CLIENT NO-TOUCH ON`` leaves that time alone, so the
plan has a connection of its own, which reads nothing else and never writes. On a node of a cluster NO-TOUCH is never
sent: Redis and Valkey crash if such a connection reads a key of a slot that is being migrated. There the idle time is
unknown.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from exporter.errors import SourceError
from exporter.source.connection import Link, Pool, expected, pack
from exporter.source.reading import Server
from exporter.source.server import OneServer

_NO_TOUCH: Final = pack(b"CLIENT", b"NO-TOUCH", b"ON")


class Plan(NamedTuple):
    """What Redis holds of the plan.

    Attributes:
        plan: The node of each planned portfolio; empty without a plan. The same object stands for the same plan.
        idle: Seconds since the scheduler last looked at it; None where Redis cannot tell.
    """

    plan: Mapping[bytes, bytes]
    idle: float | None = None


class PlanReader:
    """Reads the plan. For one thread at a time.

    Args:
        key: The plan's key.

    Attributes:
        key: The plan's key.
        request: The command that reads the plan.
    """

    def __init__(self, key: bytes) -> None:
        self.key, self.request = key, pack(b"HGETALL", key)
        self._look = pack(b"OBJECT", b"IDLETIME", key)
        self._items: list[bytes] = []
        self._plan: Mapping[bytes, bytes] = {}
        self._pool = Pool({})
        self._greeted: Link | None = None
        self._may_look = False
        self._idle_time = IdleTime()

    def read(self, server: OneServer, deadline: float) -> Plan:
        """Return the plan that a single server holds.

        Args:
            server: The server; its state was read by the same scrape.
            deadline: Monotonic seconds.

        Raises:
            SourceError: Redis could not be read, or refuses to show the plan, or it is too large.
        """
        options = server.pool("").options
        if self._pool.options is not options:
            self._pool.close()
            self._pool = Pool(options)
        with self._pool.lent(deadline) as link:
            if link is not self._greeted:
                # Only a server that says so itself is no node of a cluster.
                self._may_look = server.state.standalone and link.ask(_NO_TOUCH, 1) == [b"OK"]
                self._greeted = link
            request = self.request + (self._look if self._may_look else b"")
            content, *looked = link.ask(request, 1 + self._may_look)
        plan = self.plan_of(content)
        idle = looked[0] if looked and type(looked[0]) is int else None
        return Plan(plan, self._idle_time.counted(idle, server.state, time.monotonic()))

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def plan_of(self, content: Any) -> Mapping[bytes, bytes]:
        """Return the plan, given the reply to ``request``.

        Raises:
            SourceError: Redis refuses to show the plan, or the key is no hash.
        """
        items = expected(content, list)
        if items != self._items:
            if not set(map(type, items)) <= {bytes}:
                raise SourceError("Redis gave a plan that is not made of texts")
            nodes: dict[bytes, bytes] = {}
            plan = {key: nodes.setdefault(node, node) for key, node in zip(items[::2], items[1::2], strict=False)}
            self._items, self._plan = items, self._plan if plan == self._plan else plan  # it may come in another order
        return self._plan


class IdleTime:
    """Counts the seconds without a look at the plan, leaving out the time of saves.

    Redis does not record looks while a child process saves. If the time simply began anew after each save, a server
    that saves every minute would hide a scheduler that has been dead for hours.
    """

    def __init__(self) -> None:
        self._since, self._without_a_look = float("-inf"), 0.0
        self._saves: tuple[bytes, ...] = ()

    def counted(self, idle: int | None, server: Server, now: float) -> float | None:
        """Return the seconds without a look in which Redis would have recorded one; None during a save.

        Args:
            idle: Seconds since the last look that Redis recorded (``OBJECT IDLETIME``); None without a plan.
            server: The state of the server.
            now: Monotonic seconds.
        """
        last, self._saves = self._saves, server.saves
        if server.saving or last not in ((), server.saves):
            self._since = now
        if server.saving or idle is None:
            return None
        watched = now - self._since
        self._since = now
        self._without_a_look = idle if idle <= watched else min(idle, self._without_a_look + watched)
        return float(self._without_a_look)
