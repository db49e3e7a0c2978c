"""The hiredis parser of redis-py, extended by a read of many replies at once before one deadline."""

import ssl
import time
from itertools import islice
from typing import Any, Final

from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.utils import SENTINEL

from exporter.source.framing import USUAL, Limit, Meter, ReplyTooLargeError
from exporter.source.openssl_errors import forget_errors

_FIRST_READ: Final = 16_384
"""Bytes that a connection takes in at once, until so many have come. Most connections never need more."""
_CLOSED: Final = "Connection closed by server."


class BatchParser(_HiredisParser):
    """The hiredis parser of redis-py, which can also read many replies at once.

    ``Connection.read_response`` costs about a microsecond a reply. A scrape of 10,000 nodes has 20,000
    replies, so these calls would take as long as all the parsing that hiredis does.

    Attributes:
        exact: Whether the next connection follows the protocol byte by byte; see ``framing``.
        doubted: Whether a reply was refused that only seemed to be too large; see ``framing``.
        deadline: The end of the handshake in monotonic seconds; None afterwards.
    """

    def __init__(self, socket_read_size: int) -> None:
        super().__init__(min(socket_read_size, _FIRST_READ))  # type: ignore[no-untyped-call]
        self._largest = socket_read_size
        # By default this is a method of the parser, so the parser refers to itself. Each dropped parser would keep
        # its buffer of 64 KiB until the garbage collector runs. Redis sends no push messages to the exporter.
        self.pubsub_push_handler_func = _unchanged
        self.exact = self.doubted = False
        self.deadline: float | None = None
        self._meter = Meter(exact=False)

    def on_connect(self, connection: Any, **options: Any) -> None:
        """Begin with a new connection."""
        super().on_connect(connection, **options)  # type: ignore[no-untyped-call]
        self._meter = Meter(exact=self.exact)

    def read_from_socket(self, timeout: Any = SENTINEL, raise_on_timeout: bool = True) -> bool:  # noqa: FBT001, FBT002
        """Take in what has arrived, as redis-py's method does; refuse more than ``framing`` allows.

        Raises:
            RedisTimeout: Nothing came in time.
            ReplyTooLargeError: Too much came.
            RedisError: The connection is closed.
        """
        sock, reader = self._sock, self._reader
        if sock is None or reader is None:
            raise ConnectionLost(_CLOSED)
        if timeout is SENTINEL and self.deadline is not None:
            timeout = until(self.deadline)
        try:
            if timeout is not SENTINEL:
                sock.settimeout(timeout)
            size = sock.recv_into(self._buffer)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            if raise_on_timeout:
                raise RedisTimeout("Timeout reading from socket") from None
            return False
        except OSError:
            forget_errors(sock)
            raise
        finally:
            if timeout is not SENTINEL:
                sock.settimeout(self._socket_timeout)
        if not size:
            raise ConnectionLost(_CLOSED)
        try:
            self._meter.take(self._buffer, size)
        except ReplyTooLargeError as error:
            self.doubted = error.doubtful
            raise
        reader.feed(self._buffer, 0, size)  # type: ignore[arg-type] # any buffer will do
        self._grow(size)
        return True

    def _grow(self, size: int) -> None:
        """Take the largest buffer if the last bytes filled the first one."""
        if size == len(self._buffer) < self._largest:
            self._buffer = bytearray(self._largest)

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether an unread reply is waiting; a connection with such a reply must not be used again.

        TLS 1.3 sends session tickets after the handshake. They make the socket readable although no
        reply is waiting, so over TLS the socket has to be read.
        """
        if not isinstance(self._sock, ssl.SSLSocket):
            return bool(super().can_read(timeout))
        return bool(self._reader.has_data() or self.read_from_socket(timeout=timeout, raise_on_timeout=False))

    @classmethod
    def parse_error(cls, response: str) -> RedisError:
        """Return an error reply as an exception; redis-py's own method fails if a redirection has no valid address."""
        try:
            error: RedisError = super().parse_error(response)  # type: ignore[no-untyped-call]
        except (ValueError, IndexError):
            return ResponseError(response)
        return error

    def read_batch(self, count: int, deadline: float, limit: Limit = USUAL) -> list[Any]:
        """Return the next ``count`` replies; an error reply is a ``ResponseError`` in the list.

        Raises:
            RedisTimeout: ``deadline`` (monotonic seconds) has passed.
            RedisError: The connection broke, or what came is larger than the exporter takes, or is no reply.
        """
        replies: list[Any] = []
        self._meter.begin(limit)
        while True:
            try:
                replies += islice(iter(self._reader.gets, NOT_ENOUGH_DATA), count - len(replies))
            except (TypeError, ValueError, AttributeError, SystemError, OverflowError) as error:
                # hiredis: a set of lists, a map whose key is a list, or another thread has closed the connection.
                raise InvalidResponse(f"Protocol error: {error}") from None
            if len(replies) == count:
                return replies
            self.read_from_socket(timeout=until(deadline))


def _unchanged(response: Any) -> Any:
    return response


def until(deadline: float) -> float:
    """Return the seconds left until a deadline in monotonic seconds.

    Raises:
        RedisTimeout: The deadline has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise RedisTimeout("Timeout reading from socket")
    return left
