"""One Alertmanager of two that is dead, slow, hanging or overrun delays no page through the other one."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from offering import offering, run, until
from push_stack import Stack

from lab.proxy import Fault
from lab.servers import free_port

pytestmark = [
    pytest.mark.server("prometheus-alertmanager"),
    # The connection of a post that is under way at the end is left to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def dead(_: Stack) -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@contextmanager
def slow(stack: Stack) -> Iterator[str]:
    proxy = stack.proxy(stack.alertmanager(stack.webhook()).port)
    proxy.fault = Fault(delay=6)
    yield f"http://127.0.0.1:{proxy.port}"


@contextmanager
def hanging(stack: Stack) -> Iterator[str]:
    alertmanager = stack.alertmanager(stack.webhook())
    alertmanager.process.send(signal.SIGSTOP)
    yield alertmanager.url


@contextmanager
def overrun(_: Stack) -> Iterator[str]:
    """A listener that accepts nothing, its backlog full: connections to it are never established."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def nameless(_: Stack) -> Iterator[str]:
    """A name that the resolver gives no answer for, neither good nor bad."""
    real, held = socket.getaddrinfo, threading.Event()

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "alertmanager.hanging":
            held.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *rest, **more)

    socket.getaddrinfo = resolve
    try:
        yield "http://alertmanager.hanging:9093"
    finally:
        held.set()
        socket.getaddrinfo = real


@pytest.mark.parametrize("fault", [dead, slow, hanging, overrun, nameless])
def test_no_page_waits_for_another_alertmanager_that_is(stack: Stack, fault: Callable[[Stack], Any]) -> None:
    webhook = stack.webhook()
    good = stack.alertmanager(webhook)

    async def scenario() -> None:
        for urls in ((bad, good.url), (good.url, bad)):
            async with offering(*urls) as offered:
                await until(lambda offered=offered: offered.taken[good.url])
                for i in range(8):
                    node_id = f"{urls.index(bad)}-{i}"
                    start = time.monotonic()
                    offered.die(node_id)
                    await until(lambda node_id=node_id: webhook.of(node_id), "for the page", 2)
                    delays.append(time.monotonic() - start)
                    await asyncio.sleep(1)
                assert not any(offered.taken[bad]) or fault is slow

    delays: list[float] = []
    with fault(stack) as bad:
        run(scenario)
    assert sorted(delays)[len(delays) // 2] < 0.5
    assert all(notice.status == "firing" for notice in webhook.notices)
