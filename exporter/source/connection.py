"""Connections of redis-py, lent to one thread at a time, with one deadline for requests and replies.

redis-py connects and does the handshake. Then the exporter sends and receives over the connection's socket itself:
``Connection.read_response`` costs about a microsecond a reply, as much as all the parsing that hiredis does.

This is the only file that uses a private part of redis-py: the socket of a connection.
"""

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from socket import SHUT_RDWR, socket
from threading import Lock
from typing import Any, Final

import hiredis
from redis.backoff import NoBackoff
from redis.connection import Connection, DefaultParser, SSLConnection
from redis.credentials import CredentialProvider
from redis.exceptions import InvalidResponse
from redis.retry import Retry

from exporter.errors import SourceError, SourceTimeoutError, SourceTooLargeError
from exporter.settings import Redis
from exporter.source.protocol import FAILURES, plain_error

MOST_BYTES: Final = 4 * 2**20
"""Bytes of the replies to one request. The replies about 500 nodes usually have 100 KiB."""

LONGEST_STEP: Final = 4.0
"""Seconds for each step of a connect, at most: nothing can interrupt it when the exporter ends, which takes 5 s."""
_HANDSHAKE: Final = 1024
"""Bytes that redis-py takes in at once: it reads nothing but the replies to a handshake."""
_FIRST_READ: Final = 16_384
"""Bytes that a connection takes in at once, until so many have come. Most connections never need more."""
_LARGEST_READ: Final = 262_144
_NOTHING: Final = object()
_TLS_HINT: Final = " (rediss:// is for a port that speaks TLS, redis:// for one that does not: see --redis.url)"


