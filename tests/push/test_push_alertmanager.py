"""One Alertmanager, as the bridge posts to it: when, what, in whose time, and what of it is never sent."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from exporter.push import alertmanager as module
from exporter.push.alertmanager import BATCH, FRESH, Alertmanager
from exporter.push.alerts import NODE_OFFLINE, Alert, Texts
from exporter.push.config import HttpConfig

LASTS = 120.0
HOUR = 3600.0


class Fake:
    """An Alertmanager that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.taken: list[bool] = []
        self.status = 200
        self.date: datetime | str | None = ""  # its clock; right if empty, not told if None
        self.hangs = False
        self.url = ""
        self.connections: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("POST /api/v2/alerts HTTP/1.1\r\n")
            length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
            self.posts.append(json.loads(await reader.readexactly(length)))
            await until(lambda: not self.hangs)
            now = datetime.now(UTC) if self.date == "" else self.date
            date = b"" if now is None else b"Date: %b\r\n" % (now if isinstance(now, str) else http_date(now)).encode()
            text = b"no, for a reason"
            writer.write(b"HTTP/1.1 %d Told\r\n%bContent-Length: %d\r\n\r\n%b" % (self.status, date, len(text), text))
            await writer.drain()
        writer.close()
        self.connections.discard(writer)

    def sent(self) -> list[str]:
        """Return the node ids in all posts, one post after another."""
        return [alert["labels"]["node_id"] for post in self.posts for alert in post]

    def last(self, node_id: str) -> dict[str, Any]:
        return next(alert for post in self.posts[::-1] for alert in post if alert["labels"]["node_id"] == node_id)


@asynccontextmanager
async def posting(fake: Fake, *, run: bool = True) -> AsyncIterator[Alertmanager]:
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def posted(_: Alertmanager, taken: bool, __: Iterable[Alert]) -> None:  # noqa: FBT001
        fake.taken.append(taken)

    alertmanager = Alertmanager(fake.url, Texts({}), config=HttpConfig(), posted=posted, lasts=LASTS)
    task = asyncio.create_task(alertmanager.run()) if run else None
    try:
        yield alertmanager
    finally:
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        fake.hangs = False
        await until(lambda: not fake.connections)
        await asyncio.sleep(0.05)  # the client's side of a connection that it gave up
        alertmanager.close()
        server.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.005)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def dead(node_id: str, ago: float = 30.0) -> Alert:
    return Alert(NODE_OFFLINE, node_id, time.monotonic() - ago)


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_an_empty_post_is_sent_at_once_to_learn_its_time() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            assert fake.posts == [[]]
            assert time.monotonic() - alertmanager.last_taken < 20

    run(scenario)


def test_with_nothing_to_push_an_empty_post_is_sent_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)

    async def scenario() -> None:
        fake = Fake()
        async with posting(fake):
            await until(lambda: len(fake.posts) >= 4)
        assert fake.posts[:4] == [[], [], [], []]

    run(scenario)


def test_an_alert_begins_at_the_last_heartbeat_and_ends_two_minutes_on() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            alertmanager.offer([dead("a", ago=30)], time.monotonic())
            await until(lambda: "a" in fake.sent())
        sent = fake.last("a")
        # Date is cut to the second: never too late, and too early by less than two.
        assert -32 < unix(sent["startsAt"]) - time.time() < -29.99
        assert LASTS - 2 < unix(sent["endsAt"]) - time.time() <= LASTS

    run(scenario)


@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_times_are_alertmanagers_whatever_our_clock_says(off: float) -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.date = datetime.fromtimestamp(time.time() + off, UTC)
        async with posting(fake) as alertmanager:
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: "a" in fake.sent())
        assert unix(fake.last("a")["startsAt"]) == pytest.approx(time.time() + off - 30, abs=3)
        assert unix(fake.last("a")["endsAt"]) == pytest.approx(time.time() + off + LASTS, abs=3)

    run(scenario)


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_without_a_readable_date_our_own_clock_is_taken(date: str | None) -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.date = date
        async with posting(fake) as alertmanager:
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: "a" in fake.sent())
        assert unix(fake.last("a")["startsAt"]) == pytest.approx(time.time() - 30, abs=3)

    run(scenario)


def test_a_clock_that_was_set_is_noticed_before_the_next_alert_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine that slept: its monotonic clock stood still, and with it what we take for Alertmanager's time.
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            real = time.time
            monkeypatch.setattr(time, "time", lambda: real() + HOUR)
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: "a" in fake.sent())
        assert [len(post) for post in fake.posts] == [0, 0, 1]

    run(scenario)


def test_alerts_go_out_in_batches() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            names = [f"n{i}" for i in range(2 * BATCH + 1)]
            alertmanager.offer(map(dead, names), time.monotonic())
            await until(lambda: len(fake.sent()) == len(names))
        assert [len(post) for post in fake.posts if post] == [BATCH, BATCH, 1]
        assert fake.sent() == names

    run(scenario)


def test_a_new_death_goes_before_the_refresh_of_old_ones() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            old = [dead(f"n{i}") for i in range(2 * BATCH)]
            alertmanager.offer(old, time.monotonic())
            await until(lambda: len(alertmanager._told) == len(old))
            fake.posts.clear()
            alertmanager.offer([*old, dead("new")], time.monotonic())
            await until(lambda: len(fake.sent()) == len(old) + 1)
        assert fake.sent()[0] == "new"

    run(scenario)


