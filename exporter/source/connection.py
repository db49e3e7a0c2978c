"""Connections of redis-py, and the commands that they send; what the replies and the errors mean.

A connection is lent to one thread at a time, with one deadline for requests and replies.

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
from typing import Any, Final, NamedTuple

import hiredis
from redis import RedisError
from redis.backoff import NoBackoff
from redis.connection import Connection, DefaultParser, SSLConnection
from redis.credentials import CredentialProvider
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTimeoutError, SourceTooLargeError
from exporter.settings import Redis

FAILURES: Final = (RedisError, OSError)
"""The errors that redis-py and sockets raise."""
CHUNK: Final = 500
"""Nodes in one request, at least. With fewer, Redis waits more often; with more, its other clients wait longer."""
MOST_BYTES: Final = 8 * 2**20
"""Bytes of one reply, at most: of a plan of 100,000 portfolios."""

LONGEST_STEP: Final = 4.0
"""Seconds for each step of a connect, at most: nothing can interrupt it when the exporter ends, which takes 5 s."""
_READ: Final = 65_536
"""Bytes that a connection takes in at once."""
_NOTHING: Final = object()


class FileCredentials(CredentialProvider):
    """A user name and a password file, which is read at each connect because the password may be rotated."""

    def __init__(self, username: str | None, password_file: Path) -> None:
        self._username = username
        self._password_file = password_file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH, in the form that redis-py expects; a password is text in UTF-8."""
        password = self._password_file.read_text(encoding="utf-8").rstrip("\r\n")
        return (self._username, password) if self._username else (password,)


def shared_options(redis: Redis) -> dict[str, Any]:
    """Return the options of redis-py that all connections share, in all modes."""
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": redis.timeout,
        "socket_connect_timeout": redis.timeout,
        "socket_read_size": 1024,  # redis-py reads nothing but the replies to a handshake
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,  # the user would need one more right, for CLIENT SETINFO
    }
    if redis.url[0].get_secret_value().startswith("rediss://"):
        paths = redis.tls_ca_file, redis.tls_cert_file, redis.tls_key_file
        names = "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"
        options |= {name: str(path) for name, path in zip(names, paths, strict=True) if path}
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
        self._connection = _connected(until(deadline), **options)
        self._socket: socket = self._connection._sock  # type: ignore[assignment] # noqa: SLF001 - redis-py has no public name for the socket
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_NOTHING
        )
        self._buffer = bytearray(_READ)
        self._hint = f" {TLS_HINT}"

    def send(self, request: bytes) -> None:
        """Send packed commands."""
        self._socket.settimeout(until(self.deadline))
        with suppress(ConnectionError, ssl.SSLError):  # what can be received tells why Redis ended the connection
            self._socket.sendall(request)

    def receive(self, count: int, replies: list[Any], most: int) -> list[Any]:
        """Append the next replies to a list until it has ``count``; an error reply is an exception in the list.

        Raises:
            SourceTooLargeError: One of the replies has more than ``most`` bytes.
            SourceError: Redis ended the connection.
            RedisError, OSError: The connection broke, or what came is no reply, or the deadline has passed.
        """
        gets, left = self._reader.gets, most
        while True:
            before = len(replies)
            try:
                replies += islice(iter(gets, _NOTHING), count - len(replies))
            except (MemoryError, TypeError, ValueError, SystemError, OverflowError) as error:
                # An array of an absurd length, or a type that Python cannot hold.
                raise InvalidResponse(f"Protocol error: {type(error).__name__}") from None
            if len(replies) == count:
                return replies
            if len(replies) > before:
                left = most
            self._socket.settimeout(until(self.deadline))
            size = 0
            with suppress(ConnectionError):
                size = self._socket.recv_into(self._buffer)
            if not size:
                raise SourceError(f"Redis ended the connection{self._hint}")
            self._hint = ""
            self._reader.feed(self._buffer, 0, size)  # type: ignore[arg-type] # any buffer will do
            left -= size
            if left < 0:
                raise SourceTooLargeError(f"a value in Redis is larger than {most >> 20} MiB")

    def ask(self, request: bytes, count: int) -> list[Any]:
        """Send packed commands and return their ``count`` replies."""
        self.send(request)
        return self.receive(count, [], MOST_BYTES)

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


def _connected(seconds: float, connection_class: type[Connection] = Connection, **options: Any) -> Connection:
    """Return an open connection, after the handshake; ``seconds`` limit each of its steps."""
    step = min(seconds, LONGEST_STEP)
    connection = connection_class(**options | {"socket_timeout": step, "socket_connect_timeout": step})
    try:
        connection.connect()
    except (*FAILURES, ValueError, OverflowError) as error:  # sockets raise the last two for an invalid host or port
        connection.disconnect()
        plain = plain_error(error)
        if connection_class is SSLConnection and isinstance(plain, SourceTimeoutError):  # a port without TLS waits, too
            plain = SourceTimeoutError(f"{plain} {TLS_HINT}")
        raise plain from None
    return connection


