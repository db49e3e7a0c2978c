"""Connections of redis-py, with one deadline for the connect, the requests and the replies together."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import Any, Final, Self

from redis import RedisError
from redis.connection import Connection
from redis.exceptions import TimeoutError as RedisTimeout

from exporter.errors import SourceError
from exporter.source.parser import until
from exporter.source.plain_error import plain_error

FAILURES: Final = (RedisError, OSError)
"""The errors that redis-py and sockets raise."""


class Link:
    """A connection that is lent to its user until a deadline: it sends requests and receives their replies.

    Attributes:
        deadline: The time until which requests and replies are waited for, in monotonic seconds.
    """

    def __init__(self, connection: Connection, deadline: float) -> None:
        self._connection = connection
        self.deadline = deadline

    def send(self, request: bytes) -> None:
        """Send packed commands."""
        if sock := _socket_of(self._connection):
            sock.settimeout(until(self.deadline))
        self._connection.send_packed_command([request], check_health=False)

    def receive(self, count: int) -> list[Any]:
        """Return the next ``count`` replies."""
        replies: list[Any] = self._connection._parser.read_batch(count, self.deadline)  # noqa: SLF001
        return replies

    def ask(self, request: bytes, count: int) -> list[Any]:
        """Send packed commands and return their ``count`` replies."""
        self.send(request)
        return self.receive(count)


class Pool:
    """Connections to one server. Each connection is lent to one thread at a time. One lock guards the state.

    Args:
        make: A function that takes the deadline in monotonic seconds and returns a connection that is not connected
            yet. The function may ask another server for the address.
    """

    def __init__(self, make: Callable[[float], Connection]) -> None:
        self._make = make
        self._lock = Lock()
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """Return a pool whose connections are made with these options of redis-py; no connection is made yet."""
        return cls(lambda _: connection_of(options))

    def begin(self, deadline: float) -> Callable[[], Connection]:
        """Start to connect, or take an idle connection; return a function that waits for the connection.

        The function returns a connected connection, or raises one of ``FAILURES`` or a SourceError. It
        raises ``RedisTimeout`` at the deadline (monotonic seconds), whatever the host does.
        """
        while True:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
            if idle is None:
                attempt = _Attempt(self._make, deadline)
                return lambda: self._lend(attempt.result())
            if _is_fit(idle):
                return lambda: self._lend(idle)
            idle.disconnect()

    def give_back(self, connection: Connection, *, sound: bool) -> None:
        """Take a connection back.

        Args:
            connection: A connection that was lent.
            sound: Whether all replies to its requests were received. If not, the connection is closed: the next
                request would take the late replies for its own.
        """
        with self._lock:
            current = connection in self._lent  # False if the pool was closed in the meantime
            self._lent.discard(connection)
            if sound and current:
                self._idle.append(connection)
                return
        connection.disconnect()

    def is_lent(self, connection: Connection) -> bool:
        """Return whether a connection is lent, and was not called back by ``disconnect_idle`` since."""
        with self._lock:
            return connection in self._lent

    def disconnect_idle(self) -> None:
        """Close all connections that are not lent; each lent connection is closed when it is given back."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._lent.clear()
        for connection in idle:
            connection.disconnect()

    def disconnect(self) -> None:
        """Close all connections; shut down the sockets of the lent ones, so that their users stop waiting."""
        with self._lock:
            lent = tuple(self._lent)
        self.disconnect_idle()
        for connection in lent:
            _shut_down(connection)

    def _lend(self, connection: Connection) -> Connection:
        with self._lock:
            self._lent.add(connection)
        return connection


class _Attempt:
    """One connect in a thread of its own, so that the caller can stop waiting at the deadline.

    redis-py limits the time of single calls only: of the connect to each address of the host, and of
    each read from the socket. A host that sends its reply byte by byte would keep the caller waiting.
    No limit covers the name resolver.
    """

    def __init__(self, make: Callable[[float], Connection], deadline: float) -> None:
        self._make = make
        self._deadline = deadline
        self._lock = Lock()  # for the next attribute
        self._given_up = False
        self._connection: Connection | None = None
        self._done: Future[Connection] = Future()
        try:
            Thread(target=self._run, name="connect", daemon=True).start()
        except RuntimeError as error:  # the system allows no further thread
            self._done.set_exception(SourceError(f"cannot connect to Redis: {error}"))

    def result(self) -> Connection:
        """Wait for the connection and return it; may be called once only.

        Raises:
            RedisTimeout: The deadline has passed.
        """
        try:
            return self._wait()
        finally:
            # Without this line, a failed connect stays in memory until the garbage collector runs: the error refers
            # to the frames that it passed, the frames refer to this object, and this object refers to the error.
            del self._done

    def _wait(self) -> Connection:
        with suppress(NotDone):
            return self._done.result(max(0.0, self._deadline - time.monotonic()))
        with self._lock:
            if self._done.done():
                return self._done.result()
            self._given_up = True
            if self._connection:
                _shut_down(self._connection)
        raise RedisTimeout("Timeout connecting to server")

    def _run(self) -> None:
        connection = None
        try:
            connection = self._connection = self._make(self._deadline)
            connection.socket_connect_timeout = until(self._deadline)
            connection.connect()
        except BaseException as error:  # noqa: BLE001 - ``result`` raises it in the thread of the caller
            if connection:
                connection.disconnect()
            if isinstance(error, ValueError | OverflowError):  # sockets raise these for an invalid host name or port
                error = SourceError(f"cannot connect to Redis: {error}")
            _drop_frames(error)
            with self._lock:
                if not self._given_up:
                    self._done.set_exception(error)
            return
        with self._lock:
            if not self._given_up:
                self._done.set_result(connection)
                return
        connection.disconnect()


@contextmanager
def linked(pool: Pool, deadline: float) -> Iterator[Link]:
    """Lend a connection of a pool until the block ends; the deadline is in monotonic seconds.

    Raises:
        SourceError: An error of redis-py or of the socket in the block, as one line.
    """
    connection, sound = None, False
    try:
        connection = pool.begin(deadline)()
        yield Link(connection, deadline)
        sound = True
    except FAILURES as error:
        raise plain_error(error) from error
    finally:
        if connection is not None:
            pool.give_back(connection, sound=sound)


def connection_of(options: dict[str, Any]) -> Connection:
    """Return a connection with these options of redis-py; it is not connected yet."""
    kind = options.get("connection_class", Connection)
    return kind(**{name: value for name, value in options.items() if name != "connection_class"})  # type: ignore[no-any-return]


def _is_fit(connection: Connection) -> bool:
    """Return whether a connection is open and has no unread reply."""
    try:
        return connection.is_connected and not connection._parser.can_read()  # noqa: SLF001
    except FAILURES:
        return False


def _drop_frames(error: BaseException) -> None:
    """Remove the frames from an error: frames of redis-py refer to the error, so the two would form a cycle."""
    link: BaseException | None = error
    while link:
        link.__traceback__ = None
        link = link.__context__


def _shut_down(connection: Connection) -> None:
    """Shut down a connection's socket, so that a thread that waits on the socket stops waiting."""
    if sock := _socket_of(connection):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _socket_of(connection: Any) -> socket.socket | None:
    """Return a connection's socket; None if it is not connected. redis-py has no public name for the socket."""
    sock: socket.socket | None = connection._sock  # noqa: SLF001
    return sock
