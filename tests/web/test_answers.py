"""Answers: one body for all who ask for it, room for the next one, and slow readers that lose their connections."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from threading import Event
from typing import Any

from exporter.errors import SourceError
from exporter.snapshot.snapshot import Snapshot
from exporter.web.answers import _BLOCK, MOST_WAITING, SLOW, Answers, Wanted
from fleets import snapshot_of
from lab.nodes import ALIVE


class Stream:
    """A connection that takes as many blocks as it may."""

    def __init__(self) -> None:
        self.is_closed = False
        self.may_take = asyncio.Semaphore(0)

    def close(self) -> None:
        self.is_closed = True
        self.take(1)

    def closed(self) -> bool:
        return self.is_closed

    def take(self, blocks: int) -> None:
        for _ in range(blocks):
            self.may_take.release()


class Handler:
    """Sends over a stream, as tornado's handler does."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.sent = stream, b""

    def set_header(self, name: str, value: str) -> None:
        assert (name, value.isdigit()) == ("Content-Length", True)

    def write(self, block: bytes) -> None:
        self.sent += block

    def flush(self) -> Any:
        return self.stream.may_take.acquire()

    async def finish(self) -> None:
        pass


class World:
    """Answers over a Redis and a clock that the test moves."""

    def __init__(self, limit: int = 10_000_000) -> None:
        self.now, self.reads, self.spent = 0.0, list[Future[Snapshot]](), list[str]()
        self.answers = Answers(self.request, self.spent.append, limit, lambda: self.now)

    def request(self) -> "Future[Snapshot]":
        if not self.reads or self.reads[-1].done():
            self.reads.append(Future())
        return self.reads[-1]

    def found(self) -> None:
        self.reads[-1].set_result(snapshot_of({b"a": ALIVE}))

    def body(self, wanted: Wanted, read_within: float, within: float) -> Any:
        return self.answers.body(wanted, Stream(), read_within, within)  # type: ignore[arg-type]

    def send(self, body: Any) -> tuple[Stream, Handler, "asyncio.Task[None]"]:
        stream = Stream()
        handler = Handler(stream)
        stream.take(len(body) > 1)  # the headers, which go along with a single block
        return stream, handler, asyncio.create_task(self.answers.send(handler, stream, body))  # type: ignore[arg-type]


def made(key: object, size: int = 10, calls: list[object] | None = None, **options: Any) -> Wanted:
    def make(snapshot: Snapshot | None) -> Iterator[bytes]:
        if calls is not None:
            calls.append(snapshot)
        return iter([b"x" * size])

    return Wanted(key, make, **options)


def running(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@running
async def test_requests_at_the_same_time_share_one_read_and_one_body() -> None:
    for options in ({"whole": True}, {"whole": True, "gzip": True}, {}):
        world, calls = World(), list[object]()
        asked = [asyncio.create_task(world.body(made("k", 10, calls, **options), 5, 5)) for _ in range(200)]
        await settled()
        world.found()
        bodies = await asyncio.gather(*asked)
        assert (len(world.reads), len(calls)) == (1, 1)
        assert len({id(body) for body in bodies}) == 1
        again = asyncio.create_task(world.body(made("k", 10, calls, **options), 5, 5))
        await settled()
        world.found()
        assert await again is not bodies[0], "a later request sees a later read"
        assert (len(world.reads), len(calls)) == (2, 2)


@running
async def test_waiter_leaves_at_its_own_time_and_a_failed_read_is_no_snapshot() -> None:
    world, calls = World(), list[object]()
    patient = asyncio.create_task(world.body(made("k", 10, calls, whole=True), 5, 5))
    assert await world.body(made("k", 10, calls, whole=True), 0.01, 5) == [b"x" * 10]
    assert calls == [None]
    world.reads[0].set_exception(SourceError("away"))
    await patient
    assert calls == [None, None]
    assert await world.body(made("k", 10, calls), 0.0, 5) == [b"x" * 10], "it waits for no read"
    assert len(world.reads) == 1
    world.now = 10.0
    assert world.answers.slow_stream() is None, "who has an answer no longer waits for it"


@running
async def test_too_many_different_bodies_are_refused_and_whole_scrapes_are_not() -> None:
    world, gate = World(), Event()
    slow = [Wanted(number, lambda _: [b"%d" % gate.wait(10)]) for number in range(MOST_WAITING + 1)]
    asked = [asyncio.create_task(world.body(wanted, 5, 20)) for wanted in slow]
    await settled()
    world.found()
    assert await asked[-1] is None
    assert len(world.spent) == 1
    whole = asyncio.create_task(world.body(made("all", whole=True), 5, 5))
    await settled()
    world.found()
    assert await whole
    gate.set()
    assert await asyncio.gather(*asked[:-1]) == [[b"1"]] * MOST_WAITING


@running
async def test_slowest_reader_makes_room_before_a_body_is_made() -> None:
    world = World(limit=5 * _BLOCK)
    body = [b"y" * _BLOCK] * 4
    slow, fast, new = world.send(body), world.send([b"z" * _BLOCK] * 4), None
    fast[0].take(2)
    slow[0].take(1)
    await settled()
    world.now = 1.0
    new = world.send([b"n" * _BLOCK])
    await settled()
    assert world.answers.sending == 9 * _BLOCK
    assert await world.body(made("k", whole=True), 0, 5)
    assert (slow[0].is_closed, fast[0].is_closed, new[0].is_closed) == (True, False, False), (
        "a new client has its grace"
    )
    assert world.answers.sending == 5 * _BLOCK
    assert len(world.spent) == 1
    for stream, _, task in (slow, fast, new):
        stream.take(10)
        await task
    assert world.answers.sending == 0


@running
async def test_body_that_several_clients_read_counts_once_and_is_not_copied() -> None:
    world = World()
    body = await world.body(made("k", 3 * _BLOCK + 5, whole=True), 0, 5)
    assert body
    clients = [world.send(body) for _ in range(3)]
    await settled()
    assert world.answers.sending == 3 * _BLOCK + 5
    for stream, handler, task in clients:
        stream.take(10)
        await task
        assert handler.sent == b"".join(body)


@running
async def test_client_is_slow_below_64_kib_a_second_after_a_grace() -> None:
    world = World()
    stream, _, task = world.send([b"y" * SLOW] * 3)
    await settled()
    assert world.answers.slow_stream() is None
    stream.take(1)
    world.now = 2.0
    await settled()
    assert world.answers.slow_stream() is stream
    stream.take(1)
    await settled()
    assert world.answers.slow_stream() is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_memory_is_given_back() -> None:
    program = """
from pathlib import Path
from exporter.web.server import give_back
resident = lambda: int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
waste = [bytes(100_000) for _ in range(2_000)]
peak = resident()
del waste
give_back()
assert resident() < peak - 100 * 2**20
"""
    subprocess.run([sys.executable, "-c", program], check=True)  # a process of its own, whose heap no other test shaped
