"""The disk of the embedded Valkey: it can be full, so that Valkey fails to save a snapshot and refuses all writes."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from redis import Redis, RedisError

SNAPSHOT: Final = "dump.rdb"


class Disk:
    """Where Valkey saves its snapshots.

    Valkey refuses all writes after a failed snapshot if it is configured to save snapshots, as the platform's Redis is.
    A folder in the snapshot's place makes it fail, as a full disk would.

    Args:
        redis: The Valkey.
        folder: Its working directory.
    """

    def __init__(self, redis: "Redis", folder: Path) -> None:
        self._redis, self._snapshot = redis, folder / SNAPSHOT

    @property
    def is_full(self) -> bool:
        """Whether the disk is full now."""
        return self._snapshot.is_dir()

    def fill(self) -> None:
        """Let a snapshot fail."""
        if self._snapshot.is_file():
            self._snapshot.unlink()  # an earlier snapshot
        (self._snapshot / "no room").mkdir(parents=True, exist_ok=True)
        with suppress(RedisError):
            self._redis.config_set("save", "3600 1000000")
            self._redis.bgsave()

    def free(self) -> None:
        """Let the next snapshot succeed; at once all writes are taken again."""
        shutil.rmtree(self._snapshot, ignore_errors=True)
        with suppress(RedisError):
            self._redis.config_set("save", "")  # Valkey takes writes again
            self._redis.bgsave()  # and its last snapshot succeeded
