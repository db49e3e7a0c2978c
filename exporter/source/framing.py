"""How much a reply of Redis may be: bytes of a batch of replies, and elements of an array.

hiredis makes room for an array as soon as it has read the array's length, so a length must be checked
before hiredis sees it. The check of each byte is cheap but cannot tell a length from the inside of a value.
When it finds something that looks like a huge length, the connection is given up, and the next connections
follow the protocol byte by byte: that is slow, and exact.
"""

import re
from typing import Final

from redis import RedisError

MOST_BYTES: Final = 8 * 2**20
"""Bytes of one batch of replies: those to a chunk of nodes, or to one command. A usual chunk has 200 KiB."""
MOST_ELEMENTS: Final = 99_999
"""Elements of one array, map or set."""

_HUGE: Final = tuple(re.compile(re.escape(kind) + rb"\d{6}") for kind in (b"*", b"%", b"~", b">", b"|"))
_OVERLAP: Final = 6
_BULKS: Final = b"$=!"
_AGGREGATES: Final = b"*%~>|"


class ReplyTooLargeError(RedisError):
    """A reply is larger than the exporter takes.

    Attributes:
        doubtful: It only looks like it: the connection has to be made anew, and the protocol followed exactly.
    """

    def __init__(self, text: str, *, doubtful: bool = False) -> None:
        super().__init__(text)
        self.doubtful = doubtful


class Meter:
    """Measures what comes over one connection.

    Args:
        exact: Whether to follow the protocol byte by byte.
    """

    def __init__(self, *, exact: bool) -> None:
        self._frames = Frames() if exact else None
        self._tail = b""
        self._bytes = 0

    def begin(self) -> None:
        """Begin a batch of replies."""
        self._bytes = 0

    def take(self, buffer: bytearray, size: int) -> None:
        """Measure the first ``size`` bytes of a buffer.

        Raises:
            ReplyTooLargeError: They are too many, or announce too much.
        """
        self._bytes += size
        if self._bytes > MOST_BYTES:
            raise ReplyTooLargeError(f"a reply has more than {MOST_BYTES >> 20} MiB")
        if self._frames:
            self._frames.take(bytes(buffer[:size]))
            return
        seam = self._tail + buffer[: min(size, _OVERLAP)]
        self._tail = (self._tail + buffer[max(0, size - _OVERLAP) : size])[-_OVERLAP:]
        for huge in _HUGE:
            if huge.search(buffer, 0, size) or huge.search(seam):
                raise ReplyTooLargeError("a reply seems to have too many elements", doubtful=True)


class Frames:
    """Follows the protocol (RESP2 and RESP3) byte by byte, and looks at lengths only."""

    def __init__(self) -> None:
        self._line = b""
        self._skip = 0

    def take(self, data: bytes) -> None:
        """Follow more bytes.

        Raises:
            ReplyTooLargeError: They announce too much.
        """
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            end = data.find(b"\n", position)
            if end < 0:
                self._line += data[position:]
                return
            self._begin(self._line + data[position:end])
            self._line, position = b"", end + 1

    def _begin(self, line: bytes) -> None:
        kind, length = line[:1], line[1:].strip()
        if not length.isdigit():
            return
        if kind in _AGGREGATES and int(length[:20]) > MOST_ELEMENTS:
            raise ReplyTooLargeError(f"a reply has {length[:20].decode()} elements")
        if kind in _BULKS:
            self._skip = int(length[:20]) + 2
