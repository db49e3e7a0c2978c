"""The hiredis parser of redis-py, extended by a read of many replies at once before one deadline."""

import ssl
import time
from itertools import islice
from typing import Any

from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout


class BatchParser(_HiredisParser):
    """The hiredis parser of redis-py, which can also read many replies at once.

    ``Connection.read_response`` costs about a microsecond a reply. A scrape of 10,000 nodes has 20,000
    replies, so these calls would take as long as all the parsing that hiredis does.
    """

    def __init__(self, socket_read_size: int) -> None:
        super().__init__(socket_read_size)  # type: ignore[no-untyped-call]
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
