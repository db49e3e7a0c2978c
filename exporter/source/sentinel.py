"""Reads the master that Sentinel names, also after a failover."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from threading import Lock
from typing import Any, Final

import structlog
from redis import Connection, RedisError, SSLConnection
from redis.connection import parse_url

from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import Redis, Settings
from exporter.source.connection import Pool, connection_of, linked
from exporter.source.discovery import Found
from exporter.source.limits import Spent, nobody
from exporter.source.options import connection_options
from exporter.source.plain_error import plain_error
from exporter.source.reading import Reading
from exporter.source.requests import KeyNames, pack
from exporter.source.rights import Rights
from exporter.source.standalone import StandaloneReader, StandaloneSource

FOLLOW: Final = 5.0
"""Seconds between two questions to Sentinel while the connections work: much shorter than a heartbeat's TTL."""
_TIMEOUT: Final = 1.0
"""Seconds for each Sentinel; short, because another Sentinel can be asked."""
_CREDENTIALS: Final = ("username", "password", "credential_provider")

log = structlog.get_logger(__name__)


class Sentinels:
    """The Sentinels at the addresses of the settings. One lock guards their order.

    Credentials in the addresses are for the Sentinels. ``--redis.username`` and
    ``--redis.password-file`` are for the master. The TLS settings are for both.
    """

    def __init__(self, redis: Redis) -> None:
        self._master = redis.sentinel_master or ""
        self._request = pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._master.encode())
        common = {name: value for name, value in connection_options(redis).items() if name not in _CREDENTIALS}
        self._lock = Lock()  # for the next attribute; the Sentinel that answered last comes first
        self._pools = [
            Pool.of({name: value for name, value in parse_url(url.get_secret_value()).items() if name != "db"} | common)
            for url in redis.url
        ]

    def master(self, deadline: float) -> tuple[str, int]:
        """Return host and port of the master, from the first Sentinel that knows the master.

        Raises:
            SourceError: No Sentinel names it before the deadline in monotonic seconds.
        """
        reason = ""
        with self._lock:
            pools = tuple(self._pools)
        for left, pool in zip(range(len(pools), 0, -1), pools, strict=True):
            now = time.monotonic()
            try:
                with linked(pool, now + min(_TIMEOUT, (deadline - now) / left)) as link:
                    (reply,) = link.ask(self._request, 1)
                address = _address(reply)
            except SourceTimeoutError:
                if time.monotonic() >= deadline:
                    raise
                continue
            except SourceError as error:
                reason = reason or str(error)
                continue
            if address:
                with self._lock:
                    self._pools.sort(key=lambda other: other is not pool)
                return address
        because = f" Last answer: {reason}" if reason else ""
        raise SourceError(
            f"Redis: No master found for {self._master!r} (do the Sentinels run there, and know it?"
            f" see --redis.url and --redis.sentinel-master){because}"
        )

    def doubt(self) -> None:
        """Ask the first Sentinel last from now on: the server that it named could not be read as a master."""
        with self._lock:
            self._pools.append(self._pools.pop(0))

    def close(self) -> None:
        """Close all connections to Sentinels."""
        with self._lock:
            for pool in self._pools:
                pool.disconnect()


class SentinelSource(StandaloneSource):
    """The master that the Sentinels know under one name.

    Each new connection asks Sentinel for the address of the master. A connection that is older than a
    failover is closed when its server reports that it is a replica, or when Sentinel names another
    master. The second rule is needed because a master that was cut off from the nodes may still answer:
    it gets no more heartbeats, so all nodes would seem to die.
    """

    def __init__(self, settings: Settings, spent: Spent = nobody) -> None:
        redis = settings.redis
        first = parse_url(redis.url[0].get_secret_value())
        self._options = connection_options(redis) | {"db": first.get("db", 0)}
        if "connection_class" in first:
            self._options["connection_class"] = SSLConnection
        self._sentinels = Sentinels(redis)
        super().__init__(settings, Pool(self._connection), spent)
        self._lock = Lock()  # for the next two attributes
        self._follow_at = 0.0
        self._address: tuple[str, int] | None = None

    def reader(self) -> "SentinelReader":
        """Return a new reader."""
        sentinels = self._sentinels
        return SentinelReader(
            self._pool, self._keys, self._rights, self._spent, follow=self.follow, doubt=sentinels.doubt
        )

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys; ``timeout`` is in seconds, for each call."""
        self.follow(time.monotonic() + timeout)
        return super().discover(timeout)

    def follow(self, deadline: float) -> None:
        """Ask Sentinel for the master, at most every ``FOLLOW`` seconds; close idle connections to a former master.

        While the master answers, a Sentinel that does not answer changes nothing.

        Args:
            deadline: Monotonic seconds.
        """
        with self._lock:
            if time.monotonic() < self._follow_at:
                return
            self._follow_at = time.monotonic() + FOLLOW
        try:
            now = time.monotonic()
            self._master(now + min(_TIMEOUT, (deadline - now) / 2))
        except SourceError as error:
            log.debug("no Sentinel names the master", error=str(error))

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self._sentinels.close()

    def _connection(self, deadline: float) -> Connection:
        host, port = self._master(deadline)
        return connection_of(self._options | {"host": host, "port": port})

    def _master(self, deadline: float) -> tuple[str, int]:
        address = self._sentinels.master(deadline)
        with self._lock:
            moved = self._address not in (address, None)
            self._address = address
        if moved:
            self._pool.disconnect_idle()
        return address


class SentinelReader(StandaloneReader):
    """Reads nodes' values from the master. Only one thread at a time may use it.

    Args:
        pool: Connections to the master.
        keys: The names of the nodes' keys.
        rights: Records missing rights.
        spent: Told when a chunk has values that are too large.
        follow: Called with the deadline before each read; it closes idle connections to a former master.
        doubt: Called when a read fails: the Sentinel that named the master may be cut off from the others.
    """

    def __init__(  # noqa: PLR0913 - the parts of its source
        self,
        pool: Pool,
        keys: KeyNames,
        rights: Rights,
        spent: Spent,
        *,
        follow: Callable[[float], None],
        doubt: Callable[[], None],
    ) -> None:
        super().__init__(pool, keys, rights, spent)
        self._follow, self._doubt = follow, doubt

    def parts(self, names: Sequence[bytes], deadline: float) -> Generator[Reading, None, None]:
        """Yield the values of these nodes chunk by chunk, from the master only."""
        self._follow(deadline)
        try:
            yield from self._of_the_master(names, deadline)
        except SourceError:
            self._doubt()
            raise

    def _of_the_master(self, names: Sequence[bytes], deadline: float) -> Generator[Reading, None, None]:
        with closing(super().parts(names, deadline)) as parts:
            for part in parts:
                if part.server.info_allowed and part.server.role != "master":
                    raise SourceError("Redis is a replica, and no master since Sentinel named it: a failover")
                yield part


def _address(reply: Any) -> tuple[str, int] | None:
    """Return the address in a Sentinel's reply; None if the Sentinel does not know the master."""
    match reply:
        case [bytes(host), bytes(port)] if port.isdigit():
            return host.decode("utf-8", "replace"), int(port)
        case None:
            return None
        case RedisError():
            raise plain_error(reply)
    raise SourceError(f"Sentinel gave an answer of an unexpected kind: {type(reply).__name__}")
