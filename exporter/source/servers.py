"""The server that has all keys: the one at the address of the settings, or the master that Sentinel names."""

import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Final

from redis import ConnectionPool, Redis
from redis.connection import parse_url
from redis.sentinel import MasterNotFoundError, Sentinel

from exporter.errors import SourceError
from exporter.settings import Redis as RedisSettings
from exporter.source.connection import Pool, options_of, shared_options, with_credentials
from exporter.source.gather import Until
from exporter.source.protocol import FAILURES, plain_error
from exporter.source.reading import Server

FOLLOW: Final = 5.0
"""Seconds between two questions to Sentinel while the master answers: much shorter than a heartbeat's TTL."""
_SENTINEL_TIMEOUT: Final = 1.0
"""Seconds for each step of a question to one Sentinel, at most."""
_CREDENTIALS: Final = ("username", "password")


class OneServer:
    """A single server, which holds all keys; its address is ``""``.

    Args:
        redis: The settings.

    Attributes:
        state: Its state, as it was read last.
        silent: Nothing: the server has all the time that a read has.
    """

    state = Server("", "")
    silent = ()

    def __init__(self, redis: RedisSettings) -> None:
        self._pool = Pool(options_of(redis, redis.url[0].get_secret_value()))

    def addresses(self, deadline: float) -> tuple[str, ...]:  # noqa: ARG002 - nobody has to be asked
        """Return the address of the server."""
        return ("",)

    def know(self, deadline: float) -> None:
        """Make sure that the servers of keys are known: they are."""

    def holder(self, key: bytes) -> str:  # noqa: ARG002 - the server holds all keys
        """Return the address of the server."""
        return ""

    def places(self, keys: Sequence[bytes]) -> Mapping[str, Sequence[int]]:
        """Return the positions of all keys, by the address."""
        return {"": range(len(keys))}

    def pool(self, address: str, deadline: float) -> Pool:  # noqa: ARG002 - a single server
        """Return the connections to the server."""
        return self._pool

    def limit(self, address: str, deadline: float) -> Until:  # noqa: ARG002 - it may take all the time
        """Return the deadline."""
        return lambda: deadline

    def note(self, address: str, error: SourceError | None) -> None:
        """Hear how the server answered."""

    def moved(self, address: str, deadline: float) -> None:
        """Hear of a redirection: what answers is part of a cluster, whatever the settings say."""

    def seen(self, state: Server) -> Server:
        """Hear the state of the server, and return it.

        Raises:
            SourceError: The values of the server do not count.
        """
        self.state = state
        return state

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

    def __init__(self, redis: RedisSettings) -> None:
        urls = [parse_url(url.get_secret_value()) for url in redis.url]
        timeout = min(_SENTINEL_TIMEOUT, redis.timeout / 2 / len(urls))
        shared = shared_options(redis) | {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._sentinel = Sentinel([])
        self._sentinel.sentinels = [Redis(connection_pool=ConnectionPool(**url | shared | {"db": 0})) for url in urls]
        options = {name: value for name, value in urls[0].items() if name not in _CREDENTIALS}
        self._options = with_credentials(options | shared_options(redis), redis)
        self._name = redis.sentinel_master or ""
        self._lock = Lock()  # for the attributes below
        self._ask_at = 0.0
        self._address: tuple[str, int] | None = None

    def pool(self, address: str, deadline: float) -> Pool:  # noqa: ARG002 - the Sentinels have time-outs of their own
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
            address = self._sentinel.discover_master(self._name)
        except FAILURES as error:
            if self._address:
                return
            reason = str(plain_error(error)).partition(" : ")[0]  # redis-py adds its objects
            hint = " (do the Sentinels run there, and know it? see --redis.url and --redis.sentinel-master)"
            raise SourceError(f"{reason}{hint * isinstance(error, MasterNotFoundError)}") from None
        if address != self._address:
            if self._address:
                self._pool.close()
            self._address, (host, port) = address, address
            self._pool = Pool(self._options | {"host": host, "port": port})

    def note(self, address: str, error: SourceError | None) -> None:  # noqa: ARG002 - a single master
        """After an error ask Sentinel at once, and first another one: it may be cut off from the others."""
        if error:
            with self._lock:
                self._ask_at = 0.0
                self._sentinel.sentinels.append(self._sentinel.sentinels.pop(0))

    def seen(self, state: Server) -> Server:
        """Hear the state of the server, and return it; raise a SourceError if the server is a replica."""
        if state.info_allowed and state.role != "master":
            raise SourceError("Redis is a replica, and no master since Sentinel named it: a failover")
        return super().seen(state)

    def close(self) -> None:
        """Close all connections."""
        for sentinel in self._sentinel.sentinels:
            sentinel.close()
        if self._address:
            self._pool.close()
