"""Connections of the exporter's own readers to a simulated Redis: packed commands in, replies out."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from exporter.source.connection import Pool
from exporter.source.reading import MISSING
from lab.simulated.redis_server import SimulatedRedis

METRICS = "node:metrics:"


class SimulatedPool(Pool):
    """A pool of one connection, which is always open.

    Args:
        redis: The simulated Redis.
    """

    def __init__(self, redis: SimulatedRedis) -> None:
        super().__init__(lambda _: self._connection)
        self._connection: Any = _Connection(redis)

    def begin(self, deadline: float) -> Callable[[], Any]:  # noqa: ARG002 - simulated Redis answers at once
        """Return a function that returns the connection."""
        return lambda: self._connection

    def give_back(self, connection: Any, *, sound: bool) -> None:
        """Take the connection back, without the replies that nobody received."""
        assert connection is self._connection
        if not sound:
            self._connection.replies.clear()


class _Connection:
    def __init__(self, redis: SimulatedRedis) -> None:
        self._redis = redis
        self._sock = None
        self._parser = self
        self.replies: deque[Any] = deque()

    def send_packed_command(self, requests: Sequence[bytes], *, check_health: bool) -> None:
        assert not check_health
        if self._redis.down:
            raise RedisConnectionError("simulated Redis is down")
        for request in requests:
            self.replies.extend(self._answer(*words) for words in _commands(request))

    def read_batch(self, count: int, *_limits: object) -> list[Any]:
        return [self.replies.popleft() for _ in range(count)]

    def _answer(self, command: str, key: str, *more: str) -> Any:
        if command in ("HGETALL", "HMGET"):
            return self._hash(key, *more)
        platform = self._redis.platform
        left = platform.workers.get(key, 0.0) - platform.clock()
        answers = {
            "CLIENT": b"OK",
            "OBJECT": int(platform.clock() - platform.looked_at) if platform.plan else None,
            "INFO": b"# Persistence\r\nrdb_bgsave_in_progress:%d\r\n" % platform.saving,
            "PTTL": round(left * 1000) if left > 0 else MISSING,
        }
        return answers[command]

    def _hash(self, key: str, *fields: str) -> list[bytes | None]:
        """Return the values of some fields of a hash; without fields, all fields and values in turn."""
        name = key.removeprefix(METRICS)
        texts = self._redis.platform.hash_of(key) if name == key else self._redis.fields_of(name)
        if not fields:
            return [text.encode() for pair in texts.items() for text in pair]
        return [texts[field].encode() if field in texts else None for field in fields]


def _commands(request: bytes) -> Iterator[list[str]]:
    """Yield the words of each packed command."""
    rest = request
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        words = []
        for _ in range(int(head[1:])):
            length, _, rest = rest.partition(b"\r\n")
            words.append(rest[: int(length[1:])].decode())
            rest = rest[int(length[1:]) + 2 :]
        yield words