class FileCredentials(CredentialProvider):
    """A user name and a password file, which is read at each connect because the password may be rotated."""

    def __init__(self, username: str | None, password_file: Path) -> None:
        self._username = username
        self._password_file = password_file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH, in the form that redis-py expects.

        Raises:
            SourceError: The file is not valid UTF-8.
        """
        try:
            password = self._password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise SourceError(f"--redis.password-file: {self._password_file} is no text in UTF-8") from None
        return (self._username, password) if self._username else (password,)


def shared_options(redis: Redis) -> dict[str, Any]:
    """Return the options of redis-py that all connections share, in all modes."""
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": redis.timeout,
        "socket_connect_timeout": redis.timeout,
        "socket_read_size": _HANDSHAKE,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,  # the user would need one more right, for CLIENT SETINFO
    }
    if redis.url[0].get_secret_value().startswith("rediss://"):
        files = {
            "ssl_ca_certs": redis.tls_ca_file,
            "ssl_certfile": redis.tls_cert_file,
            "ssl_keyfile": redis.tls_key_file,
        }
        options |= {name: str(path) for name, path in files.items() if path}
        # Python 3.13 refuses a private CA without a key usage extension, which Redis and Prometheus accept.
        options["ssl_exclude_verify_flags"] = [ssl.VERIFY_X509_STRICT]
    return options


def options_of(redis: Redis, address: dict[str, Any]) -> dict[str, Any]:
    """Return the options for connections to a parsed address; credentials in the settings override those in it."""
    options = address | shared_options(redis)
    if redis.username:
        options["username"] = redis.username
    if redis.password_file:
        options["credential_provider"] = FileCredentials(options.pop("username", None), redis.password_file)
        options.pop("password", None)
    return options


class Link:
    """An open connection: it sends requests and receives their replies, both until a deadline.

    Args:
        options: Options of redis-py.
        deadline: The time until which the connect, requests and replies are waited for, in monotonic seconds. The
            owner of the link may change it.

    Raises:
        RedisError, OSError, SourceError: The connect failed.
    """

    def __init__(self, options: dict[str, Any], deadline: float) -> None:
        self.deadline = deadline
        self._connection = _connected(options, until(deadline))
        self._socket: socket = self._connection._sock  # type: ignore[assignment] # noqa: SLF001 - redis-py has no public name for the socket
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_NOTHING
        )
        self._buffer = bytearray(_FIRST_READ)
        self._answered = False

    def send(self, request: bytes) -> None:
        """Send packed commands."""
        self._socket.settimeout(until(self.deadline))
        try:
            self._socket.sendall(request)
        except TimeoutError:
            raise
        except OSError:
            pass  # what can be received tells why Redis ended the connection

    def receive(self, count: int, most: int = MOST_BYTES) -> list[Any]:
        """Return the next ``count`` replies; an error reply is an exception in the list.

        Args:
            count: How many replies there are.
            most: Bytes that all of them may have.

        Raises:
            SourceTooLargeError: The replies have more bytes.
            SourceError: Redis ended the connection.
            RedisError, OSError: The connection broke, or what came is no reply, or the deadline has passed.
        """
        replies: list[Any] = []
        gets, left = self._reader.gets, most
        while True:
            try:
                replies += islice(iter(gets, _NOTHING), count - len(replies))
            except (MemoryError, TypeError, ValueError, SystemError, OverflowError) as error:
                # An array of an absurd length, or a type that Python cannot hold.
                raise InvalidResponse(f"Protocol error: {type(error).__name__}") from None
            if len(replies) == count:
                return replies
            self._socket.settimeout(until(self.deadline))
            left -= self._take_in()
            if left < 0:
                raise SourceTooLargeError(f"Redis: a reply has more than {most >> 20} MiB")

    def _take_in(self) -> int:
        try:
            size = self._socket.recv_into(self._buffer)
        except ConnectionError:
            size = 0
        if not size:
            raise SourceError(f"Redis ended the connection{'' if self._answered else _TLS_HINT}")
        self._answered = True
        self._reader.feed(self._buffer, 0, size)  # type: ignore[arg-type] # any buffer will do
        if size == len(self._buffer) < _LARGEST_READ:
            self._buffer = bytearray(_LARGEST_READ)
        return size

    def ask(self, request: bytes, count: int, most: int = MOST_BYTES) -> list[Any]:
        """Send packed commands and return their ``count`` replies."""
        self.send(request)
        return self.receive(count, most)

    @property
    def is_fit(self) -> bool:
        """Whether the connection is open and has no unread reply."""
        try:
            self._socket.setblocking(False)
            self._socket.recv(1)  # over TLS 1.3 a socket is readable too while a session ticket waits
        except (BlockingIOError, ssl.SSLWantReadError):
            return not self._reader.has_data()
        except OSError:
            pass
        return False

    def shut_down(self) -> None:
        """End the connection under its user, who stops waiting; the user has to close it."""
        with suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


def _connected(options: dict[str, Any], seconds: float) -> Connection:
    """Return an open connection, after the handshake; ``seconds`` limit each of its steps."""
    step = min(seconds, LONGEST_STEP)
    times = {"socket_timeout": step, "socket_connect_timeout": step}
    kind = options.get("connection_class", Connection)
    connection = kind(**{name: value for name, value in (options | times).items() if name != "connection_class"})
    try:
        connection.connect()
    except BaseException as error:
        connection.disconnect()
        if isinstance(error, ValueError | OverflowError):  # sockets raise these for an invalid host name or port
            raise SourceError(f"cannot connect to Redis: {error}") from None
        if isinstance(error, FAILURES):
            raise _explained(plain_error(error), isinstance(connection, SSLConnection)) from None
        raise
    return connection  # type: ignore[no-any-return]


def _explained(error: SourceError, with_tls: bool) -> SourceError:  # noqa: FBT001
    """Add what TLS on one side only would look like: silence, or an end before the first reply."""
    is_silent = with_tls and isinstance(error, SourceTimeoutError)
    has_ended = re.search("closed by server|_ssl.c", str(error))
    return type(error)(f"{error}{_TLS_HINT}") if is_silent or has_ended else error


class Pool:
    """Connections to one server. Each connection is lent to one thread at a time. One lock guards the state.

    Args:
        options: Options of redis-py; no connection is made yet.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self._lock = Lock()
        self._idle: list[Link] = []
        self._lent: set[Link] = set()
        self._is_closed = False

    def take(self, deadline: float) -> Link:
        """Lend an idle connection, or a new one.

        Raises:
            RedisError, OSError, SourceError: The server cannot be reached before the deadline (monotonic seconds).
        """
        with self._lock:
            idle, self._idle = self._idle, self._idle[:-1]
            link = idle[-1] if idle else None
        if link is None:
            link = Link(self.options, deadline)
        elif not link.is_fit:
            link.close()
            return self.take(deadline)
        link.deadline = deadline
        with self._lock:
            self._lent.add(link)
        return link

    def give_back(self, link: Link, *, sound: bool) -> None:
        """Take a connection back.

        Args:
            link: A connection that was lent.
            sound: Whether all replies to its requests were received. If not, the connection is closed: the next
                request would take the late replies for its own.
        """
        with self._lock:
            self._lent.discard(link)
            if sound and not self._is_closed:
                self._idle.append(link)
                return
        link.close()

    def close(self) -> None:
        """Close all connections, for good; the users of those that are lent stop waiting."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for link in self._lent:
                link.shut_down()
        for link in idle:
            link.close()


@contextmanager
def linked(pool: Pool, deadline: float) -> Iterator[Link]:
    """Lend a connection of a pool until the block ends; the deadline is in monotonic seconds.

    Raises:
        SourceError: An error of redis-py or of the socket in the block, as one line.
    """
    link, sound = None, False
    try:
        link = pool.take(deadline)
        yield link
        sound = True
    except FAILURES as error:
        raise plain_error(error) from error
    finally:
        if link is not None:
            pool.give_back(link, sound=sound)


def until(deadline: float) -> float:
    """Return the seconds left until a deadline in monotonic seconds.

    Raises:
        TimeoutError: The deadline has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