def test_what_is_not_fresh_is_not_sent_until_it_is_offered_anew() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            alertmanager.offer([dead("a")], time.monotonic() - FRESH - 0.01)
            alertmanager.offer([dead("b")], time.monotonic())
            await until(lambda: "b" in fake.sent())
            assert fake.sent() == ["b"]
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: "a" in fake.sent())

    run(scenario)


def test_an_alert_that_ended_while_alertmanager_failed_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKOFF", (0.01, 0.05))

    async def scenario() -> None:
        fake = Fake()
        fake.status = 503
        async with posting(fake) as alertmanager:
            alert = dead("a")
            alertmanager.offer([alert], time.monotonic())
            await until(lambda: len(fake.taken) >= 3)
            alertmanager.end([alert], resolve=False)
            fake.status = 200
            alertmanager.offer([dead("b")], time.monotonic())
            await until(lambda: "b" in fake.sent())
            assert "a" not in fake.sent()[fake.sent().index("b") :]

    run(scenario)


def test_a_refusal_is_tried_again_after_a_growing_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds >= 0.1:
            pauses.append(seconds)
        await real(min(seconds, 0.01))

    async def scenario() -> None:
        fake = Fake()
        fake.status = 400
        monkeypatch.setattr(asyncio, "sleep", sleep)
        async with posting(fake) as alertmanager:
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: len(fake.taken) >= 6)
            assert not any(fake.taken)

    run(scenario)
    bounds = (0.25, 0.5, 1, 2, 2)
    for pause, bound in zip(pauses, bounds, strict=False):
        assert 0.5 * bound <= pause <= 1.5 * bound


def test_one_that_hangs_is_sent_an_empty_post_first_when_it_wakes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # What it was sent meanwhile waits in its socket, and is read then: it must not be an alert long over.
    monkeypatch.setattr(module, "_REQUEST", 0.1)
    monkeypatch.setattr(module, "_BACKOFF", (0.01, 0.05))

    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            fake.hangs = True
            for _ in range(5):
                alertmanager.offer([dead("a")], time.monotonic())
                await asyncio.sleep(0.1)
            assert fake.sent() == ["a"]
            assert fake.posts[-1] == []
            fake.hangs = False
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: len(fake.sent()) == 2)

    run(scenario)


def test_one_that_hangs_does_not_hold_up_another() -> None:
    async def scenario() -> None:
        hanging, good = Fake(), Fake()
        async with posting(hanging) as one, posting(good) as other:
            await until(lambda: hanging.taken and good.taken)
            hanging.hangs = True
            start = time.monotonic()
            for alertmanager in (one, other):
                alertmanager.offer([dead("a")], start)
            await until(lambda: "a" in good.sent())
            assert time.monotonic() - start < 1
            await until(lambda: "a" in hanging.sent())
            assert len(hanging.taken) == 1

    run(scenario)


def test_what_is_offered_while_a_post_is_under_way_is_sent_after_it() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            fake.hangs = True
            alertmanager.offer([dead("a", ago=40)], time.monotonic())
            await until(lambda: "a" in fake.sent())
            alertmanager.offer([dead("a", ago=30)], time.monotonic())
            fake.hangs = False
            await until(lambda: fake.sent() == ["a", "a"])

    run(scenario)


def test_an_end_is_posted_by_the_sole_writer_only() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            ended, kept = dead("ended"), dead("kept")
            alertmanager.offer([ended, kept], time.monotonic())
            await until(lambda: len(fake.sent()) == 2)
            alertmanager.end([kept], resolve=False)
            alertmanager.end([ended], resolve=True)
            await until(lambda: len(fake.sent()) == 3)
        assert fake.sent()[2] == "ended"
        assert time.time() - 2 < unix(fake.last("ended")["endsAt"]) <= time.time()

    run(scenario)


def test_a_node_that_is_back_while_its_post_is_under_way_is_resolved_after_it() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            fake.hangs = True
            alert = dead("a")
            alertmanager.offer([alert], time.monotonic())
            await until(lambda: "a" in fake.sent())
            alertmanager.end([alert], resolve=True)
            fake.hangs = False
            await until(lambda: len(fake.sent()) == 2)
        assert unix(fake.last("a")["endsAt"]) <= time.time()

    run(scenario)


def test_an_end_is_forgotten_when_the_alert_is_offered_anew() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            alert = dead("a")
            alertmanager.end([alert], resolve=True)
            alertmanager.offer([alert], time.monotonic())
            await until(lambda: "a" in fake.sent())
        assert unix(fake.last("a")["endsAt"]) > time.time()

    run(scenario)


def test_a_refusal_is_said_in_one_line() -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.status = 401
        async with posting(fake, run=False) as alertmanager:
            assert await alertmanager.try_once() == "HTTP 401 no, for a reason"
        nobody = Alertmanager("http://127.0.0.1:1", Texts({}), config=HttpConfig(), posted=lambda *_: None)
        problem = await nobody.try_once()
        nobody.close()
        assert "refused" in problem
        assert "\n" not in problem

    run(scenario)
