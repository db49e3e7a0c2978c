"""What the exporter asks a simulated Redis beside its nodes: packed commands in, replies out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from exporter.errors import SourceError
from exporter.source.gather import Gathered
from exporter.source.plan import Plan
from exporter.source.reading import MISSING
from lab.simulated.redis_server import SimulatedRedis

METRICS = "node:metrics:"


class SimulatedSource:
    """Answers as ``exporter.source.Source`` does.

    Args:
        redis: The simulated Redis.
    """

    def __init__(self, redis: SimulatedRedis) -> None:
        self._redis = redis

    def gather(self, keys: Sequence[bytes], request: Callable[[bytes], bytes], each: int, deadline: float) -> Gathered:  # noqa: ARG002 - simulated Redis answers at once
        """Return the replies about each key; none of them if it is down."""
        if self._redis.down:
            return Gathered([None] * len(keys), {"": SourceError("simulated Redis is down")}, {})
        return Gathered([tuple(self._answer(*words) for words in _commands(request(key))) for key in keys], {}, {})

    def plan(self, deadline: float) -> Plan:  # noqa: ARG002 - as above
        """Return the plan, and how long ago the simulated scheduler looked at it."""
        if self._redis.down:
            raise SourceError("simulated Redis is down")
        platform = self._redis.platform
        plan = {portfolio.encode(): node.encode() for portfolio, node in platform.plan.items()}
        known = bool(plan) and not platform.saving
        return Plan(plan, platform.clock() - platform.looked_at if known else None)

    def _answer(self, command: str, key: str, *more: str) -> Any:
        if command in ("HGETALL", "HMGET"):
            return self._hash(key, *more)
        platform = self._redis.platform
        left = platform.workers.get(key, 0.0) - platform.clock()
        return round(left * 1000) if left > 0 else MISSING

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
