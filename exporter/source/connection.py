"""Connections to Redis: redis-py's, with replies taken in batches and one deadline for all of them."""

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from redis import ConnectionPool, RedisError
from redis import Redis as Client
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import Redis

_READ_SIZE: Final = 262_144
_SENTINEL_TIMEOUT: Final = 1.0  # seconds: there are others to ask
_NOT_CONNECTED: Final = re.compile(r"Error -?\d+ connecting to (.+?)\. (.+?)\.")
_FORMS: Final = {
    AuthenticationError: "Redis refused the user or the password: {} (see --redis.username, --redis.password-file)",
    NoPermissionError: "Redis: {} (the README lists the rights that are needed)",
    MasterNotFoundError: "Redis: {} (do the Sentinels run there, and know it?"
    " see --redis.url and --redis.sentinel-master)",
}


_HINTS: Final = {
    "unknown command 'SENTINEL'": "what answers is no Sentinel: see --redis.mode",
    "Cluster mode is not enabled": "what answers is no cluster: see --redis.mode",
    "DB index is out of range": "see the number at the end of --redis.url",
}


class BatchParser(_HiredisParser):
    """redis-py's hiredis parser, which also takes many replies at once.

    ``Connection.read_response`` costs about a microsecond a reply; at 20,000
    replies a scrape that is as much as all that hiredis does.
    """

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether an unread reply is waiting, which a connection fit for use has not.

        TLS 1.3 sends its session tickets after the handshake: they make the
        socket readable and hold no reply, so over TLS only a read can tell.
        """
        if not isinstance(self._sock, ssl.SSLSocket):
            return bool(super().can_read(timeout))
        return bool(self._reader.has_data() or self.read_from_socket(timeout=timeout, raise_on_timeout=False))  # type: ignore[no-untyped-call]

    def read_batch(self, count: int, deadline: float) -> list[Any]:
        """Return the next ``count`` replies; error replies stand among them as ``ResponseError``.

        Raises:
            RedisTimeout: ``deadline`` (monotonic seconds) has passed.
            RedisError: The connection broke.
        """
        replies: list[Any] = []
        while True:
            replies += islice(iter(self._reader.gets, NOT_ENOUGH_DATA), count - len(replies))
            if len(replies) == count:
                return replies
            self.read_from_socket(timeout=_until(deadline))  # type: ignore[no-untyped-call]


class FileCredentials(CredentialProvider):
    """A user name, and a password in a file that is read at every connect, as it may be rotated."""

    def __init__(self, username: str | None, password_file: Path) -> None:
        self._username = username
        self._password_file = password_file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH is sent, as redis-py wants it.

        Raises:
            SourceError: The file holds no text.
        """
        try:
            password = self._password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise SourceError(f"--redis.password-file: {self._password_file} is no text in UTF-8") from None
        return (self._username, password) if self._username else (password,)


