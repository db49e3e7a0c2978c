"""The writing half: tells Redis every ten seconds that a node lives, and what the node is doing.

This module is for the nodes of the platform. It needs redis-py, which each node has already, and psutil
(``pip install '.[reporter]'`` in a checkout)::

    def measure() -> NodeMetrics:
        return NodeMetrics(
            portfolio_count=len(portfolios),
            queue_size=sum(each.queue.qsize() for each in portfolios) // max(1, len(portfolios)),
            loaded_portfolio_ids=[each.id for each in portfolios],
            portfolio_states={
                each.id: PortfolioMetrics(each.queue.qsize(), len(each.positions)) for each in portfolios
            },
            ...
        )

    stop_on_sigterm()       # containers and service managers end a node with SIGTERM
    with NodeReporter(redis, "node-7", measure):
        node.run()          # the node beats from here on
        node.shut_down()    # the node beats during a slow stop too
    # both keys are deleted: a graceful stop

The way in which the block ends decides what the platform sees:

- A graceful stop deletes both keys. It is the end of the block, ``KeyboardInterrupt`` (Ctrl-C), ``SystemExit`` and
  ``asyncio.CancelledError`` (Ctrl-C under ``asyncio.run``).
- A crash deletes nothing, and the heartbeat expires. It is any other exception that leaves the block, SIGKILL, SIGTERM
  without a handler, and an interpreter that ends within the block.

The ledger of portfolios is made of ``loaded_portfolio_ids``: a node that does not write this list leaves its portfolios
``unknown``. From ``portfolio_states`` come the fullest queue and the positions of each node.
"""

import inspect
import json
import logging
import signal
import sys
from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Final, Literal, NamedTuple, Self

import psutil
from redis import Redis
from redis.cluster import RedisCluster

from exporter.contract import MEGABYTE

__all__ = ["BEAT", "TTL", "NodeMetrics", "NodeReporter", "PortfolioMetrics", "stop_on_sigterm"]

BEAT: Final = 10.0
"""Seconds from one beat to the next."""
TTL: Final = 30.0
"""Seconds that a heartbeat lives."""
_REQUESTS: Final = (KeyboardInterrupt, SystemExit, CancelledError)
"""Exceptions by which a program or a task is asked to end."""

log = logging.getLogger(__name__)


class PortfolioMetrics(NamedTuple):
    """What one loaded portfolio is doing.

    Attributes:
        queue_size: Events in its queue.
        position_count: Its open positions.
        status: Its status on the platform, such as ``RUNNING``, ``STOPPING``, ``RELOADING`` or ``MIGRATING``.
    """

    queue_size: int = 0
    position_count: int = 0
    status: str = "RUNNING"

    def fields(self, node_id: str) -> dict[str, str]:
        """Return the fields of the portfolio's hash.

        Args:
            node_id: The node that has the portfolio loaded. The hash outlives the node, so it names the node.
        """
        numbers = {name: str(value) for name, value in self._asdict().items()}
        return {**numbers, "buffer_size": "0", "node_id": node_id}  # the size is a constant on the platform too


class NodeMetrics(NamedTuple):
    """What a node is doing.

    Attributes:
        portfolio_count: Portfolios loaded now.
        queue_size: Average queue length over the portfolios.
        total_events: Events taken for routing since the node started.
        backpressure_count: Times that a full queue pushed back since the node started.
        dropped_events: Events dropped since the node started.
        status: The node's own status; None writes no such field.
        loaded_portfolio_ids: Ids of the loaded portfolios. An empty list says that no portfolio is loaded. None
            writes no such field, and then nobody knows which portfolios this node trades.
        portfolio_states: What each loaded portfolio is doing, by its id; None or empty writes no such hash.
        cpu_usage: CPU use in percent, 100 being one full core; None takes that of the process since the last beat.
        memory_usage: Memory in MB of 1,048,576 bytes; None takes that of the process.
    """

    portfolio_count: int = 0
    queue_size: int = 0
    total_events: int = 0
    backpressure_count: int = 0
    dropped_events: int = 0
    status: Literal["RUNNING", "PAUSED", "STOPPED"] | None = None
    loaded_portfolio_ids: Sequence[str] | None = None
    portfolio_states: Mapping[str, PortfolioMetrics] | None = None
    cpu_usage: float | None = None
    memory_usage: float | None = None

    def fields(self) -> dict[str, str]:
        """Return the fields of the node's hash as text, without the fields that are None."""
        ids = self.loaded_portfolio_ids
        values = self._asdict() | {"loaded_portfolio_ids": None if ids is None else json.dumps(list(ids))}
        del values["portfolio_states"]
        return {name: str(value) for name, value in values.items() if value is not None}