class Pool:
    """Connections to one server. Each connection is lent to one thread at a time.

    The state needs no lock: each change of it is one atomic operation.

    Args:
        options: Options of redis-py; no connection is made yet.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self._idle: list[Link] = []
        self._lent: set[Link] = set()
        self._is_closed = False

    @contextmanager
    def lent(self, deadline: float) -> Iterator[Link]:
        """Lend a connection until the block ends; the deadline is in monotonic seconds.

        A connection to whose requests not all replies were received is closed: the next request would take the late
        replies for its own.

        Raises:
            SourceError: The server cannot be reached, or an error of redis-py or of the socket in the block, as one
                line.
        """
        link, sound = None, False
        try:
            link = self._fit_one() or Link(self.options, deadline)
            link.deadline = deadline
            self._lent.add(link)
            yield link
            sound = not self._is_closed
        except FAILURES as error:
            raise plain_error(error) from error
        finally:
            if link:
                self._lent.discard(link)
                if sound:
                    self._idle.append(link)
                else:
                    link.close()

    def _fit_one(self) -> Link | None:
        with suppress(IndexError):  # then no connection is idle
            while not (link := self._idle.pop()).is_fit:
                link.close()
            return link
        return None

    def close(self) -> None:
        """Close all connections, for good; the users of those that are lent stop waiting."""
        self._is_closed = True
        for link in tuple(self._lent):
            link.shut_down()
        while self._idle:
            self._idle.pop().close()


def until(deadline: float) -> float:
    """Return the seconds left until a deadline in monotonic seconds.

    Raises:
        TimeoutError: The deadline has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def pack(*words: bytes) -> bytes:
    """Return one command in Redis's wire format (an array of bulk strings)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def commands_of(packed: bytes) -> Iterator[list[bytes]]:
    """Return the words of each of some packed commands."""
    reader = hiredis.Reader()
    reader.feed(packed)
    return iter(reader.gets, False)


_HMGET: Final = pack(b"HMGET", b"", *map(str.encode, FIELDS)).replace(b"$0\r\n", b"$%d\r\n%b")


def hmget(key: bytes) -> bytes:
    """Return the command that reads the known fields of a node's hash."""
    return _HMGET % (len(key), key)


class KeyNames(NamedTuple):
    """The names of the nodes' keys: two prefixes, each followed by the node's id."""

    metrics: bytes
    heartbeat: bytes


def expected(reply: Any, kind: type) -> Any:
    """Return a reply if it has the expected type.

    Raises:
        SourceError: The reply is an error (a missing right, Redis is loading, …), or has another type.
    """
    if type(reply) is kind:
        return reply
    if isinstance(reply, Exception):
        raise plain_error(reply)
    raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")


def is_wrong_type(reply: Any) -> bool:
    """Return whether a reply says that the key has the wrong type; such a reply affects this key only."""
    return isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE")


TLS_HINT: Final = "(rediss:// is for a port that speaks TLS, redis:// for one that does not: see --redis.url)"
_MEANINGS: Final = {
    r"certificate verify failed: (.+?)\.? \(_ssl": (
        "Redis's certificate is not trusted: {} (see --redis.tls-ca-file, and the host in --redis.url)"
    ),
    "CERTIFICATE_REQUIRED": "Redis requires a client certificate: see --redis.tls-cert-file",
    r"^\w+: (.*(closed by server|_ssl\.c).*)": "{} " + TLS_HINT,
    r"Error -?\d+ connecting to (.+?)\. (.+?)\.": (
        "cannot connect to Redis at {}: {} (is it running there? see --redis.url)"
    ),
    "^MasterNotFoundError: No master found for (.+?)( : |$)": (
        "no Sentinel names a master {} (see --redis.url and --redis.sentinel-master)"
    ),
    "^UnicodeDecodeError": "--redis.password-file is not UTF-8 text",
    "^BusyLoadingError": "Redis is loading its data",
    "^(Ask|Moved)Error": "the server is part of a Redis Cluster: see --redis.mode",
    "unknown command 'SENTINEL'": "the server is no Sentinel: see --redis.mode",
    "cluster support disabled": "the server is no Redis Cluster: see --redis.mode",
    "(DB index is out of range)": "Redis: {} (see the number at the end of --redis.url)",
    r"^Authentication\w+: (.*)": (
        "Redis refused the user or the password: {} (see --redis.username, --redis.password-file)"
    ),
    "^NoPermissionError: (.*)": "Redis: {} (docs/how-to/redis.md lists the rights)",
    "(Protocol error.*)": "the server does not speak Redis's protocol (see --redis.url): {}",
    r"^(?:\w+: )?(.*)": "Redis: {}",
}
"""What an error means, by a regular expression that finds it; the first one counts."""


def plain_error(error: Exception) -> SourceError:
    """Return an error of redis-py or of a socket as one line without secrets."""
    if isinstance(error, SourceError):
        return error
    if isinstance(error, RedisTimeout | TimeoutError):
        return SourceTimeoutError("Redis did not answer in time")
    text = " ".join(f"{type(error).__name__}: {error}".split())
    found = ((re.search(pattern, text), meaning) for pattern, meaning in _MEANINGS.items())
    return next(SourceError(meaning.format(*match.groups())) for match, meaning in found if match)
