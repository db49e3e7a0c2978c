"""A TCP proxy between the exporter and a real server, whose faults are switched on and off while it runs."""

import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from lab.fakes import Listening

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with 0 s: closing such a connection resets it."""


@dataclass(frozen=True)
class Fault:
    """The faults of connections and of the replies on them.

    Attributes:
        delay: Seconds before each piece of a reply is passed on.
        piece: Bytes that are passed on at once.
        cut_within: Each connection ends at a random byte of its replies, below this number.
        refuses: New connections are reset at once, and open connections at their next byte.
        swallows: No byte is passed on, in either direction.
        turn: Changes each piece of a reply before all other faults.
    """

    delay: float = 0.0
    piece: int = 65536
    cut_within: int = sys.maxsize
    refuses: bool = False
    swallows: bool = False
    turn: Callable[[bytes], bytes] = bytes


NONE: Final = Fault()
REFUSES: Final = Fault(refuses=True)
SWALLOWS: Final = Fault(swallows=True)


class Proxy(Listening):
    """Carries connections to a port of this machine until the block ends.

    Attributes:
        target: Port of the real server.
        fault: The present fault.
    """

    def __init__(self, target: int) -> None:
        super().__init__()
        self.target, self.fault = target, NONE
        self._sockets: set[socket.socket] = set()
        self.callback(self.cut)

    def answer(self, near: socket.socket) -> None:
        """Carry a connection."""
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces stay pieces
        if self.fault.refuses:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        with socket.create_connection(("127.0.0.1", self.target)) as far:
            self._sockets |= {near, far}
            try:
                self._exchange(near, far)
            finally:
                self._sockets -= {near, far}

    def _exchange(self, near: socket.socket, far: socket.socket) -> None:
        seen, left = NONE, sys.maxsize
        while True:
            for source in select.select((near, far), (), ())[0]:
                data, fault = source.recv(65536), self.fault
                if fault is not seen:
                    seen, left = fault, random.randrange(fault.cut_within)  # noqa: S311
                if not data or fault.refuses:
                    return
                if source is near and not fault.swallows:
                    far.sendall(data)
                reply = b"" if source is near or fault.swallows else fault.turn(data)
                for start in range(0, len(reply), fault.piece):
                    time.sleep(fault.delay)
                    piece = reply[start : start + fault.piece][:left]
                    near.sendall(piece)
                    left -= len(piece)
                    if not left:
                        return

    def cut(self) -> None:
        """Cut all connections."""
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
