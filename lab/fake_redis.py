"""The one fake Redis: its keys are in memory, its time is passed in, and its faults are attributes.

It answers redis-py in the same process (``client``), and the exporter in simulated time.
"""

import math
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final

import redis
from redis.exceptions import ResponseError

_WRITES: Final = frozenset((b"SET", b"HSET", b"DEL"))
_REFUSED: Final = {"MISCONF": "MISCONF errors saving", "OOM": "OOM used memory", "NOREPLICAS": "NOREPLICAS few"}
OK: Final = b"OK"


class FakeRedis:
    """Keys and their expiries, and what the platform and the exporter ask for.

    Args:
        clock: Returns seconds, which may be simulated.

    Attributes:
        clock: As above.
        down: Whether it does not answer.
        refusing: The error with which it refuses writes, such as ``MISCONF``; empty while it takes them.
        refused: The writes that it refused since it started, by error.
        saving: Whether a child process saves a snapshot: then no look at a key is recorded.
        run, started, restored: Its run's number and begin, and whether it began with data.
        memory: The used share of its memory; None without a limit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._keys: dict[bytes, bytes | dict[bytes, bytes]] = {}
        self._ends: dict[bytes, float] = {}
        self._looked: dict[bytes, float] = {}
        self._dump: tuple[dict[bytes, Any], dict[bytes, float]] = {}, {}
        self.run, self.started, self.restored = 1, clock() - 86_400, False
        self.down, self.refusing, self.saving = False, "", False
        self.memory: float | None = None
        self.refused = dict.fromkeys(_REFUSED, 0)

    def save(self) -> None:
        """Take a snapshot, which a later restart can restore."""
        self._dump = dict(self._keys), dict(self._ends)

    def restart(self, data: str = "kept") -> None:
        """Answer again with another run id; ``data`` is "kept", "saved" (from the last snapshot) or "lost"."""
        if data != "kept":
            keys, ends = self._dump if data == "saved" else ({}, {})
            self._keys, self._ends = dict(keys), dict(ends)
        self.run, self.started, self.restored, self.down = self.run + 1, self.clock(), data != "lost", False
        self.refused = dict.fromkeys(_REFUSED, 0)

    def client(self) -> "redis.Redis":
        """Return a redis-py client without a connection."""
        return _Client(self)

    def execute(self, *words: bytes) -> Any:
        """Return the reply to a command; an error is returned, too."""
        name = words[0].upper()
        if name in _WRITES and self.refusing:
            self.refused[self.refusing] += 1
            return ResponseError(_REFUSED[self.refusing])
        if not self.saving and len(words) > 1 and name != b"OBJECT":
            self._looked[words[1]] = self.clock()
        return self._run(name, *words[1:])

    def _run(self, name: bytes, *words: bytes) -> Any:  # noqa: C901, PLR0911, PLR0912 - one case for each command
        match [name, *words]:
            case [b"SET", key, value, unit, time_left]:
                self._keys[key] = value
                self._ends[key] = self.clock() + int(time_left) / (1 if unit.upper() == b"EX" else 1000)
            case [b"HSET", key, *pairs]:
                self._keys[key] = self.value(key, {}) | dict(zip(pairs[::2], pairs[1::2], strict=True))
                return len(pairs) // 2
            case [b"DEL", *keys]:
                for key in keys:
                    self._ends.pop(key, None)
                return sum(self._keys.pop(key, None) is not None for key in keys)
            case [b"GET", key]:
                return self.value(key)
            case [b"HGETALL", key]:
                return [word for pair in self.value(key, {}).items() for word in pair]
            case [b"HGET", key, field]:
                return self.value(key, {}).get(field)
            case [b"HMGET", key, *fields]:
                return [self.value(key, {}).get(field) for field in fields]
            case [b"PTTL", key]:
                left = self.left(key)
                return -2 if left is None else -1 if left == math.inf else round(left * 1000)
            case [b"EXISTS", key]:
                return int(self.value(key) is not None)
            case [b"OBJECT", _, key]:
                return None if self.value(key) is None else int(self.clock() - self._looked.get(key, 0))
            case [b"SCAN", _, *options]:
                pattern = options[options.index(b"MATCH") + 1].decode("latin-1") if b"MATCH" in options else "*"
                return [b"0", [key for key in self.keys() if fnmatchcase(key.decode("latin-1"), pattern)]]
            case [b"INFO", *_]:
                return self._info().encode()
            case [b"HELLO", *_]:
                return ResponseError("ERR unknown command 'HELLO'")
        return OK

    def keys(self) -> list[bytes]:
        """Return the keys that have not expired."""
        return [key for key in tuple(self._keys) if self.value(key) is not None]

    def value(self, key: bytes, default: Any = None) -> Any:
        """Return a key's value, without a look that would reset its idle time."""
        if self._ends.get(key, self.clock() + 1) <= self.clock():
            del self._keys[key], self._ends[key]
        return self._keys.get(key, default)

    def left(self, key: bytes) -> float | None:
        """Return the seconds until a key expires; None without the key."""
        return None if self.value(key) is None else self._ends.get(key, math.inf) - self.clock()

    def _info(self) -> str:
        lines: dict[str, Any] = {
            "redis_version": "8.0.0",
            "redis_mode": "standalone",
            "run_id": f"run-{self.run}",
            "uptime_in_seconds": int(self.clock() - self.started),
            "role": "master",
            "loading": 0,
            **{f"errorstat_{error}": f"count={count}" for error, count in self.refused.items() if count},
        }
        return "# Server\r\n" + "".join(f"{name}:{value}\r\n" for name, value in lines.items())


class _Client(redis.Redis):
    """Sends each command to a fake Redis, and not over a connection."""

    def __init__(self, fake: FakeRedis) -> None:
        super().__init__(protocol=2)
        self._fake = fake
        self._encode = self.get_encoder().encode

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """Execute a command.

        Raises:
            RedisError: The fake Redis is down, or its reply is an error.
        """
        if self._fake.down:
            raise redis.ConnectionError("the fake Redis is down")
        reply = self._fake.execute(*map(self._encode, words))
        if isinstance(reply, Exception):
            raise reply
        options.pop("keys", None)  # redis-py passes them for its own cache
        callback = self.response_callbacks.get(words[0])
        return callback(reply, **options) if callback else reply
