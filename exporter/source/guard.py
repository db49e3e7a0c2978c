"""Knows whether a key has changed since it was read, without reading it again."""

from typing import Final

from exporter.source.attempt import FAILURES
from exporter.source.connection import Link, Pool
from exporter.source.requests import pack

_TRANSACTION: Final = pack(b"MULTI") + pack(b"EXEC")
_UNWATCH: Final = pack(b"UNWATCH")


class Guard:
    """A connection that watches a key. Only one thread at a time may use it.

    ``WATCH`` makes an empty transaction fail if any client has written the key since. The transaction ends the
    watch, so the next guard must stand before the last one is asked: then no change falls between the two.

    Args:
        pool: Connections to the server of the key.
        deadline: Monotonic seconds.

    Attributes:
        pool: The same connections.
        link: The connection.
    """

    def __init__(self, pool: Pool, deadline: float) -> None:
        self.pool = pool
        self._connection = pool.begin(deadline)()
        self.link = Link(self._connection, deadline)

    def saw_no_change(self, deadline: float) -> bool:
        """Return whether the key is as it was when the watch began, and end the guard.

        Args:
            deadline: Monotonic seconds.
        """
        if not self.pool.is_lent(self._connection):  # it may lead to a master of the past
            self.close()
            return False
        self.link.deadline = deadline
        try:
            _, result = self.link.ask(_TRANSACTION, 2)
        except FAILURES:
            self.close()
            return False
        self.pool.give_back(self._connection, sound=True)
        return type(result) is list

    def end(self) -> None:
        """End the watch, and give the connection back."""
        try:
            self.link.ask(_UNWATCH, 1)
        except FAILURES:
            self.close()
        else:
            self.pool.give_back(self._connection, sound=True)

    def close(self) -> None:
        """Close the connection."""
        self.pool.give_back(self._connection, sound=False)
