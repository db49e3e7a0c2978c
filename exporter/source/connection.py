"""Connections to Redis: redis-py's, with one deadline for connecting, requests and replies."""

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
"""What redis-py and sockets raise."""


class Link:
    """One connection for one piece of work: requests go out, batches of replies come back.

    Attributes:
        deadline: Until when requests and replies may take, in monotonic seconds.
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
    """Connections to one server, each lent to one thread at a time. Its state has one lock.

    Args:
        make: Returns a connection that is not connected yet, given the deadline in monotonic seconds; it may ask
            another server for the address.
    """

    def __init__(self, make: Callable[[float], Connection]) -> None:
        self._make = make
        self._lock = Lock()
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """Return connections made with redis-py's options; nothing is connected yet."""
        return cls(lambda _: connection_of(options))

    def begin(self, deadline: float) -> Callable[[], Connection]:
        """Begin to take a connection, and return a function that waits for it.

        The function returns a connection that is ready, and raises one of
        ``FAILURES`` or a SourceError; ``RedisTimeout`` at the deadline in monotonic
        seconds, whatever the host does.
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
            sound: All replies to its requests were received; else it is closed, since replies may be under way that
                the next request must not take for its own.
        """
        with self._lock:
            current = connection in self._lent  # else the pool was closed meanwhile
            self._lent.discard(connection)
            if sound and current:
                self._idle.append(connection)
                return
        connection.disconnect()

    def disconnect_idle(self) -> None:
        """Close all connections that are not lent; the lent ones are closed as they come back."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._lent.clear()
        for connection in idle:
            connection.disconnect()

    def disconnect(self) -> None:
        """Close all connections, and cut those that are lent."""
        with self._lock:
            lent = tuple(self._lent)
        self.disconnect_idle()
        for connection in lent:
            _cut(connection)

    def _lend(self, connection: Connection) -> Connection:
        with self._lock:
            self._lent.add(connection)
        return connection


class _Attempt:
    """One connect, in a thread of its own, which the caller need not wait for to its end.

    redis-py's time limits are for single calls: one for each address of the host
    and for each reply, however slowly it trickles; and none bounds the resolver.
    """

    def __init__(self, make: Callable[[float], Connection], deadline: float) -> None:
        self._make = make
        self._deadline = deadline
        self._lock = Lock()  # of the next
        self._given_up = False
        self._connection: Connection | None = None
        self._done: Future[Connection] = Future()
        try:
            Thread(target=self._run, name="connect", daemon=True).start()
        except RuntimeError as error:  # the machine has no thread left
            self._done.set_exception(SourceError(f"cannot connect to Redis: {error}"))

    def result(self) -> Connection:
        """Return the connection once it is ready; to be called once.

        Raises:
            RedisTimeout: The deadline has passed.
        """
        try:
            return self._wait()
        finally:
            # An error refers to the frames that it passed, and they to this object: kept here it would be a cycle,
            # which lives until the garbage collector comes.
            del self._done

    def _wait(self) -> Connection:
        with suppress(NotDone):
            return self._done.result(max(0.0, self._deadline - time.monotonic()))
        with self._lock:
            if self._done.done():
                return self._done.result()
            self._given_up = True
            if self._connection:
                _cut(self._connection)
        raise RedisTimeout("Timeout connecting to server")

    def _run(self) -> None:
        connection = None
        try:
            connection = self._connection = self._make(self._deadline)
            connection.socket_connect_timeout = until(self._deadline)
            connection.connect()
        except BaseException as error:  # noqa: BLE001 - raised where the result is waited for
            if connection:
                connection.disconnect()
            if isinstance(error, ValueError | OverflowError):  # how sockets refuse a host's name and a port
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
    """Lend a connection of a pool until the block ends or the deadline (monotonic seconds) passes.

    Raises:
        SourceError: What redis-py or the socket raised in the block, in one line.
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
    """Return a connection with redis-py's options, not connected yet."""
    kind = options.get("connection_class", Connection)
    return kind(**{name: value for name, value in options.items() if name != "connection_class"})  # type: ignore[no-any-return]


def _is_fit(connection: Connection) -> bool:
    """Return whether a connection is open and holds no unread reply."""
    try:
        return connection.is_connected and not connection._parser.can_read()  # noqa: SLF001
    except FAILURES:
        return False


def _drop_frames(error: BaseException) -> None:
    """Drop the frames that an error passed: redis-py's keep the error, which would be a cycle."""
    link: BaseException | None = error
    while link:
        link.__traceback__ = None
        link = link.__context__


def _cut(connection: Connection) -> None:
    """Let a thread that waits on a connection's socket find it closed."""
    if sock := _socket_of(connection):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _socket_of(connection: Any) -> socket.socket | None:
    """Return a connection's socket, for which redis-py has no public name; None if it is not connected."""
    sock: socket.socket | None = connection._sock  # noqa: SLF001
    return sock
