"""The thread that beats for a node, from the node's start to its stop or crash."""

import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Final, Self

from redis import Redis, RedisError
from redis.cluster import RedisCluster

from exporter.reporter.endings import is_graceful
from exporter.reporter.metrics import NodeMetrics, PortfolioMetrics, ProcessUse
from exporter.reporter.outcomes import OutcomeLog

BEAT: Final = 10.0
"""Seconds from one beat to the next."""
TTL: Final = 30.0
"""Seconds that a heartbeat lives."""
_HALT: Final = 1.0
"""Seconds that a halt waits for a write that is under way."""
_DELETE_AGAIN: Final = 0.25
"""Seconds until a deletion that failed is tried again."""

log = logging.getLogger(__name__)


class NodeReporter:
    """Writes a node's heartbeat and metrics from a thread of its own, for one life of the node.

    The first beat comes at once: it deletes the keys of an earlier life, then writes the
    heartbeat, then the hash, then the hash of each portfolio whose state ``measure`` gives
    (``portfolio:{id}:state``). A beat follows every ``interval`` seconds, in the same order.
    The portfolios' hashes are never deleted: another node may write them by then.

    An error never reaches the node. It is logged once, and the next beat tries again.

    A forked child has no thread that beats. Start the reporter in the process that is the node;
    in any other process ``stop``, ``halt`` and the end of the block leave the keys alone.

    Args:
        redis: The node's client. A write that Redis does not answer delays the next beat by the
            client's timeout times its number of attempts. Set a timeout and few retries.
        node_id: The node's id: any text or bytes, but not empty.
        measure: Called in the reporter's thread at every beat, after the heartbeat is written.
            If it raises, the node beats on, and its hash has only the CPU use and the memory of
            the process. Old values would be false. Without a hash, a crash would look like a
            graceful stop. If it hangs, the heartbeat expires, and the node is offline.
        interval: Seconds from one beat to the next.
        ttl: Seconds that a heartbeat lives.
        heartbeat_prefix: Prefix of the heartbeats' keys.
        metrics_prefix: Prefix of the hashes' keys.
        portfolio_prefix: Prefix of the keys of the portfolios' hashes.

    Raises:
        TypeError: The client is one of ``redis.asyncio``.
        ValueError: The id is empty, or the heartbeat would expire between two beats.
    """

    def __init__(  # noqa: PLR0913 - a node has that many parts; those with a default go by name
        self,
        redis: "Redis | RedisCluster",
        node_id: str | bytes,
        measure: Callable[[], NodeMetrics],
        *,
        interval: float = BEAT,
        ttl: float = TTL,
        heartbeat_prefix: str = "heartbeat:node:",
        metrics_prefix: str = "node:metrics:",
        portfolio_prefix: str = "portfolio:",
    ) -> None:
        if inspect.iscoroutinefunction(getattr(redis, "execute_command", None)):
            raise TypeError("pass a redis.Redis or redis.RedisCluster: a redis.asyncio client cannot beat in a thread")
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
        self._portfolio_prefix = portfolio_prefix
        self._thread = Thread(target=self._live, name="node-reporter", daemon=True)
        self._started_by: int | None = None  # the process that called start
        self._ended = Event()  # stop and halt set it: no beat is written after that
        self._writing = Lock()  # held during each write, so that no beat comes after the deletion
        self._crashed = self._deleted = False
        # Only the reporter's thread uses the next attributes.
        self._process: ProcessUse | None = None
        self._fresh = False  # whether the keys of an earlier life are deleted
        self._written: set[str] = set()  # fields that the hash may hold
        self._reporting = OutcomeLog(
            f"node {node_id!r}: cannot report, tries again", f"node {node_id!r}: reports again", (RedisError, OSError)
        )
        self._measuring = OutcomeLog(f"node {node_id!r}: measure() failed", f"node {node_id!r}: measure() works again")

    def start(self) -> Self:
        """Begin to beat, at once. Returns without waiting for Redis.

        Raises:
            RuntimeError: It was started before: a reporter is for one life of a node.
        """
        self._thread.start()
        self._started_by = os.getpid()
        return self

    def stop(self, timeout: float = 5.0) -> bool:
        """End the beats and delete both keys. Call it as the last step of the node's shutdown.

        If the deletion fails, it is tried again until the timeout.

        Args:
            timeout: Seconds after which the method returns, even if Redis or ``measure`` hangs.

        Returns:
            Whether the keys are deleted. If not, the node will look crashed.
        """
        if not self._is_ours():
            return self._started_by is None
        self._ended.set()
        reason: list[Exception] = []
        if not self._crashed and not self._deleted and not sys.is_finalizing():
            # The reporter's thread may hang in measure(), and Redis must not make the caller hang.
            deadline, over = time.monotonic() + timeout, Event()
            try:
                Thread(target=self._delete_until, args=(deadline, reason, over), daemon=True).start()
            except RuntimeError:  # the machine has no thread left: the caller waits for as long as Redis takes
                self._delete_until(deadline, reason, over)
            try:
                over.wait(timeout)
            except BaseException:  # a second Ctrl-C: the program ends now, and its threads with it
                over.wait(deadline - time.monotonic())
                raise
        if not self._deleted:
            message = "node %r: its keys could not be deleted, so that it will look crashed: %s"
            log.warning(message, self.node_id, reason[-1] if reason else "no answer in time")
        return self._deleted

    def halt(self) -> None:
        """End the beats and delete no key, as a crash does.

        This returns within a second. A write that Redis has not answered by then may still take effect.
        """
        if self._is_ours():
            self._crashed = True
            self._ended.set()
            if self._writing.acquire(timeout=_HALT):
                self._writing.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Stop gracefully if the block ends normally or the exception asks for an end. Else this is a crash."""
        if is_graceful(error):
            self.stop()
        else:
            self.halt()

    def _is_ours(self) -> bool:
        if self._started_by not in (None, os.getpid()):
            log.info("node %r: its keys stay, since another process started the reporter", self.node_id)
        return self._started_by == os.getpid()

    def _delete_until(self, deadline: float, reason: list[Exception], over: Event) -> None:
        """Delete the keys in a thread of ``stop``, append to ``reason`` why it fails, and set ``over`` at the end."""
        while (left := deadline - time.monotonic()) > 0 and self._writing.acquire(timeout=left):
            try:
                self._delete()
                self._deleted = True
            except Exception as error:  # noqa: BLE001 - ``stop`` logs it
                reason.append(error)
            finally:
                self._writing.release()
            if self._deleted:
                break
            time.sleep(_DELETE_AGAIN)
        over.set()

    def _live(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            failure: Exception | None = None
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001 - the edge of this thread: an error here must not end the node
                failure = error
            if not self._ended.is_set():
                self._reporting.note(failure)
            due = max(due + self._interval, time.monotonic())

    def _beat(self) -> None:
        with self._writing:
            if not self._ended.is_set():
                self._write_heartbeat()
        self._process = self._process or ProcessUse()  # may fail on a machine without free descriptors
        fields = self._process.fields()
        states: Mapping[str, PortfolioMetrics] = {}
        failure: BaseException | None = None
        try:
            measured = self._measure()
            fields |= measured.fields()
            states = measured.portfolio_states or {}
        except BaseException as error:  # noqa: BLE001 - not even the result of a cancelled task may end the beats
            failure = error
        self._measuring.note(failure)
        with self._writing:
            if not self._ended.is_set():
                self._write_hash(fields)
                self._write_states(states)

    def _write_heartbeat(self) -> None:
        if not self._fresh:
            self._delete()
            self._fresh = True
        self._redis.set(self._heartbeat_key, datetime.now(UTC).isoformat(timespec="microseconds"), px=self._ttl_ms)

    def _write_hash(self, fields: Mapping[str, str]) -> None:
        if missing := self._written - fields.keys():
            self._redis.hdel(self._metrics_key, *missing)
        self._written = set(fields)
        self._redis.hset(self._metrics_key, mapping=fields)  # type: ignore[arg-type] # dict is invariant

    def _write_states(self, states: Mapping[str, PortfolioMetrics]) -> None:
        if states:
            with self._redis.pipeline(transaction=False) as pipeline:
                for portfolio, state in states.items():
                    key = f"{self._portfolio_prefix}{portfolio}:state"
                    pipeline.hset(key, mapping=state.fields(self.node_id))  # type: ignore[arg-type] # dict is invariant
                pipeline.execute()

    def _delete(self) -> None:
        # One command deletes both: a hash without heartbeat looks like a crash. On a cluster it is split by slot.
        self._redis.delete(self._heartbeat_key, self._metrics_key)
