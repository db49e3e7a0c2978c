"""Lets a thread wait for a call from another thread, for some seconds, or for the end of a connection."""

import select
import socket
from collections.abc import Iterable
from contextlib import suppress
from threading import Event, Lock
from typing import Final, Self

_ENDED: Final = getattr(select, "POLLRDHUP", 0)
"""The event of a connection that the other side has ended. It comes without a read, so the connection may be lent
and used meanwhile. Only Linux has it; elsewhere no end is seen."""


class Bell:
    """Wakes the thread that waits. One lock guards the two ends of the pair of sockets that the thread waits on.

    The thread that waits opens the bell with ``with``. A ring before that is not lost.

    Attributes:
        rung: Whether the bell was rung since the last wait.
    """

    def __init__(self) -> None:
        self.rung = Event()
        self._lock = Lock()
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def __enter__(self) -> Self:
        with self._lock, suppress(OSError):  # without free descriptors, the end of a connection is not seen
            ends = socket.socketpair()
            for end in ends:
                end.setblocking(False)
            self._ends = ends
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for end in self._ends or ():
                end.close()
            self._ends = None

    def ring(self) -> None:
        """Wake the thread that waits, or end its next wait at once."""
        self.rung.set()
        with self._lock:
            if self._ends:
                with suppress(BlockingIOError):  # it was rung often enough
                    self._ends[1].send(b"!")

    def wait(self, seconds: float, connections: Iterable[socket.socket] = ()) -> bool:
        """Wait until the bell rings, a connection ends, or the time is over.

        Args:
            seconds: The time.
            connections: Connections that may be used and closed meanwhile.

        Returns:
            Whether a connection ended.
        """
        if self._ends is None or not _ENDED:
            self.rung.wait(seconds)
            self.rung.clear()
            return False
        mine = self._ends[0]
        poll = select.poll()
        poll.register(mine, select.POLLIN)
        for connection in connections:
            with suppress(ValueError, OSError):  # another thread has closed it
                poll.register(connection, _ENDED)
        events = poll.poll(0 if self.rung.is_set() else seconds * 1000)
        self.rung.clear()
        with suppress(BlockingIOError):
            while mine.recv(64):
                pass
        return any(number != mine.fileno() for number, _ in events)
