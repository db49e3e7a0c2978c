"""The writing half: tells Redis every ten seconds that a node lives, and what it is doing.

For the nodes of the platform. Beyond the standard library it needs redis-py, whose
client the node has already, and psutil (``pip install 'ginkgo-exporter[reporter]'``)::

    def measure() -> NodeMetrics:
        return NodeMetrics(portfolio_count=len(portfolios), queue_size=queue.average(), ...)

    with NodeReporter(redis, "node-7", measure):
        node.run()      # beats from here on
        node.shut_down()    # and through a slow stop as well
    # both keys are deleted: a graceful stop, however long it took

A node that dies within the block, or whose interpreter ends without leaving it, deletes
nothing: its heartbeat runs out, which is how a crash is told.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from types import TracebackType
from typing import Final, Literal, Self

import psutil
from redis import Redis, RedisError

from exporter.contract import MEGABYTE

BEAT: Final = 10.0
"""Seconds from one beat to the next."""
TTL: Final = 30.0
"""Seconds that a heartbeat lives."""
_DELETE_AGAIN: Final = 0.25
"""Seconds until a deletion that failed is tried once more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeMetrics:
    """What a node is doing: the fields of its hash.

    Attributes:
        portfolio_count: Portfolios loaded now.
        queue_size: Average queue length over the portfolios.
        total_events: Events taken for routing since the node started.
        backpressure_count: Times that a full queue pushed back since the node started.
        dropped_events: Events dropped since the node started.
        status: What the node says of itself; None writes no such field.
        loaded_portfolio_ids: The portfolios' ids; None writes no such field.
        cpu_usage: CPU use in percent, 100 being one full core; None takes that of the process.
        memory_usage: Memory in MB of 1,048,576 bytes; None takes that of the process.
    """

    portfolio_count: int = 0
    queue_size: int = 0
    total_events: int = 0
    backpressure_count: int = 0
    dropped_events: int = 0
    status: Literal["RUNNING", "PAUSED", "STOPPED"] | None = None
    loaded_portfolio_ids: Sequence[str] | None = None
    cpu_usage: float | None = None
    memory_usage: float | None = None


