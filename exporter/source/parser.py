"""redis-py's hiredis parser, which also takes many replies at once before one deadline."""

import ssl
import time
from itertools import islice
from typing import Any

from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout


class BatchParser(_HiredisParser):
    """redis-py's hiredis parser, which also takes many replies at once.

    ``Connection.read_response`` costs about a microsecond a reply; at 20,000
    replies a scrape that is as much as all that hiredis does.
    """

    def __init__(self, socket_read_size: int) -> None:
        super().__init__(socket_read_size)  # type: ignore[no-untyped-call]
        # By default a method of the parser: a cycle, which keeps each dropped parser's buffer of 64 KiB until the
        # garbage collector comes. Redis sends no push messages to the exporter.
        self.pubsub_push_handler_func = _unchanged

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether an unread reply is waiting, which a connection fit for use has not.

        TLS 1.3 sends its session tickets after the handshake: they make the
        socket readable and hold no reply, so over TLS only a read can tell.
        """
        if not isinstance(self._sock, ssl.SSLSocket):
            return bool(super().can_read(timeout))
        return bool(self._reader.has_data() or self.read_from_socket(timeout=timeout, raise_on_timeout=False))  # type: ignore[no-untyped-call]

    @classmethod
    def parse_error(cls, response: str) -> RedisError:
        """Return an error reply as an exception; redis-py's own way raises for a redirection without an address."""
        try:
            error: RedisError = super().parse_error(response)  # type: ignore[no-untyped-call]
        except (ValueError, IndexError):
            return ResponseError(response)
        return error

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
            self.read_from_socket(timeout=until(deadline))  # type: ignore[no-untyped-call]


def _unchanged(response: Any) -> Any:
    return response


def until(deadline: float) -> float:
    """Return the seconds that are left until a deadline in monotonic seconds.

    Raises:
        RedisTimeout: It has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise RedisTimeout("Timeout reading from socket")
    return left
