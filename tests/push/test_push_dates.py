"""Whatever date the answers of Alertmanager tell, and whichever clock is wrong: each crash is told exactly once."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Final

import pytest
from push_stack import BEAT, GROUP_INTERVAL, LASTS, RESOLVE_TIMEOUT, TTL, running_stack

from lab.proxy import Fault
from side_by_side import Crowd, side_by_side

pytestmark = [pytest.mark.timeout(300), pytest.mark.server("prometheus-alertmanager")]

AT_ONCE: Final = 6
SLACK: Final = GROUP_INTERVAL + 3.0


def moved(seconds: float) -> Callable[[], bytes]:
    return lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True).encode()


CASES: Final[dict[str, tuple[Callable[[], bytes] | None, float, float]]] = {
    "the right one": (moved(0), 0, LASTS),
    "half a minute ahead": (moved(30), 0, LASTS + 30),
    "ten minutes behind": (moved(-600), 0, RESOLVE_TIMEOUT),
    "an hour ahead": (moved(3600), 0, RESOLVE_TIMEOUT),
    "of 1970": (lambda: b"Thu, 01 Jan 1970 00:00:00 GMT", 0, RESOLVE_TIMEOUT),
    "of 9999": (lambda: b"Fri, 31 Dec 9999 23:59:59 GMT", 0, RESOLVE_TIMEOUT),
    "unreadable": (lambda: b"yesterday", 0, RESOLVE_TIMEOUT),
    "missing": (None, 0, RESOLVE_TIMEOUT),
    "the right one, our clock is an hour behind": (moved(0), -3600, RESOLVE_TIMEOUT),
    "the right one, our clock is an hour ahead": (moved(0), 3600, RESOLVE_TIMEOUT),
    "missing, our clock is an hour behind": (None, -3600, RESOLVE_TIMEOUT),
    "an hour ahead, our clock is an hour behind": (moved(3600), -3600, RESOLVE_TIMEOUT),
}
"""For each case: the date in answers, how far our clock is off, how long an alert lasts after its last post."""


def tell_once(folder: Path, name: str) -> None:
    date, clock_off, lasts = CASES[name]

    def turn(reply: bytes) -> bytes:
        return re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: " + date() if date else b"", reply)

    with running_stack(folder) as stack:
        redis, webhook = stack.redis(), stack.webhook()
        alertmanager = stack.alertmanager(webhook)
        proxy = stack.proxy(alertmanager.port)
        proxy.fault = Fault(turn=turn)
        alertmanager.url = f"http://127.0.0.1:{proxy.port}"
        nodes = stack.nodes(redis.port, "node-1", "node-2", "node-3", "node-4")
        exporter = stack.exporter(redis.port, alertmanager, clock_off=clock_off)
        exporter.knows(4)
        nodes.crash("node-1")
        webhook.wait("node-1", "firing")
        assert webhook.at("node-1") - nodes.deadlines["node-1"] < TTL, "startsAt must let it skip group_wait"
        time.sleep(2 * BEAT)
        nodes.recover("node-1")
        back = time.monotonic()
        webhook.wait("node-1", "firing", "resolved", patience=lasts + SLACK)
        lasted = next(notice.at for notice in webhook.notices if notice.status == "resolved") - back
        assert lasts - BEAT - TTL < lasted < lasts + SLACK
        nodes.crash("node-1")
        webhook.wait("node-1", "firing", "resolved", "firing")
        time.sleep(2 * GROUP_INTERVAL)
        assert webhook.of("node-1") == ["firing", "resolved", "firing"]


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd[str]]:
    with side_by_side(request, tmp_path_factory, tell_once, AT_ONCE) as crowd:
        yield crowd


@pytest.mark.parametrize("name", CASES)
def test_each_crash_is_told_once_when_the_date_is(told: Crowd[str], name: str) -> None:
    told.hold(name)
