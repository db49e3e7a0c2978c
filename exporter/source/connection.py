"""Connections of redis-py, with one deadline for the connect, the requests and the replies together."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Self

from redis.connection import Connection

from exporter.source.attempt import FAILURES, Attempt, shut_down, socket_of
from exporter.source.framing import USUAL, Limit
from exporter.source.openssl_errors import forget_errors
from exporter.source.parser import until
from exporter.source.plain_error import plain_error
from exporter.source.requests import SERVER


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
        if sock := socket_of(self._connection):
            sock.settimeout(until(self.deadline))
        try:
            self._connection.send_packed_command([request], check_health=False)
        except FAILURES:
            forget_errors(sock)
            raise

    def receive(self, count: int, limit: Limit = USUAL) -> list[Any]:
        """Return the next ``count`` replies."""
        replies: list[Any] = self._connection._parser.read_batch(count, self.deadline, limit)  # noqa: SLF001
        return replies

    def ask(self, request: bytes, count: int, limit: Limit = USUAL) -> list[Any]:
        """Send packed commands and return their ``count`` replies."""
        self.send(request)
        return self.receive(count, limit)


class Pool:
    """Connections to one server. Each connection is lent to one thread at a time. One lock guards the state.

    Args:
        make: A function that takes the deadline in monotonic seconds and returns a connection that is not connected
            yet. The function may ask another server for the address.

    Attributes:
        server_request: The command that reads the state of the server. ``server.seen_server`` changes it for an old
            server.
    """

    def __init__(self, make: Callable[[float], Connection]) -> None:
        self.server_request = SERVER
        self._make = make
        self._lock = Lock()
        self._exact = False
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._recalls = 0

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
                exact, idle, recalls = self._exact, self._idle.pop() if self._idle else None, self._recalls
            if idle is None:
                attempt = Attempt(self._make, deadline, exact=exact)
                return lambda: self._lend(attempt.result(), recalls)
            if _is_fit(idle) and idle._parser.exact >= exact:  # noqa: SLF001
                return lambda: self._lend(idle, recalls)
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
            if connection._parser.doubted:  # noqa: SLF001
                self._exact = True
            if sound and current:
                self._idle.append(connection)
                return
        connection.disconnect()

    def is_lent(self, connection: Connection) -> bool:
        """Return whether a connection is lent, and was not called back by ``disconnect_idle`` since."""
        with self._lock:
            return connection in self._lent

    def idle_sockets(self) -> list[socket.socket]:
        """Return the sockets of all connections that are not lent."""
        with self._lock:
            return [sock for connection in self._idle if (sock := socket_of(connection))]

    def drop_ended(self) -> int:
        """Close the connections that are not lent and that the server has ended; return how many these are."""
        with self._lock:
            ended = [connection for connection in self._idle if not _is_fit(connection)]
            self._idle = [connection for connection in self._idle if connection not in ended]
        for connection in ended:
            connection.disconnect()
        return len(ended)

    def disconnect_idle(self) -> None:
        """Close all connections that are not lent; each lent connection is closed when it is given back."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._lent.clear()
            self._recalls += 1
        for connection in idle:
            connection.disconnect()

    def disconnect(self) -> None:
        """Close all connections; shut down the sockets of the lent ones, so that their users stop waiting."""
        with self._lock:
            lent = tuple(self._lent)
        self.disconnect_idle()
        for connection in lent:
            shut_down(connection)

    def _lend(self, connection: Connection, recalls: int) -> Connection:
        """Note that a connection is lent, unless all were recalled since it was begun: it is closed when given back."""
        with self._lock:
            if recalls == self._recalls:
                self._lent.add(connection)
        return connection


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