class Link:
    """One connection for one piece of work: requests go out, batches of replies come back."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def send(self, request: bytes) -> None:
        """Send packed commands."""
        self._connection.send_packed_command([request])

    def receive(self, count: int) -> list[Any]:
        """Return the next ``count`` replies."""
        replies: list[Any] = self._connection._parser.read_batch(count, self._deadline)  # noqa: SLF001
        return replies

    def ask(self, request: bytes, count: int) -> list[Any]:
        """Send packed commands and return their ``count`` replies."""
        self.send(request)
        return self.receive(count)


@contextmanager
def linked(pool: ConnectionPool, deadline: float) -> Iterator[Link]:
    """Lend a connection of a pool until the block ends; one that failed is closed, not lent again.

    Raises:
        SourceError: What redis-py raised in the block, in one line.
    """
    connection = None
    try:
        connection = pool.get_connection()
        yield Link(connection, deadline)
    except BaseException as error:
        if connection is not None:
            connection.disconnect()  # replies may be under way that the next one must not take for its own
        if isinstance(error, RedisError | OSError):
            raise plain_error(error) from error
        raise
    finally:
        if connection is not None:
            pool.release(connection)


def plain_error(error: Exception) -> SourceError:
    """Return what redis-py or the socket raised as one line without secrets."""
    if isinstance(error, RedisTimeout):
        return SourceTimeoutError("Redis did not answer in time")
    if isinstance(error, BusyLoadingError):
        return SourceError("Redis is loading its data")
    text = " ".join(str(error).split()) or type(error).__name__
    if hint := next((hint for part, hint in _HINTS.items() if part in text), ""):
        text = f"{text.partition(', with args')[0]} ({hint})"
    if refused := _NOT_CONNECTED.fullmatch(text):
        where, why = refused.groups()
        return SourceError(f"cannot connect to Redis at {where}: {why} (is it running there? see --redis.url)")
    if text.startswith("Protocol error"):
        return SourceError("what answers does not speak Redis's protocol (see --redis.url)")
    for kind, form in _FORMS.items():
        if isinstance(error, kind):
            return SourceError(form.format(text.partition(" : <")[0]))
    return SourceError(text if isinstance(error, OSError) else f"Redis: {text}")


def connection_options(redis: Redis) -> dict[str, Any]:
    """Return what every connection of the settings is made with, whatever the mode."""
    options: dict[str, Any] = {
        "parser_class": BatchParser,
        "protocol": 2,
        "socket_timeout": redis.timeout,
        "socket_connect_timeout": redis.timeout,
        "socket_read_size": _READ_SIZE,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,  # CLIENT SETINFO would be one more right to grant
    }
    if redis.password_file:
        options["credential_provider"] = FileCredentials(redis.username, redis.password_file)
    elif redis.username:
        options["username"] = redis.username
    if redis.url[0].get_secret_value().startswith("rediss://"):
        files = {
            "ssl_ca_certs": redis.tls_ca_file,
            "ssl_certfile": redis.tls_cert_file,
            "ssl_keyfile": redis.tls_key_file,
        }
        options |= {name: str(path) for name, path in files.items() if path}
    return options


def options_of(redis: Redis, url: str) -> dict[str, Any]:
    """Return what a pool of connections to one address is made with; the settings' credentials over the address's."""
    options: dict[str, Any] = parse_url(url) | connection_options(redis)
    if redis.password_file:
        username = redis.username or options.pop("username", None)
        options["credential_provider"] = FileCredentials(username, redis.password_file)
        for name in ("username", "password"):
            options.pop(name, None)
    return options


def pool_of(redis: Redis) -> ConnectionPool:
    """Return the pool of a server, or of the master that Sentinel names; nothing is connected yet."""
    if redis.mode == "sentinel":
        return _sentinel_pool(redis)
    return ConnectionPool(**options_of(redis, redis.url[0].get_secret_value()))


def _sentinel_pool(redis: Redis) -> SentinelConnectionPool:
    """Return a pool that asks Sentinel for the master at every connect.

    The addresses are the Sentinels', and what credentials they hold is for these;
    the master's are ``--redis.username`` and ``--redis.password-file``. TLS is for both.
    """
    options = connection_options(redis)
    timeout = min(redis.timeout, _SENTINEL_TIMEOUT)
    sentinels = Sentinel([])
    for url in redis.url:
        address = parse_url(url.get_secret_value())
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        sentinels.sentinels.append(
            Client(
                connection_pool=ConnectionPool(
                    **{name: value for name, value in address.items() if name != "db"},
                    **tls,
                    protocol=2,
                    socket_timeout=timeout,
                    socket_connect_timeout=timeout,
                    retry=options["retry"],
                    driver_info=None,
                )
            )
        )
    first = parse_url(redis.url[0].get_secret_value())
    options |= {"db": first.get("db", 0), "ssl": "connection_class" in first}
    return SentinelConnectionPool(redis.sentinel_master, sentinels, **options)


def _until(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise RedisTimeout("Timeout reading from socket")
    return left
