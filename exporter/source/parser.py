"""The hiredis parser of redis-py, extended by a read of many replies at once before one deadline."""

import ssl
import time
from itertools import islice
from typing import Any

from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout


class BatchParser(_HiredisParser):
    """The hiredis parser of redis-py, which can also read many replies at once.

    ``Connection.read_response`` costs about a microsecond a reply. A scrape of 10,000 nodes has 20,000
    replies, so these calls would take as long as all the parsing that hiredis does.
    """

    def __init__(self, socket_read_size: int) -> None:
        super().__init__(socket_read_size)  # type: ignore[no-untyped-call]
        self._read_size = socket_read_size
        # By default this is a method of the parser, so the parser refers to itself. Each dropped parser would keep
        # its buffer of 64 KiB until the garbage collector runs. Redis sends no push messages to the exporter.
        self.pubsub_push_handler_func = _unchanged

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether an unread reply is waiting; a connection with such a reply must not be used again.

        TLS 1.3 sends session tickets after the handshake. They make the socket readable although no
        reply is waiting, so over TLS the socket has to be read.
        """
        if not isinstance(self._sock, ssl.SSLSocket):
            return bool(super().can_read(timeout))
        return bool(self._reader.has_data() or self.read_from_socket(timeout=timeout, raise_on_timeout=False))  # type: ignore[no-untyped-call]

    @classmethod
    def parse_error(cls, response: str) -> RedisError:
        """Return an error reply as an exception; redis-py's own method fails if a redirection has no valid address."""
        try:
            error: RedisError = super().parse_error(response)  # type: ignore[no-untyped-call]
        except (ValueError, IndexError):
            return ResponseError(response)
        return error

    def read_batch(self, count: int, deadline: float) -> list[Any]:
        """Return the next ``count`` replies; an error reply is a ``ResponseError`` in the list.

        Raises:
            RedisTimeout: ``deadline`` (monotonic seconds) has passed.
            RedisError: The connection broke.
        """
        replies: list[Any] = []
        while True:
            replies += islice(iter(self._reader.gets, NOT_ENOUGH_DATA), count - len(replies))
            if len(replies) == count:
                return replies
            self.read_from_socket(timeout=until(deadline))  # type: ignore[no-untyped-call]

    def read_expected(self, expected: bytes, deadline: float) -> bool:
        """Return whether the next replies are exactly these bytes, and take them if so; else leave all replies.

        Nothing is parsed if they are. No reply is the beginning of another one, so the bytes of whole
        replies show that these are the replies.

        Args:
            expected: Whole replies, in Redis's wire format.
            deadline: Monotonic seconds.

        Raises:
            RedisTimeout: The deadline has passed.
            RedisError: The connection is broken.
        """
        if self._reader.has_data() or self._sock is None:
            return False
        wanted, position = memoryview(expected), 0  # slices of it copy nothing
        while position < len(wanted):
            received = self._receive(deadline)
            part = wanted[position : position + len(received)]
            if received[: len(part)] != part:
                self._reader.feed(expected[:position])
                self._reader.feed(received)
                return False
            position += len(part)
            self._reader.feed(received[len(part) :])
        return True

    def _receive(self, deadline: float) -> bytes:
        self._sock.settimeout(until(deadline))
        try:
            data: bytes = self._sock.recv(self._read_size)
        except TimeoutError:
            raise RedisTimeout("Timeout reading from socket") from None
        except OSError as error:
            raise RedisConnectionError(f"Error while reading from socket: {error}") from None
        if not data:
            raise RedisConnectionError("Connection closed by server.")
        return data


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
