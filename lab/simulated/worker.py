"""A simulated component of the platform that writes a heartbeat and is no node: a task timer, a data worker."""

from lab.simulated.redis_server import SimulatedRedis
from lab.simulated.timeline import Timeline

BEAT = 10.0
"""Seconds between two beats."""


class Worker:
    """One component, which may end and start again.

    Args:
        key: The key of its heartbeat.
        redis: The Redis to which it writes.
        timeline: The simulated time.
    """

    def __init__(self, key: str, redis: SimulatedRedis, timeline: Timeline) -> None:
        self._key, self._redis, self._timeline = key, redis, timeline
        self._life = 0
        self._alive = False

    def start(self) -> None:
        """Begin to beat."""
        self._life += 1
        self._alive = True
        self._beat(self._life)

    def end(self) -> None:
        """End; the heartbeat expires by itself."""
        self._alive = False

    def _beat(self, life: int) -> None:
        if self._alive and life == self._life:
            self._redis.worker_beats(self._key)
            self._timeline.at(self._timeline.now + BEAT, lambda: self._beat(life))
