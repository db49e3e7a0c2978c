"""The only server: one at a known address, or the master that Sentinel names."""

import time
from collections.abc import Collection, Mapping
from threading import Lock
from typing import Final

from redis import ConnectionPool, Redis
from redis.connection import parse_url
from redis.sentinel import MasterNotFoundError, Sentinel

from exporter.errors import SourceError
from exporter.settings import Redis as RedisSettings
from exporter.source.connection import FAILURES, KeyNames, Pool, options_of, plain_error, shared_options
from exporter.source.gather import Topology
from exporter.source.reading import Server

FOLLOW: Final = 5.0
"""Seconds between two questions to Sentinel while the master answers: much shorter than a heartbeat's TTL."""
_SENTINEL_TIMEOUT: Final = 1.0
"""Seconds for each step of a question to one Sentinel, at most."""
_ONE: Final = Topology()


class OneServer:
    """A single server, which holds all keys; its address is ``""``.

    Args:
        redis: The settings.

    Attributes:
        state: Its state, as it was read last.
        redirects: Whether its redirections are followed.
        masters_only: Whether a replica counts as one that cannot be read.
        failing: Servers that did not answer last: nobody asks.
    """

    redirects = masters_only = False
    failing: Collection[str] = ()
    state = Server("", "")

    def __init__(self, redis: RedisSettings) -> None:
        self._pool = Pool(options_of(redis, parse_url(redis.url[0].get_secret_value())))

    def know(self, deadline: float) -> Topology:  # noqa: ARG002 - nobody has to be asked
        """Return where keys are."""
        return _ONE

    def doubt(self) -> None:
        """Hear that keys may be elsewhere: they are not."""

    def pool(self, address: str) -> Pool:  # noqa: ARG002 - a single server
        """Return the connections to the server."""
        return self._pool

    def limit(self, address: str, deadline: float) -> float:  # noqa: ARG002 - a single server
        """Return until when to wait for the server: it may take all the time."""
        return deadline

    def note(self, address: str, error: SourceError | None) -> None:
        """Hear how the server answered."""

    def whole(self, members: Mapping[str, Server], topology: Topology, keys: KeyNames) -> Server:  # noqa: ARG002 - a single server
        """Return the state of the server, and keep it."""
        self.state = members[""]
        return self.state

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class Master(OneServer):
    """The master that the Sentinels at the addresses of the settings know under one name.

    Sentinel is asked every ``FOLLOW`` seconds and after each failed read: a master that was cut off from the nodes may
    still answer, but it gets no more heartbeats. While a master is known, a Sentinel that does not answer changes
    nothing. One lock guards the state.

    Credentials in the addresses are for the Sentinels; ``--redis.username`` and ``--redis.password-file`` are for the
    master. The TLS settings are for both.

    Args:
        redis: The settings.
    """

    masters_only = True

    def __init__(self, redis: RedisSettings) -> None:
        urls = [parse_url(url.get_secret_value()) for url in redis.url]
        timeout = min(_SENTINEL_TIMEOUT, redis.timeout / 2 / len(urls))
        shared = shared_options(redis) | {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._sentinel = Sentinel([])
        self._sentinel.sentinels = [Redis(connection_pool=ConnectionPool(**url | shared | {"db": 0})) for url in urls]
        self._pool = Pool(options_of(redis, urls[0] | {"username": None, "password": None}))
        self._name = redis.sentinel_master or ""
        self._lock = Lock()  # for the pool and the attributes below
        self._ask_at = 0.0
        self._address: tuple[str, int] | None = None

    def pool(self, address: str) -> Pool:  # noqa: ARG002 - a single master
        """Return the connections to the master.

        Raises:
            SourceError: No Sentinel names a master, and none is known.
        """
        with self._lock:
            if time.monotonic() >= self._ask_at:
                self._follow()
                self._ask_at = time.monotonic() + FOLLOW
            return self._pool

    def _follow(self) -> None:
        try:
            found = self._sentinel.discover_master(self._name)
        except FAILURES as error:
            if self._address is None:
                raise self._not_found(error) from None
            return
        if found != self._address:
            self._pool.close()
            self._address, (host, port) = found, found
            self._pool = Pool(self._pool.options | {"host": host, "port": port})

    def _not_found(self, error: Exception) -> SourceError:
        """Return why no Sentinel names a master; redis-py does not tell how the Sentinels failed, so one is asked."""
        plain = plain_error(error)
        if isinstance(error, MasterNotFoundError):
            try:
                self._sentinel.sentinels[0].sentinel_masters()
            except FAILURES as cause:
                return SourceError(f"{plain}: {plain_error(cause)}")
        return plain

    def note(self, address: str, error: SourceError | None) -> None:  # noqa: ARG002 - a single master
        """After an error ask Sentinel at once, and first another one: it may be cut off from the others."""
        if error:
            with self._lock:
                self._ask_at = 0.0
                self._sentinel.sentinels.append(self._sentinel.sentinels.pop(0))

    def close(self) -> None:
        """Close all connections."""
        for sentinel in self._sentinel.sentinels:
            sentinel.close()
        super().close()
