"""Each fault of Alertmanager's, or on the way to it: who dies meanwhile is told after it, once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest
from push_stack import Alertmanager, running_stack

from lab.proxy import NONE, REFUSES, SWALLOWS, Fault, Proxy
from lab.servers import wait_for
from side_by_side import Crowd, side_by_side
from witness import Vitals

pytestmark = [pytest.mark.timeout(300), pytest.mark.server("prometheus-alertmanager")]

AT_ONCE: Final = 5
PATIENCE: Final = 90.0
Break = Callable[[Alertmanager, Proxy], AbstractContextManager[None]]


@contextmanager
def killed(alertmanager: Alertmanager, _: Proxy) -> Iterator[None]:
    alertmanager.process.stop(signal.SIGKILL)
    yield
    alertmanager.start()


@contextmanager
def paused(alertmanager: Alertmanager, _: Proxy) -> Iterator[None]:
    alertmanager.process.send(signal.SIGSTOP)
    yield
    alertmanager.process.send(signal.SIGCONT)


def on_the_way(fault: Fault) -> Break:
    @contextmanager
    def apply(_: Alertmanager, proxy: Proxy) -> Iterator[None]:
        proxy.fault = fault
        yield
        proxy.fault = NONE

    return apply


FAULTS: Final[dict[str, tuple[Break, str]]] = {
    "killed": (killed, "error"),
    "paused": (paused, "error"),
    "connections refused": (on_the_way(REFUSES), "error"),
    "connections swallowed": (on_the_way(SWALLOWS), "error"),
    "replies delayed": (on_the_way(Fault(delay=0.3)), "ok"),
    "replies delayed beyond the timeout": (on_the_way(Fault(delay=6)), "error"),
    "replies cut": (on_the_way(Fault(cut_within=200)), "error"),
    "replies corrupted": (on_the_way(Fault(corrupt_within=20)), "error"),
    "replies trickling": (on_the_way(Fault(delay=0.01, piece=10)), "ok"),
}
"""Each fault, and what the posts come to that are made meanwhile."""


def tell_once(folder: Path, name: str) -> None:
    fault, result = FAULTS[name]
    with running_stack(folder) as stack:
        redis, webhook = stack.redis(), stack.webhook()
        alertmanager = stack.alertmanager(webhook)
        proxy = stack.proxy(alertmanager.port)
        alertmanager.url = f"http://127.0.0.1:{proxy.port}"
        nodes = stack.nodes(redis.port, "node-1", "node-2", "node-3", "node-4")
        exporter = stack.exporter(redis.port, alertmanager)
        exporter.knows(4)

        def posts(result: str) -> float:
            return exporter.metric(f'ginkgo_bridge_posts_total{{alertmanager="{alertmanager.url}",result="{result}"}}')

        wait_for(lambda: posts("ok") > 0, "for a first post", PATIENCE)
        before = Vitals.of(exporter.pid)
        with fault(alertmanager, proxy):
            nodes.crash("node-1")
            offline = 'ginkgo_bridge_alerts{alertname="GinkgoNodeOffline"}'
            wait_for(lambda: exporter.metric(offline) == 1, "for it to be found offline", PATIENCE)
            made = posts(result)
            wait_for(lambda: posts(result) > made, f"for a post that is {result}", PATIENCE)
        webhook.wait("node-1", "firing", patience=PATIENCE)
        taken = posts("ok")
        wait_for(lambda: posts("ok") > taken + 3, "for it to be posted on and on", PATIENCE)
        nodes.crash("node-2")
        webhook.wait("node-2", "firing", patience=PATIENCE)
        assert [notice.about[1] for notice in webhook.notices] == ["node-1", "node-2"]
        wait_for(lambda: Vitals.of(exporter.pid).back_to(before), f"for {Vitals.of(exporter.pid)} to be {before}")
        assert exporter.metric('ginkgo_exporter_internal_errors_total{part="push"}') == 0
        assert "Traceback" not in exporter.log.read_text()


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd[str]]:
    with side_by_side(request, tmp_path_factory, tell_once, AT_ONCE) as crowd:
        yield crowd


@pytest.mark.parametrize("name", FAULTS)
def test_who_dies_during_a_fault_of_alertmanager_is_told_once_after_it(told: Crowd[str], name: str) -> None:
    told.hold(name)
