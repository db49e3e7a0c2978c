"""Answers: a body is made once for all who ask for it at the same time, and slow readers cannot fill the memory.

Before a body is made, the clients that read slowest are disconnected until the bodies that are being sent have room.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, NamedTuple

from isal import isal_zlib
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import RequestHandler

from exporter.errors import SourceError
from exporter.snapshot.snapshot import Snapshot

LIMIT: Final = 48 * 2**20
"""Bytes of the bodies that are being sent while one more is made; twice a whole scrape where that is more."""
MOST_WAITING: Final = 8
"""Different bodies that may wait to be made beside whole scrapes. Requests for others are refused."""
SLOW: Final = 64 * 1024
"""Bytes a second. While all connections are in use, a client that reads more slowly may lose its connection."""
_GRACE: Final = 0.25
"""Seconds that a client has before its rate counts."""
_READ_WITHIN: Final = 30.0
"""Seconds that a client has to read an answer."""
_BLOCK: Final = 16 * 1024
"""Bytes of a body that are written at a time, at least: a larger piece becomes a block without a copy. All clients
share the blocks, and the rate of a client counts them."""
_GZIP_FORMAT: Final = 16 + isal_zlib.MAX_WBITS

Body = Sequence[bytes]
"""The blocks of an answer."""


class Wanted(NamedTuple):
    """An answer that is asked for.

    Attributes:
        key: Names the body: requests with equal keys share it.
        make: Makes the body of a snapshot, None if Redis could not be read in time.
        whole: Whether it is a whole scrape. It is made at once, is never refused, and all others wait for each other.
        gzip: Whether to compress.
    """

    key: Hashable
    make: Callable[[Snapshot | None], Iterable[bytes]]
    whole: bool = False
    gzip: bool = False


class _Reader:
    """A client that is reading a body, or that waits for one and reads nothing."""

    def __init__(self, stream: IOStream, body: Body, began: float) -> None:
        self.stream, self.body, self.began, self.taken = stream, body, began, 0

    def rate(self, now: float) -> float:
        """Return the bytes that the client takes in a second."""
        return self.taken / (now - self.began) if now - self.began >= _GRACE else float("inf")


class Answers:
    """Makes and sends bodies. Its state belongs to the event loop.

    Args:
        request: Begins a read of all nodes, or shares the current one.
        spent: Called with what was done when there was no room.
        limit: Bytes of the bodies that are being sent while one more is made.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        request: Callable[[], "Future[Snapshot]"],
        spent: Callable[[str], None],
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request, self._spent, self._least, self._clock = request, spent, limit, clock
        self._readers: set[_Reader] = set()
        self._making: dict[Hashable, asyncio.Task[Body]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._rest_until = 0.0
        self._scrape = 0

    @property
    def sending(self) -> int:
        """Bytes of all bodies that are being sent. A body counts once, however many clients read it."""
        return sum(sum(map(len, body)) for body in {id(each.body): each.body for each in tuple(self._readers)}.values())

    async def body(self, wanted: Wanted, stream: IOStream, read_within: float, within: float) -> Body | None:
        """Return a body; None if there is no room for it, or no time.

        Args:
            wanted: The body.
            stream: The connection of the client that asks for it.
            read_within: Seconds to wait for a read of Redis. With 0 nothing is read.
            within: Seconds to wait in all.
        """
        key = wanted.key, round(read_within)
        if key not in self._making:
            if not wanted.whole and len(self._making) >= MOST_WAITING:
                self._spent("a request was answered with 503")
                return None
            self._making[key] = asyncio.create_task(self._make(key, wanted, read_within))
        waiter = _Reader(stream, (), self._clock())
        if not wanted.whole:
            self._readers.add(waiter)
        try:
            async with asyncio.timeout(within):
                return await asyncio.shield(self._making[key])
        except TimeoutError:
            self._spent("an answer was not made in time")
            return None
        finally:
            self._readers.discard(waiter)

    async def send(self, handler: RequestHandler, stream: IOStream, body: Body) -> None:
        """Send a body with the headers. A client that does not read it in time is disconnected."""
        reader = _Reader(stream, body, self._clock())
        self._readers.add(reader)
        handler.set_header("Content-Length", str(sum(map(len, body))))
        try:
            async with asyncio.timeout(_READ_WITHIN):
                if len(body) > 1:  # tornado copies a block that it sends together with the headers
                    await handler.flush()
                for block in body:
                    handler.write(block)
                    await handler.flush()
                    reader.taken += len(block)
                await handler.finish()
        except (TimeoutError, StreamClosedError):  # the client reads too slowly, or has gone
            stream.close()
        finally:
            self._readers.discard(reader)

    def slow_stream(self) -> IOStream | None:
        """Return the connection of the client that reads slowest; None if each client reads ``SLOW`` or more.

        A client that waits for a body beside whole scrapes reads nothing, too.
        """
        now = self._clock()
        slow = [each for each in self._readers if each.rate(now) < SLOW and not each.stream.closed()]
        return min(slow, key=lambda reader: reader.rate(now)).stream if slow else None

    async def _make(self, key: Hashable, wanted: Wanted, read_within: float) -> Body:
        """Make a body: whole scrapes at once, others one at a time in a thread, which rests as long as it worked."""
        try:
            snapshot = None
            if read_within:
                read = asyncio.wrap_future(self._request())
                # Without this asyncio would log a read that fails after its last waiter has left.
                read.add_done_callback(lambda done: done.cancelled() or done.exception())
                with suppress(TimeoutError, SourceError):
                    async with asyncio.timeout(read_within):
                        snapshot = await asyncio.shield(read)
            if wanted.whole:
                self._make_room()
                body = _body(wanted, snapshot)
                self._scrape = max(self._scrape, sum(map(len, body)))
                return body
            async with self._one_at_a_time:
                await asyncio.sleep(self._rest_until - self._clock())
                self._make_room()
                start = self._clock()
                body = await asyncio.to_thread(_body, wanted, snapshot)
                self._rest_until = 2 * self._clock() - start
                return body
        finally:
            del self._making[key]

    def _make_room(self) -> None:
        now = self._clock()
        while self.sending > max(self._least, 2 * self._scrape):
            slowest = min((each for each in self._readers if each.body), key=lambda reader: reader.rate(now))
            self._readers.discard(slowest)
            slowest.stream.close()
            self._spent("a client that reads too slowly was disconnected")


def _body(wanted: Wanted, snapshot: Snapshot | None) -> Body:
    pieces = wanted.make(snapshot)
    if wanted.gzip:
        # The fastest level shrinks a body to a tenth, in a tenth of the time that the read takes.
        compressor = isal_zlib.compressobj(isal_zlib.ISAL_BEST_SPEED, wbits=_GZIP_FORMAT)
        pieces = [*map(compressor.compress, pieces), compressor.flush()]
    blocks, block, size = [], [], 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            blocks.append(b"".join(block))
            block, size = [], 0
    return [*blocks, b"".join(block)]
