"""A small Alertmanager inside of a test: it keeps what it is sent, and answers as it is told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from exporter.push.alertmanager import Alertmanager, Pace
from exporter.push.alerts import NODE_OFFLINE, Alert, AlertTexts
from exporter.push.clock import Clocks
from exporter.push.config import HttpConfig
from exporter.push.transport import TIMEOUTS, Transport

HOUR = 3600.0
PACE = Pace(fresh=60.0)
"""The usual pace, but for observations that stay fresh on a machine that is busy."""
RETRY = Pace(fresh=60.0, backoff=(0.01, 0.05))
"""The same, with pauses that a test can wait for."""


class Fake:
    """An Alertmanager that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.taken: list[bool] = []
        self.tried: list[int] = []  # how many alerts each post held that the client sent, whether it was read or not
        self.status = 200
        self.date: datetime | str | None = ""  # its clock; right if empty, not told if None
        self.hangs = False
        self.slow = 0.0  # seconds before it answers
        self.cuts = False  # its answers are cut off
        self.text = b"no, for a reason"
        self.headers = b""
        self.url = ""
        self.connections: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("POST /api/v2/alerts HTTP/1.1\r\n")
            assert "\r\nContent-Type: application/json\r\n" in head
            length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
            self.posts.append(json.loads(await reader.readexactly(length)))
            await asyncio.sleep(self.slow)
            await until(lambda: not self.hangs)
            now = datetime.now(UTC) if self.date == "" else self.date
            lines = self.headers
            if now is not None:
                lines += b"Date: %b\r\n" % (now if isinstance(now, str) else http_date(now)).encode()
            text = self.text
            whole = b"HTTP/1.1 %d Told\r\n%bContent-Length: %d\r\n\r\n%b" % (self.status, lines, len(text), text)
            writer.write(whole[:-5] if self.cuts else whole)
            await writer.drain()
        writer.close()
        self.connections.discard(writer)

    def sent(self) -> list[str]:
        """Return the node ids in all posts, one post after another."""
        return [alert["labels"]["node_id"] for post in self.posts for alert in post]

    def last(self, node_id: str) -> dict[str, Any]:
        return next(alert for post in self.posts[::-1] for alert in post if alert["labels"]["node_id"] == node_id)


@asynccontextmanager
async def serving(fake: Fake) -> AsyncIterator[None]:
    """Have a fake one listen; its connections are over at the end."""
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        fake.hangs = False
        await until(lambda: not fake.connections)
        server.close()


@asynccontextmanager
async def posting(
    fake: Fake,
    *,
    run: bool = True,
    pace: Pace = PACE,
    wall: Callable[[], float] = time.time,
    timeouts: tuple[float, float] = TIMEOUTS,
) -> AsyncIterator[Alertmanager]:
    """Lend an Alertmanager client that posts to a fake one; it runs unless told otherwise."""

    def posted(_: Alertmanager, taken: bool, alerts: Iterable[Alert]) -> None:  # noqa: FBT001
        fake.taken.append(taken)
        fake.tried.append(len(list(alerts)))

    config = HttpConfig()
    async with serving(fake):
        alertmanager = Alertmanager(
            fake.url,
            AlertTexts({}),
            config=config,
            posted=posted,
            pace=pace,
            clocks=Clocks(fake.url, wall=wall),
            transport=Transport(fake.url, config, timeouts=timeouts),
        )
        task = asyncio.create_task(alertmanager.run()) if run else None
        try:
            yield alertmanager
        finally:
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            alertmanager.close()


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
