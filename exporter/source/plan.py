"""Reads the scheduler's plan, and how long ago the scheduler looked at it.

``OBJECT IDLETIME`` tells who looked last. A connection that said ``CLIENT NO-TOUCH ON`` leaves that time alone, so the
plan has a connection of its own, which reads nothing else and never writes. On a node of a cluster NO-TOUCH is never
sent: Redis and Valkey crash if such a connection reads a key of a slot that is being migrated. There the idle time is
unknown.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import structlog
from redis import RedisError

from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.connection import Link, Pool, linked
from exporter.source.protocol import expected, pack, plain_error
from exporter.source.reading import Server
from exporter.source.server import STATE, OneServer, server_of

MOST_BYTES: Final = 16 * 2**20
"""Bytes of a plan: of about 200,000 portfolios."""
ASK_AGAIN: Final = 600.0
"""Seconds after which a server that refused OBJECT IDLETIME, or a plan that was too large, is asked again."""

_NO_TOUCH: Final = pack(b"CLIENT", b"NO-TOUCH", b"ON")

log = structlog.get_logger(__name__)


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
        clock: Returns monotonic seconds.
    """

    def __init__(self, key: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self.request = pack(b"HGETALL", key)
        self._look = pack(b"OBJECT", b"IDLETIME", key)
        self._clock = clock
        self._plan: Mapping[bytes, bytes] = {}
        self._servers_pool: Pool | None = None
        self._pool: Pool | None = None
        self._greeted: Link | None = None
        self._may_look = False
        self._too_large: SourceTooLargeError | None = None
        self._ask_again_at = float("inf")
        self._idle_time = IdleTime()
        self._has_told = False

    def read(self, server: OneServer, deadline: float) -> Plan:
        """Return the plan that a single server holds.

        Args:
            server: The server; its state was read by the same scrape.
            deadline: Monotonic seconds.

        Raises:
            SourceError: Redis could not be read, or refuses to show the plan.
            SourceTooLargeError: The plan is larger than ``MOST_BYTES``; it is not asked for again at once.
        """
        if self._clock() >= self._ask_again_at:
            self._greeted, self._too_large, self._ask_again_at = None, None, float("inf")
        if self._too_large:
            raise self._too_large
        try:
            with linked(self._own_pool(server.pool("", deadline)), deadline) as link:
                if link is not self._greeted:
                    self._greet(link, server)
                request = self.request + (self._look if self._may_look else b"")
                content, *looked = link.ask(request, 1 + self._may_look, MOST_BYTES)
        except SourceTooLargeError:
            self._too_large = SourceTooLargeError(f"the plan is larger than {MOST_BYTES >> 20} MiB")
            self._ask_again_at = self._clock() + ASK_AGAIN
            log.warning("nothing is known of portfolios", reason=str(self._too_large))
            raise self._too_large from None
        plan = self.plan_of(content)
        if not looked or self._is_refused(looked[0]):
            return Plan(plan)
        idle = None if looked[0] is None else expected(looked[0], int)
        return Plan(plan, self._idle_time.counted(idle, server.state, self._clock()))

    def close(self) -> None:
        """Close the connection."""
        if self._pool:
            self._pool.close()

    def _own_pool(self, pool: Pool) -> Pool:
        """Return a pool of the reader's own for the server of another pool."""
        if self._pool is None or pool is not self._servers_pool:
            self.close()
            self._servers_pool, self._pool = pool, Pool(pool.options)
        return self._pool

    def _greet(self, link: Link, server: OneServer) -> None:
        """Say NO-TOUCH on a new connection, if its server says that it is no node of a cluster."""
        self._greeted, self._may_look = link, False
        (state,) = link.ask(STATE, 1)
        # A server before Redis 7 refuses this form of INFO, and knows no NO-TOUCH either.
        if type(state) is bytes and server.seen(server_of(state)).standalone:
            (accepted,) = link.ask(_NO_TOUCH, 1)
            self._may_look = not self._is_refused(accepted)

    def plan_of(self, content: Any) -> Mapping[bytes, bytes]:
        """Return the plan, given the reply to ``request``.

        Raises:
            SourceError: Redis refuses to show the plan, or the key is no hash.
        """
        items = expected(content, list)
        if not set(map(type, items)) <= {bytes}:
            raise SourceError("Redis gave a plan that is not made of texts")
        nodes: dict[bytes, bytes] = {}
        plan = {key: nodes.setdefault(node, node) for key, node in zip(items[::2], items[1::2], strict=False)}
        if plan != self._plan:  # a plan that is written anew may come in another order
            self._plan = plan
        return self._plan

    def _is_refused(self, reply: Any) -> bool:
        """Return whether a reply is an error; if so, the server is not asked for idle times for a while."""
        if not isinstance(reply, RedisError):
            return False
        self._may_look, self._ask_again_at = False, self._clock() + ASK_AGAIN
        if not self._has_told:
            self._has_told = True
            log.warning("how long ago the scheduler looked at the plan is unknown", reason=str(plain_error(reply)))
        return True


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
