"""Reading of the master that Sentinel names, wherever it moves."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from threading import Lock
from typing import Final

import structlog
from redis import ConnectionPool, RedisError
from redis.sentinel import SentinelConnectionPool

from exporter.errors import SourceError
from exporter.settings import Settings
from exporter.source.discovery import Found
from exporter.source.reading import Reading
from exporter.source.requests import KeyNames
from exporter.source.rights import Rights
from exporter.source.standalone import StandaloneReader, StandaloneSource

FOLLOW: Final = 5.0
"""Seconds between two questions to Sentinel while the connections hold: well within a heartbeat's TTL."""

log = structlog.get_logger(__name__)


class SentinelSource(StandaloneSource):
    """The master of a name that Sentinel watches.

    A connection asks Sentinel for the master as it is made. One that outlives a
    failover is given up when its server shows that it is a replica now or when
    Sentinel names another: a master that was cut off may still answer, and its
    heartbeats all run out.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pool: SentinelConnectionPool
        self._lock = Lock()  # of the next
        self._follow_at = 0.0

    def reader(self) -> "SentinelReader":
        """Return a new reader."""
        return SentinelReader(self._pool, self._keys, self._rights, self.follow)

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys; ``timeout`` in seconds for each call."""
        self.follow()
        return super().discover(timeout)

    def follow(self) -> None:
        """Ask Sentinel now and then who the master is; connections to another are closed.

        That no Sentinel answers changes nothing while the master does.
        """
        with self._lock:
            if time.monotonic() < self._follow_at:
                return
            self._follow_at = time.monotonic() + FOLLOW
        try:
            self._pool.get_master_address()
        except RedisError as error:
            log.debug("no Sentinel names the master", error=str(error))


class SentinelReader(StandaloneReader):
    """Reads nodes' values from the master. For one thread at a time.

    Args:
        pool: Connections to the master.
        keys: Where nodes' keys are.
        rights: Where missing rights are noted.
        follow: Called before each read; it closes connections to a master of the past.
    """

    def __init__(self, pool: ConnectionPool, keys: KeyNames, rights: Rights, follow: Callable[[], None]) -> None:
        super().__init__(pool, keys, rights)
        self._follow = follow

    def parts(self, names: Sequence[bytes], deadline: float) -> Generator[Reading, None, None]:
        """Read these nodes chunk by chunk, from the master only."""
        self._follow()
        with closing(super().parts(names, deadline)) as parts:
            for part in parts:
                if part.server.told and part.server.role != "master":
                    raise SourceError("Redis is a replica, and no master since Sentinel named it: a failover")
                yield part