class NodeReporter:
    """Writes a node's heartbeat and metrics from a thread of its own, for one life of the node.

    The first beat comes at once: what an earlier life left is deleted, then the heartbeat
    is written, then the hash. A beat follows every ``interval`` seconds, in the same order,
    until ``stop`` has deleted both keys.

    An error never reaches the node. It is logged once, and the next beat tries again; so
    does the deletion of what an earlier life left, which precedes the first beat that works.

    Args:
        redis: The node's client. Give it a socket timeout shorter than ``interval``: while
            Redis hangs, so does the reporter's thread.
        node_id: Any text or bytes that are not empty.
        measure: Called in the reporter's thread at every beat, after the heartbeat is written.
            If it raises, the node beats on and its metrics stay as they were; if it hangs,
            the node goes offline, as a node that hangs should.
        interval: Seconds from one beat to the next.
        ttl: Seconds that a heartbeat lives.
        heartbeat_prefix: What the heartbeats' names begin with.
        metrics_prefix: What the hashes' names begin with.

    Raises:
        ValueError: The id is empty, or the heartbeat would run out between two beats.
    """

    def __init__(  # noqa: PLR0913 - a node has that many parts; those with a default go by name
        self,
        redis: "Redis",
        node_id: str | bytes,
        measure: Callable[[], NodeMetrics],
        *,
        interval: float = BEAT,
        ttl: float = TTL,
        heartbeat_prefix: str = "heartbeat:node:",
        metrics_prefix: str = "node:metrics:",
    ) -> None:
        if not node_id:
            raise ValueError("a node's id must not be empty")
        if not 0 < interval < ttl:
            raise ValueError("the interval must be positive and shorter than the TTL")
        self.node_id = node_id
        raw_id = node_id.encode() if isinstance(node_id, str) else node_id
        self._redis = redis
        self._measure = measure
        self._interval = interval
        self._ttl_ms = round(ttl * 1000)
        self._heartbeat_key = heartbeat_prefix.encode() + raw_id
        self._metrics_key = metrics_prefix.encode() + raw_id
        self._process = _ProcessUse()
        self._thread = Thread(target=self._live, name="node-reporter", daemon=True)
        self._stopping = Event()  # set by stop: delete both keys, then end
        self._over = Event()  # set by halt and by a stop that ran out of time: write nothing more
        self._fresh = False  # this and the next two are the thread's to write
        self._failing = False
        self._deleted = False

    def start(self) -> Self:
        """Begin to beat, at once. Returns without waiting for Redis.

        Raises:
            RuntimeError: It was started before: a reporter is for one life of a node.
        """
        self._thread.start()
        return self

    def stop(self, timeout: float = 5.0) -> bool:
        """Delete both keys, then end; to be called when the node has done all else.

        Until they are deleted the node goes on beating, and the deletion is tried again.

        Args:
            timeout: Seconds to wait for that at most.

        Returns:
            Whether they are deleted. If they are not, the node will look as if it had crashed.
        """
        if self._thread.ident is None:
            return True
        self._stopping.set()
        self._thread.join(timeout)
        self._over.set()
        if not self._deleted:
            log.warning("node %r: its keys could not be deleted, so that it will look crashed", self.node_id)
        return self._deleted

    def halt(self) -> None:
        """End at once and delete nothing, as a crash does; for simulations and tests."""
        self._over.set()
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Stop gracefully; an exception that leaves the block is a crash."""
        if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
            self.stop()
        else:
            self.halt()

    def _live(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            # halt sets _over before _stopping, so that this order of looking never deletes after a halt.
            stopping = self._stopping.is_set() and not self._over.is_set()
            if stopping and self._attempt(self._delete):
                self._deleted = True
                return
            now = time.monotonic()
            if now >= due:
                self._attempt(self._beat)
                due = max(due + self._interval, now)
            if stopping:
                self._over.wait(_DELETE_AGAIN)
            else:
                self._stopping.wait(max(0.0, due - time.monotonic()))

    def _attempt(self, write: Callable[[], None]) -> bool:
        """Return whether a write succeeded; log the first of several failures, and their end."""
        try:
            write()
        except Exception as error:  # the edge of this thread: no node dies of its reporter
            if not self._failing:
                ours = not isinstance(error, RedisError | OSError)
                log.warning("node %r: cannot report, tries again: %s", self.node_id, error, exc_info=ours)
            self._failing = True
            return False
        if self._failing:
            log.info("node %r: reports again", self.node_id)
        self._failing = False
        return True

    def _beat(self) -> None:
        if not self._fresh:
            self._delete()
            self._fresh = True
        self._redis.set(self._heartbeat_key, datetime.now(UTC).isoformat(timespec="microseconds"), px=self._ttl_ms)
        self._redis.hset(self._metrics_key, mapping=self._fields())  # type: ignore[arg-type] # dict is invariant

    def _delete(self) -> None:
        # The hash first: in between the node reads as online without metrics, and never as crashed.
        # Two commands, since on a cluster the keys live in different slots.
        self._redis.delete(self._metrics_key)
        self._redis.delete(self._heartbeat_key)

    def _fields(self) -> dict[str, str]:
        metrics = self._measure()
        cpu_usage, memory_usage = self._process.measure()
        fields = {
            "portfolio_count": str(metrics.portfolio_count),
            "queue_size": str(metrics.queue_size),
            "cpu_usage": f"{cpu_usage if metrics.cpu_usage is None else metrics.cpu_usage:.1f}",
            "memory_usage": f"{memory_usage if metrics.memory_usage is None else metrics.memory_usage:.1f}",
            "total_events": str(metrics.total_events),
            "backpressure_count": str(metrics.backpressure_count),
            "dropped_events": str(metrics.dropped_events),
        }
        if metrics.status is not None:
            fields["status"] = metrics.status
        if metrics.loaded_portfolio_ids is not None:
            fields["loaded_portfolio_ids"] = json.dumps(list(metrics.loaded_portfolio_ids))
        return fields


class _ProcessUse:
    """CPU of this process from one measurement to the next, the first since its start; and its memory."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last = time.monotonic() - (time.time() - self._process.create_time())
        self._spent = 0.0

    def measure(self) -> tuple[float, float]:
        """Return CPU in percent, 100 being one full core, and memory in MB."""
        times = self._process.cpu_times()
        spent, now = times.user + times.system, time.monotonic()
        cpu_usage = 100 * max(0.0, spent - self._spent) / max(now - self._last, 0.001)
        self._last, self._spent = now, spent
        return cpu_usage, self._process.memory_info().rss / MEGABYTE
