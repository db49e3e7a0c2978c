"""Page and JSON are made once for all that ask at the same time, and after scrapes."""

import asyncio
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.web.precedence import Pause, Precedence
from exporter.web.views import Views


class FakeFleet:
    """Counts its reads; each is answered at once."""

    def __init__(self) -> None:
        self.reads = 0
        self.spent: list[str] = []
        self.settings = SimpleNamespace(redis=SimpleNamespace(timeout=5.0))

    def request(self) -> "Future[Any]":
        self.reads += 1
        read: Future[Any] = Future()
        read.set_exception(SourceError("Redis is away"))
        return read


def views(fleet: FakeFleet) -> Views:
    return Views(cast("Fleet", fleet), Precedence(), fleet.spent.append)


def test_all_who_ask_at_the_same_time_share_one_read_and_one_body() -> None:
    fleet, made = FakeFleet(), list[int]()

    def make(_: Any, __: Pause) -> list[bytes]:
        made.append(1)
        return [b"body"]

    async def scenario() -> list[Any]:
        together = views(fleet)
        return await asyncio.gather(*(together.body("page", make) for _ in range(50)))

    bodies = asyncio.run(scenario())
    assert all(body is bodies[0] for body in bodies)
    assert (fleet.reads, len(made)) == (1, 1)


def test_body_is_new_after_a_read_that_waited_for_redis() -> None:
    class SlowFleet(FakeFleet):
        def request(self) -> "Future[Any]":
            self.reads += 1
            read: Future[Any] = Future()
            threading.Timer(0.2, read.set_exception, (SourceError("Redis hung"),)).start()
            return read

    fleet = SlowFleet()

    async def scenario() -> None:
        together = views(fleet)
        for _ in range(2):
            await together.body("page", lambda *_: [b"body"])
            await asyncio.sleep(0.01)  # longer than a small body is given again

    asyncio.run(scenario())
    assert fleet.reads == 2


def test_more_different_bodies_than_may_wait_are_refused_and_told() -> None:
    fleet, go_on = FakeFleet(), threading.Event()

    def make(_: Any, __: Pause) -> list[bytes]:
        go_on.wait(30)
        return [b"body"]

    async def scenario() -> list[Any]:
        together = views(fleet)
        asked = [asyncio.ensure_future(together.body(number, make)) for number in range(12)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(*asked)

    bodies = asyncio.run(scenario())
    assert [body is None for body in bodies] == [False] * 8 + [True] * 4
    assert fleet.spent == ["a request for page or JSON was answered with 503"] * 4


def test_failure_reaches_all_who_wait_and_the_next_one_tries_again() -> None:
    def fail(_: Any, __: Pause) -> list[bytes]:
        raise ZeroDivisionError

    async def scenario() -> list[Any]:
        together = views(FakeFleet())
        failed = await asyncio.gather(*(together.body("page", fail) for _ in range(3)), return_exceptions=True)
        return [*failed, await together.body("page", lambda *_: [b"well"])]

    *failed, well = asyncio.run(scenario())
    assert [type(error) for error in failed] == [ZeroDivisionError] * 3
    assert well == [b"well"]


def test_pause_waits_until_the_last_scrape_is_done() -> None:
    precedence, done = Precedence(), threading.Event()
    pause = precedence.pause()
    pause()  # nothing to wait for

    def work() -> None:
        pause()
        done.set()

    with precedence:
        with precedence:
            thread = threading.Thread(target=work)
            thread.start()
        assert not done.wait(0.05)
    thread.join(30)
    assert done.is_set()
