"""How much the replies of Redis may be: bytes and elements of a batch.

hiredis makes room for an array as soon as it has read the array's length, so a length must be checked
before hiredis sees it. Millions of small elements need no huge array, they may be nested or follow each other; Python
can hardly give their memory back, so they are counted too. Both checks are cheap but cannot tell an element from the
inside of a value. When they find too much, the connection is given up, and the next connections follow the protocol
byte by byte: that is slow, and exact.
"""

import re
from dataclasses import dataclass
from typing import Final

from redis import RedisError


@dataclass(frozen=True, slots=True)
class Limit:
    """What a batch of replies may have.

    Attributes:
        size: Bytes of the whole batch.
        elements: Elements of the whole batch. An array counts as one, and each of its elements as one more.
    """

    size: int
    elements: int


USUAL: Final = Limit(4 * 2**20, 99_999)
"""For a chunk of nodes, and for all commands that no other limit is given for.

The replies to a chunk usually have 200 KiB and 13,000 elements. hiredis makes up to 20 bytes of objects of each byte:
an empty array has 4 bytes, and a list has 72."""
PLAN: Final = Limit(32 * 2**20, 1_999_998)
"""For the plan: a million portfolios."""
_LEAST: Final = 4
"""Bytes of the smallest elements. While a batch has fewer for each element that it may have, it is not counted."""

_HUGE: Final = {
    limit: {kind: re.compile(re.escape(kind) + rb"\d{%d}" % digits) for kind in (b"*", b"%", b"~", b">", b"|")}
    for limit, digits in ((USUAL, 6), (PLAN, 7))
}
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


class TooManyElementsError(ReplyTooLargeError):
    """Replies surely have more elements than any that were asked for."""


class Meter:
    """Measures what comes over one connection.

    Args:
        exact: Whether to follow the protocol byte by byte.
    """

    def __init__(self, *, exact: bool) -> None:
        self._frames = Frames() if exact else None
        self._tail = b""
        self._bytes = self._lines = 0
        self._limit = USUAL

    def begin(self, limit: Limit = USUAL) -> None:
        """Begin a batch of replies."""
        self._bytes = self._lines = 0
        self._limit = limit
        if self._frames:
            self._frames.elements = 0

    def take(self, buffer: bytearray, size: int) -> None:
        """Measure the first ``size`` bytes of a buffer.

        Raises:
            ReplyTooLargeError: They are too many, or announce too much.
        """
        self._bytes += size
        if self._bytes > self._limit.size:
            raise ReplyTooLargeError(f"a reply has more than {self._limit.size >> 20} MiB")
        if self._frames:
            self._frames.take(bytes(buffer[:size]), self._limit.elements)
            return
        if self._bytes > _LEAST * self._limit.elements:
            self._lines += buffer.count(b"\n", 0, size)
            if self._lines > self._limit.elements:
                raise ReplyTooLargeError("replies seem to have too many elements", doubtful=True)
        seam = self._tail + buffer[: min(size, _OVERLAP)]
        self._tail = (self._tail + buffer[max(0, size - _OVERLAP) : size])[-_OVERLAP:]
        for kind, huge in _HUGE[self._limit].items():
            # A single byte is found ten times as fast as a pattern, and only the first kind is usual.
            if (buffer.find(kind, 0, size) >= 0 and huge.search(buffer, 0, size)) or huge.search(seam):
                raise ReplyTooLargeError("a reply seems to have too many elements", doubtful=True)


class Frames:
    """Follows the protocol (RESP2 and RESP3) byte by byte, and looks at lengths only.

    Attributes:
        elements: How many elements have begun.
    """

    def __init__(self) -> None:
        self.elements = 0
        self._line = b""
        self._skip = 0

    def take(self, data: bytes, most_elements: int = USUAL.elements) -> None:
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
            self._begin(self._line + data[position:end], most_elements)
            self._line, position = b"", end + 1

    def _begin(self, line: bytes, most_elements: int) -> None:
        self.elements += 1
        if self.elements > most_elements:
            raise TooManyElementsError(f"replies have more than {most_elements:,} elements")
        kind, length = line[:1], line[1:].strip()
        if not length.isdigit():
            return
        if kind in _AGGREGATES and int(length[:20]) > most_elements:
            raise TooManyElementsError(f"a reply has {length[:20].decode()} elements")
        if kind in _BULKS:
            self._skip = int(length[:20]) + 2
