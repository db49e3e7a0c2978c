"""One connect to Redis with its handshake: it has one deadline, whatever the host does."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Final

from redis import RedisError
from redis.connection import Connection
from redis.exceptions import TimeoutError as RedisTimeout

from exporter.errors import SourceError
from exporter.source.parser import until

FAILURES: Final = (RedisError, OSError)
"""The errors that redis-py and sockets raise."""


class Attempt:
    """One connect in a thread of its own, so that the caller can stop waiting at the deadline.

    redis-py limits the time of single calls only: of the connect to each address of the host, and of
    each read from the socket. A host that sends its reply byte by byte would keep the caller waiting.
    No limit covers the name resolver.
    """

    def __init__(self, make: Callable[[float], Connection], deadline: float, *, exact: bool = False) -> None:
        self._make = make
        self._deadline = deadline
        self._exact = exact
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
                shut_down(self._connection)
        raise RedisTimeout("Timeout connecting to server")

    def _run(self) -> None:
        connection = None
        try:
            connection = self._connection = self._make(self._deadline)
            connection.socket_connect_timeout = until(self._deadline)
            parser: Any = connection._parser  # noqa: SLF001
            # A thread that nobody waits for any more ends at the deadline too, however slowly the handshake trickles.
            parser.exact, parser.deadline = self._exact, self._deadline
            connection.connect()
            parser.deadline = None
        except BaseException as error:  # noqa: BLE001 - ``result`` raises it in the thread of the caller
            if connection:
                connection.disconnect()
            if isinstance(error, ValueError | OverflowError):  # sockets raise these for an invalid host name or port
                error = SourceError(f"cannot connect to Redis: {error}")
            elif isinstance(error, Exception) and not isinstance(error, (*FAILURES, SourceError)):
                # redis-py does not expect every reply in its handshake.
                error = SourceError(f"cannot connect to Redis: an unexpected reply ({type(error).__name__})")
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


def _drop_frames(error: BaseException) -> None:
    """Remove the frames from an error: frames of redis-py refer to the error, so the two would form a cycle."""
    link: BaseException | None = error
    while link:
        link.__traceback__ = None
        link = link.__context__


def shut_down(connection: Connection) -> None:
    """Shut down a connection's socket, so that a thread that waits on the socket stops waiting."""
    if sock := socket_of(connection):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def socket_of(connection: Any) -> socket.socket | None:
    """Return a connection's socket; None if it is not connected. redis-py has no public name for the socket."""
    sock: socket.socket | None = connection._sock  # noqa: SLF001
    return sock
