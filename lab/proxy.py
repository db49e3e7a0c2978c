"""A TCP proxy between the exporter and a real server, whose faults are switched on and off while it runs."""

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with 0 s: closing such a connection resets it."""


@dataclass(frozen=True)
class Fault:
    """The faults of connections and of the replies on them.

    Attributes:
        delay: Seconds before each piece of a reply is passed on.
        piece: Bytes that are passed on at once.
        cut_within: Each connection ends at a random byte of its replies, below this number; 0 for never.
        corrupt_within: One byte in this number of bytes of the replies has its highest bit turned; 0 for no byte.
        refuses: New connections are reset at once, and open connections at their next byte.
        swallows: No byte is passed on, in either direction.
        turn: Changes each piece of a reply before all other faults.
    """

    delay: float = 0.0
    piece: int = 65536
    cut_within: int = 0
    corrupt_within: int = 0
    refuses: bool = False
    swallows: bool = False
    turn: Callable[[bytes], bytes] = bytes


NONE: Final = Fault()
REFUSES: Final = Fault(refuses=True)
SWALLOWS: Final = Fault(swallows=True)


class Proxy(threading.Thread):
    """Carries connections to a target on this machine.

    Attributes:
        target: Port of the real server.
        fault: The present fault.
        port: Port of the proxy.
    """

    def __init__(self, target: int) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.fault = NONE
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._random = random.Random(1)  # noqa: S311 - the same faults in every run
        self.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError):
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
        seen, left, sound = self.fault, self._drawn(self.fault.cut_within), self._drawn(self.fault.corrupt_within)
        while True:
            for source in select.select((near, far), (), ())[0]:
                data = source.recv(65536)
                fault = self.fault
                if fault is not seen:
                    seen, left, sound = fault, self._drawn(fault.cut_within), self._drawn(fault.corrupt_within)
                if not data or fault.refuses:
                    return
                if fault.swallows:
                    continue
                if source is near:
                    far.sendall(data)
                    continue
                data = fault.turn(data)
                if fault.corrupt_within:
                    data, sound = self._corrupted(data, sound, fault.corrupt_within)
                for piece in _pieces(data, fault):
                    if fault.cut_within and left < len(piece):
                        near.sendall(piece[:left])
                        return
                    near.sendall(piece)
                    left -= len(piece)

    def _corrupted(self, data: bytes, sound: int, within: int) -> tuple[bytes, int]:
        """Return a reply with some bytes turned, and the number of bytes until the next turned byte."""
        turned = bytearray(data)
        while sound < len(turned):
            turned[sound] ^= 0x80
            sound += 1 + self._drawn(within)
        return bytes(turned), sound - len(turned)

    def _drawn(self, below: int) -> int:
        return self._random.randrange(below) if below else 0

    def cut(self) -> None:
        """Cut all connections."""
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pieces(data: bytes, fault: Fault) -> Iterator[bytes]:
    for start in range(0, len(data), fault.piece):
        if fault.delay:
            time.sleep(fault.delay)
        yield data[start : start + fault.piece]
