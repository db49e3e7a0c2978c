"""Answers: a body is made once for all who ask for it at the same time, and slow readers cannot fill the memory.

Before a body is made, the clients that read slowest are disconnected until the bodies that are being sent have room.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

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
_GRACE: Final = 0.5
"""Seconds that a client has before its rate counts."""
_READ_WITHIN: Final = 30.0
"""Seconds that a client has to read an answer."""
_BLOCK: Final = 256 * 1024
"""Bytes of a body that are written at a time. All clients share the blocks of a body."""
_IN_LOOP: Final = 16 * 2**20
"""Bytes that are compressed in the event loop, in 15 ms at most; another thread would cost a small scrape more."""
_GZIP_LEVEL: Final = 0
"""isal's fastest level. It shrinks a body to a tenth, in a tenth of the time that the read takes."""
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
    """A client that is reading a body."""

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
        self._waiters: set[_Reader] = set()  # those that wait for a body beside whole scrapes
        # A body has many megabytes, so it is not kept longer than the snapshot that it was made of.
        self._made: WeakKeyDictionary[Snapshot, dict[Hashable, asyncio.Task[Body]]] = WeakKeyDictionary()
        self._one_at_a_time = asyncio.Lock()
        self._turns: dict[Hashable, asyncio.Task[Body]] = {}  # the bodies beside whole scrapes that are being made
        self._scrape = 0

    @property
    def sending(self) -> int:
        """Bytes of all bodies that are being sent. A body counts once, however many clients read it."""
        return sum(sum(map(len, body)) for body in {id(reader.body): reader.body for reader in self._readers}.values())

    async def body(self, wanted: Wanted, stream: IOStream, read_within: float, within: float) -> Body | None:
        """Return a body; None if there is no room for it, or no time.

        Args:
            wanted: The body.
            stream: The connection of the client that asks for it.
            read_within: Seconds to wait for a read of Redis. With 0 nothing is read.
            within: Seconds to wait in all.
        """
        waiter = _Reader(stream, (), self._clock())
        if not wanted.whole:
            self._waiters.add(waiter)
        try:
            async with asyncio.timeout(within):
                if wanted.whole:
                    return await self._whole(wanted, read_within)
                key = wanted.key, round(read_within)
                if key not in self._turns and len(self._turns) >= MOST_WAITING:
                    self._spent("a request was answered with 503")
                    return None
                if key not in self._turns:
                    task = self._turns[key] = asyncio.create_task(self._make_in_turn(wanted, read_within))
                    task.add_done_callback(lambda done: self._end_turn(key, done))
                return await asyncio.shield(self._turns[key])
        except TimeoutError:
            self._spent("an answer was not made in time")
            return None
        finally:
            self._waiters.discard(waiter)

    async def send(self, handler: RequestHandler, stream: IOStream, body: Body) -> None:
        """Send a body after the headers. A client that does not read it in time is disconnected."""
        reader = _Reader(stream, body, self._clock())
        self._readers.add(reader)
        try:
            async with asyncio.timeout(_READ_WITHIN):
                # tornado copies a block that it sends together with the headers, so they go first
                await handler.flush()
                for block in body if handler.request.method == "GET" else ():
                    handler.write(block)
                    await handler.flush()
                    reader.taken += len(block)
                await handler.finish()
        except TimeoutError:
            stream.close()
        except StreamClosedError:
            pass  # the client has gone
        finally:
            self._readers.discard(reader)

    def slow_stream(self) -> IOStream | None:
        """Return the connection of the client that reads slowest; None if each client reads ``SLOW`` or more.

        A client that waits for a body beside whole scrapes reads nothing, too.
        """
        now = self._clock()
        open_now = (each for each in self._readers | self._waiters if not each.stream.closed())
        slowest = min(open_now, key=lambda reader: reader.rate(now), default=None)
        return slowest.stream if slowest and slowest.rate(now) < SLOW else None

    async def _snapshot(self, limit: float) -> Snapshot | None:
        """Return a snapshot; None if Redis cannot be read in time. A waiter that leaves does not cancel the read."""
        read = asyncio.wrap_future(self._request())
        read.add_done_callback(lambda done: done.cancelled() or done.exception())  # the waiter may be gone
        try:
            async with asyncio.timeout(limit):
                return await asyncio.shield(read)
        except (SourceError, TimeoutError):
            return None

    async def _whole(self, wanted: Wanted, read_within: float) -> Body:
        snapshot = await self._snapshot(read_within)
        made = {} if snapshot is None else self._made.setdefault(snapshot, {})
        if wanted.key not in made:
            task = made[wanted.key] = asyncio.create_task(self._make_whole(wanted, snapshot))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # all waiters may be gone
        del snapshot
        return await asyncio.shield(made[wanted.key])

    async def _make_whole(self, wanted: Wanted, snapshot: Snapshot | None) -> Body:
        self._make_room()
        pieces = list(wanted.make(snapshot))
        size = sum(map(len, pieces))
        if wanted.gzip:
            return _compressed(pieces) if size <= _IN_LOOP else await asyncio.to_thread(_compressed, pieces)
        self._scrape = size
        return list(_blocks(pieces))

    async def _make_in_turn(self, wanted: Wanted, read_within: float) -> Body:
        """Make a body in a thread. The next one waits for as long as this one took: scrapes have half of the time."""
        snapshot = await self._snapshot(read_within) if read_within else None
        took = 0.0
        await self._one_at_a_time.acquire()
        try:
            self._make_room()
            body, took = await asyncio.to_thread(_timed, wanted, snapshot)
        finally:
            asyncio.get_running_loop().call_later(took, self._one_at_a_time.release)
        return body

    def _end_turn(self, key: Hashable, done: "asyncio.Task[Body]") -> None:
        del self._turns[key]
        if not done.cancelled():
            done.exception()  # all waiters may be gone

    def _make_room(self) -> None:
        now = self._clock()
        while self._readers and self.sending > max(self._least, 2 * self._scrape):
            slowest = min(self._readers, key=lambda reader: reader.rate(now))
            self._readers.discard(slowest)
            slowest.stream.close()
            self._spent("a client that reads too slowly was disconnected")


def _timed(wanted: Wanted, snapshot: Snapshot | None) -> tuple[Body, float]:
    """Return a body, and the CPU seconds that it took."""
    start = time.thread_time()
    pieces = wanted.make(snapshot)
    return _compressed(pieces) if wanted.gzip else list(_blocks(pieces)), time.thread_time() - start


def _compressed(pieces: Iterable[bytes]) -> Body:
    compressor = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    return list(_blocks([*map(compressor.compress, pieces), compressor.flush()]))


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces joined to blocks of at least ``_BLOCK`` bytes, short of the last one."""
    block: list[bytes] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)