class NodeReporter:
    """Writes a node's heartbeat and metrics from a thread of its own, for one life of the node.

    The first beat comes at once: it deletes the keys of an earlier life, then writes the heartbeat, then the hash, then
    the hash of each portfolio whose state ``measure`` gives (``portfolio:{id}:state``). A beat follows every
    ``interval`` seconds, in the same order. The portfolios' hashes are never deleted: another node may write them by
    then.

    An error never reaches the node. It is logged once, and the next beat tries again. A forked child does not beat.

    Args:
        redis: The node's client. A write that Redis does not answer delays the next beat by the client's timeout times
            its number of attempts. Set a timeout and few retries.
        node_id: The node's id: any text, but not empty.
        measure: Called in the reporter's thread at every beat, after the heartbeat is written. If it raises, the node
            beats on, and its hash has only the CPU use and the memory of the process. Old values would be false.
            Without a hash, a crash would look like a graceful stop. If it hangs, the heartbeat expires, and the node is
            offline.
        interval: Seconds from one beat to the next.
        ttl: Seconds that a heartbeat lives.

    Raises:
        TypeError: The client is one of ``redis.asyncio``.
        ValueError: The id is empty, or the heartbeat would expire between two beats.
    """

    def __init__(
        self,
        redis: "Redis | RedisCluster",
        node_id: str,
        measure: Callable[[], NodeMetrics],
        *,
        interval: float = BEAT,
        ttl: float = TTL,
    ) -> None:
        if inspect.iscoroutinefunction(getattr(redis, "execute_command", None)):
            raise TypeError("pass a redis.Redis or redis.RedisCluster: a redis.asyncio client cannot beat in a thread")
        if not node_id or not 0 < interval < ttl:
            raise ValueError(
                "a node's id must not be empty, and the interval must be positive and shorter than the TTL"
            )
        self.node_id = node_id
        self._redis, self._measure = redis, measure
        self._interval, self._ttl_ms = interval, round(ttl * 1000)
        self._heartbeat_key, self._metrics_key = f"heartbeat:node:{node_id}", f"node:metrics:{node_id}"
        self._process = psutil.Process()
        self._thread = Thread(target=self._live, name="node-reporter", daemon=True)
        self._ended = Event()  # no beat is written after it is set
        self._writing = Lock()  # held during each write, so that no beat comes after the deletion
        self._fresh = self._deleted = False  # whether the keys of an earlier life, and those of this one, are deleted
        self._reason = "no answer in time"  # why the deletion failed
        self._failing: set[str] = set()  # what fails and is logged

    def start(self) -> Self:
        """Begin to beat, at once. Returns without waiting for Redis.

        Raises:
            RuntimeError: It was started before: a reporter is for one life of a node.
        """
        self._thread.start()
        return self

    def stop(self, timeout: float = 5.0) -> bool:
        """End the beats and delete both keys. Call it as the last step of the node's shutdown.

        Args:
            timeout: Seconds after which the method returns, even if Redis or ``measure`` hangs.

        Returns:
            Whether the keys are deleted. If not, the node will look crashed.
        """
        self._ended.set()
        if not self._deleted:
            # The reporter's thread may hang in measure(), and Redis must not make the caller hang.
            deletion = Thread(target=self._end, daemon=True)
            deletion.start()
            deletion.join(timeout)
        if not self._deleted:
            message = "node %r: its keys could not be deleted, so that it will look crashed: %s"
            log.warning(message, self.node_id, self._reason)
        return self._deleted

    __enter__ = start

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Stop gracefully if the block ends normally or the exception asks for an end. Else end the beats only."""
        self._ended.set()
        if error is None or isinstance(error, _REQUESTS):
            self.stop()

    def _end(self) -> None:
        try:
            with self._writing:
                self._delete()
            self._deleted = True
        except Exception as error:  # noqa: BLE001 - ``stop`` logs it
            self._reason = str(error)

    def _live(self) -> None:
        while not self._ended.is_set():
            try:
                self._beat()
                self._note("the report to Redis", None)
            except Exception as error:  # noqa: BLE001 - the edge of this thread: an error here must not end the node
                self._note("the report to Redis", error)
            self._ended.wait(self._interval)

    def _beat(self) -> None:
        with self._writing:
            if not self._ended.is_set():
                if not self._fresh:
                    self._delete()
                    self._fresh = True
                now = datetime.now(UTC).isoformat(timespec="microseconds")
                self._redis.set(self._heartbeat_key, now, px=self._ttl_ms)
        memory = self._process.memory_info().rss / MEGABYTE
        fields = {"cpu_usage": f"{self._process.cpu_percent():.1f}", "memory_usage": f"{memory:.1f}"}
        measured = NodeMetrics()
        try:
            measured = self._measure()
            fields |= measured.fields()
            self._note("measure()", None)
        except BaseException as error:  # noqa: BLE001 - not even the result of a cancelled task may end the beats
            self._note("measure()", error)
        with self._writing:
            if not self._ended.is_set():
                self._write_hashes(fields, measured.portfolio_states or {})

    def _note(self, what: str, failure: BaseException | None) -> None:
        """Log the first failure of a series, and the first success after it."""
        if bool(failure) != (what in self._failing):
            self._failing ^= {what}
            outcome = f"failed, the next beat tries again: {failure}" if failure else "works again"
            level = logging.WARNING if failure else logging.INFO
            log.log(level, "node %r: %s %s", self.node_id, what, outcome, exc_info=failure)

    def _write_hashes(self, fields: Mapping[str, str], states: Mapping[str, PortfolioMetrics]) -> None:
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hdel(self._metrics_key, *set(NodeMetrics._fields).difference(fields))
            pipeline.hset(self._metrics_key, mapping=fields)  # type: ignore[arg-type] # dict is invariant
            for portfolio, state in states.items():
                key = f"portfolio:{portfolio}:state"
                pipeline.hset(key, mapping=state.fields(self.node_id))  # type: ignore[arg-type] # dict is invariant
            pipeline.execute()

    def _delete(self) -> None:
        # One command deletes both: a hash without heartbeat looks like a crash. On a cluster it is split by slot.
        self._redis.delete(self._heartbeat_key, self._metrics_key)


def stop_on_sigterm() -> None:
    """Make SIGTERM raise ``SystemExit(0)`` in the main thread, so that a reporter's block ends gracefully.

    Without a handler, SIGTERM kills Python at once. If Python is process 1 of a container, SIGTERM does nothing.

    Raises:
        ValueError: The caller is not the main thread.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
