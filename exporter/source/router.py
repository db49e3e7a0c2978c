"""Which server has a key, and one command about each of some keys, wherever these are."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.exceptions import AskError, MovedError

from exporter.errors import SourceError
from exporter.source.connection import Pool, linked
from exporter.source.requests import CHUNK


class Router(Protocol):
    """Finds the server that has a key."""

    def pool(self, key: bytes, deadline: float) -> Pool:
        """Return connections to the server that has a key.

        Args:
            key: The key.
            deadline: Monotonic seconds.

        Raises:
            SourceError: The server is not known.
        """

    def follow(self, pool: Pool, reply: Any, request: bytes, deadline: float) -> Any:
        """Return the reply of the server that a redirection names; any other reply is returned as it is.

        Args:
            pool: Connections to the server that replied.
            reply: A reply that may be a redirection.
            request: The packed command.
            deadline: Monotonic seconds.

        Raises:
            SourceError: The other server cannot be asked.
        """

    def limit(self, pool: Pool, deadline: float) -> float:
        """Return until when to wait for a server in a read that ends at a deadline; both in monotonic seconds."""


class OneServer:
    """The router of a single server, which has every key.

    Args:
        pool: Connections to the server.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def pool(self, key: bytes, deadline: float) -> Pool:  # noqa: ARG002 - the server has every key
        """Return connections to the server."""
        return self._pool

    def follow(self, pool: Pool, reply: Any, request: bytes, deadline: float) -> Any:  # noqa: ARG002 - as above
        """Return the reply: a single server redirects nobody."""
        return reply

    def limit(self, pool: Pool, deadline: float) -> float:  # noqa: ARG002 - as above
        """Return the deadline."""
        return deadline


def ask_each(router: Router, keys: Sequence[bytes], request: Callable[[bytes], bytes], deadline: float) -> list[Any]:
    """Return the reply to one command about each of some keys, in their order.

    A SourceError stands in the place of the reply for each key whose server could not be asked.

    Args:
        router: Finds the servers.
        keys: The keys.
        request: Returns the packed command about a key, which has one reply.
        deadline: Monotonic seconds.
    """
    replies: list[Any] = [SourceError("not asked")] * len(keys)
    places: dict[Pool, list[int]] = {}
    for position, key in enumerate(keys):
        try:
            places.setdefault(router.pool(key, deadline), []).append(position)
        except SourceError as error:
            replies[position] = error
    for pool, positions in places.items():
        for start in range(0, len(positions), CHUNK):
            some = positions[start : start + CHUNK]
            requests = [request(keys[position]) for position in some]
            answered = _ask(router, pool, requests, deadline)
            for position, reply in zip(some, answered, strict=True):
                replies[position] = reply
    return replies


def _ask(router: Router, pool: Pool, requests: Sequence[bytes], deadline: float) -> Sequence[Any]:
    try:
        with linked(pool, router.limit(pool, deadline)) as link:
            replies = link.ask(b"".join(requests), len(requests))
    except SourceError as error:
        return [error] * len(requests)
    for position, reply in enumerate(replies):
        if isinstance(reply, MovedError | AskError):
            try:
                replies[position] = router.follow(pool, reply, requests[position], deadline)
            except SourceError as error:
                replies[position] = error
    return replies
