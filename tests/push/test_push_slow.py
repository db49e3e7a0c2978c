"""An Alertmanager that is slow, cuts its answers, or fails for long: every alert arrives, once. In real time."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from offering import REFRESH, Offering, offering, run, until
from push_stack import Alertmanager, Webhook, running_stack

from lab.proxy import Fault, Proxy
from side_by_side import Crowd, side_by_side

pytestmark = [pytest.mark.timeout(400), pytest.mark.server("prometheus-alertmanager")]

AT_ONCE: Final = 8
GROUP_WAIT: Final = 5.0
SLACK: Final = 4.0
"""Seconds of a busy machine: less than group_wait, which no page may wait for."""
FAILING: Final = 130.0
"""Seconds for which it fails: longer than an alert lasts after a post."""
HANGING: Final = 40.0
PATIENCE: Final = 150.0


class Failing:
    """Stands before an Alertmanager, and answers 503 in its place while told to."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Place:
    """What a case works with."""

    offered: Offering
    alertmanager: Alertmanager
    proxy: Proxy
    webhook: Webhook
    failing: Failing

    def told(self, *node_ids: str) -> bool:
        return all(self.webhook.of(node_id) for node_id in node_ids)

    def accepted(self) -> bool:
        return any(self.offered.taken[self.offered.alertmanagers[0].url])


async def slow(place: Place, seconds: float, patience: float) -> None:
    """A node dies at the start, and another one once posts are accepted, however late."""
    place.proxy.fault = Fault(delay=seconds)
    place.offered.die("first")
    await until(lambda: place.told("first"), "for the first page", patience)
    await until(place.accepted, "for an answer that was waited for", PATIENCE)
    place.offered.die("second")
    await until(lambda: place.told("second"), "for the second page", seconds + REFRESH + SLACK)


async def cut_off(place: Place) -> None:
    """No answer ever arrives whole."""
    place.proxy.fault = Fault(cut_within=20)
    place.offered.die("first")
    await until(lambda: place.told("first"), "for the first page", SLACK)
    await asyncio.sleep(20)
    place.offered.die("second")
    await until(lambda: place.told("second"), "for the second page", SLACK)
    assert not place.accepted()


async def failing(place: Place) -> None:
    """It answers 503 for minutes, in which one node dies, and another one dies and comes back."""
    await until(place.accepted)
    real, place.proxy.target = place.proxy.target, place.failing.port
    place.offered.die("first")
    place.offered.die("back again")
    await asyncio.sleep(FAILING / 2)
    place.offered.come_back("back again")
    await asyncio.sleep(FAILING / 2)
    place.proxy.target = real
    await until(lambda: place.told("first"), "for the page", REFRESH + SLACK)


async def hanging(place: Place) -> None:
    """It is stopped while one node dies, and goes on later."""
    await until(place.accepted)
    place.alertmanager.process.send(signal.SIGSTOP)
    place.offered.die("first")
    await asyncio.sleep(HANGING)
    place.alertmanager.process.send(signal.SIGCONT)
    await until(lambda: place.told("first"), "for the page", REFRESH + SLACK)


CASES: Final[dict[str, Callable[[Place], Awaitable[None]]]] = {
    "answers after 6 s": lambda place: slow(place, 6, 5 + REFRESH + SLACK),
    "answers after 30 s": lambda place: slow(place, 30, 5 + REFRESH + SLACK),
    "cuts its answers": cut_off,
    "fails for minutes": failing,
    "hangs": hanging,
}


def tell_once(folder: Path, name: str) -> None:
    async def scenario() -> None:
        async with offering(f"http://127.0.0.1:{proxy.port}") as offered:
            await CASES[name](Place(offered, alertmanager, proxy, webhook, failing))
            await asyncio.sleep(3 * REFRESH)

    with running_stack(folder) as stack, closing(Failing()) as failing:
        webhook = stack.webhook()
        alertmanager = stack.alertmanager(webhook, group_wait=GROUP_WAIT, resolve_timeout=300)
        proxy = stack.proxy(alertmanager.port)
        run(scenario)
        assert {notice.about[1]: notice.status for notice in webhook.notices} == dict.fromkeys(
            ["first", "second"][: len(webhook.notices)], "firing"
        )


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd[str]]:
    with side_by_side(request, tmp_path_factory, tell_once, AT_ONCE) as crowd:
        yield crowd


@pytest.mark.parametrize("name", CASES)
def test_each_death_is_told_once_by_an_alertmanager_that(told: Crowd[str], name: str) -> None:
    told.hold(name)
