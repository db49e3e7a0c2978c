"""From the end of a heartbeat to the receiver, in real time: TTL 30 s, ``group_wait: 30s``, 10,000 nodes.

One run of a minute and a half shows all of it: 50 nodes crash one after another
while the cost of watching the others and the scrapes are measured; then one of
the two Alertmanagers hangs, and 10 more crash.
"""

import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from push_stack import STARTING, Nodes, Stack, Webhook, get, running_stack

from lab.servers import Exporter, RedisServer, wait_for

KNOWN = 10_000
CRASHES = 50
HUNG_CRASHES = 10
TTL = 30.0

pytestmark = [pytest.mark.timeout(400), pytest.mark.server("prometheus-alertmanager")]


@dataclass
class Run:
    """What one run showed; times in seconds."""

    delays: list[float]
    hung_delays: list[float]
    told: list[tuple[str, str]]
    cores: float  # used more than without push
    commands: float  # a second, of Redis, all but the nodes' own
    scrapes: dict[str, float]  # medians
    hung_scrapes: dict[str, float]
    histogram: dict[str, float]


@pytest.fixture(scope="module", params=[pytest.param(0, id="alone"), pytest.param(1_000_000, marks=pytest.mark.slow)])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with running_stack(tmp_path_factory.mktemp("speed")) as stack:
        yield run(stack, tmp_path_factory.mktemp("exporters"), others=request.param)


def run(stack: Stack, folder: Path, others: int) -> Run:
    redis, webhook, elsewhere = stack.redis(), stack.webhook(), stack.webhook()
    good = stack.alertmanager(webhook, group_wait=30, group_interval=300)
    bad = stack.alertmanager(elsewhere, group_wait=30, group_interval=300)
    fill(redis, others)
    names = [f"node-{i:05}" for i in range(KNOWN)]
    nodes = stack.nodes(redis.port, *names, ttl=TTL, beat=10)
    # So many deaths within a TTL would be a mass loss, with one page.
    urls = ("--alertmanager.url", good.url, "--alertmanager.url", bad.url, "--mass-loss.many", str(KNOWN))
    exporters = {
        name: Exporter(folder / name, "--redis.url", redis.url, *flags)
        for name, flags in (("plain", ()), ("push", urls))
    }
    try:
        for exporter in exporters.values():
            wait_for(lambda url=exporter.url: get(f"{url}/-/ready"), "for the exporter", STARTING)  # type: ignore[misc]
            wait_for(lambda url=exporter.url: get(f"{url}/metrics", 30).count("ginkgo_node_up{") == KNOWN, "", STARTING)  # type: ignore[misc]
        scrapes = scrape_times(exporters)  # these show the heartbeats to the judge: no timer runs out for 20 s
        cost = Cost(exporters, redis)
        crashing, hung_crashing = names[:: KNOWN // CRASHES], names[7 :: KNOWN // HUNG_CRASHES]
        stagger(nodes, crashing)
        stagger(nodes, hung_crashing, over=4)
        time.sleep(6)  # in the 10 s before this, each of the others was read once
        cores, commands = cost.since()
        delays = delays_of(webhook, nodes, crashing)
        bad.process.send(signal.SIGSTOP)
        hung_delays = delays_of(webhook, nodes, hung_crashing)
        hung_scrapes = scrape_times(exporters)
        metrics = get(f"{exporters['push'].url}/metrics", 30)
        histogram = {
            name: float(line.rsplit(" ", 1)[1])
            for name in ("count", "sum")
            for line in metrics.splitlines()
            if line.startswith(f"ginkgo_bridge_detection_delay_seconds_{name} ")
        }
    finally:
        for exporter in exporters.values():
            exporter.stop(signal.SIGKILL)
    told = [(notice.status, notice.labels["node_id"]) for notice in webhook.notices]
    return Run(delays, hung_delays, told, cores, commands, scrapes, hung_scrapes, histogram)


class Cost:
    """CPU time of the exporter that pushes, over that of the one that does not, and commands of Redis."""

    def __init__(self, exporters: dict[str, Exporter], redis: RedisServer) -> None:
        self._processes = {name: psutil.Process(exporter.pid) for name, exporter in exporters.items()}
        self._redis = redis
        self._start = self._now()

    def _now(self) -> tuple[float, float, int]:
        used = {name: sum(process.cpu_times()[:2]) for name, process in self._processes.items()}
        with self._redis.client() as client:
            return time.monotonic(), used["push"] - used["plain"], client.info("stats")["total_commands_processed"]

    def since(self) -> tuple[float, float]:
        """Return cores used more, and commands a second without the nodes' own."""
        seconds, used, commands = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return used / seconds, commands / seconds - 2 * KNOWN / 10


def stagger(nodes: Nodes, crashing: Sequence[str], over: float = 20.0) -> None:
    for name in crashing:
        nodes.crash(name)
        time.sleep(over / len(crashing))


def delays_of(webhook: Webhook, nodes: Nodes, crashing: Sequence[str]) -> list[float]:
    """Return the seconds from the end of each heartbeat to the notification, once all have come."""
    wait_for(lambda: {notice.labels["node_id"] for notice in webhook.notices} >= set(crashing), "for all", 2 * TTL)
    return [webhook.at(name) - nodes.deadlines[name] for name in crashing]


def scrape_times(exporters: dict[str, Exporter], count: int = 15) -> dict[str, float]:
    """Return the median time of a scrape of each, taken in turns, so that noise hits both."""
    times: dict[str, list[float]] = {name: [] for name in exporters}
    for _ in range(count):
        for name, exporter in exporters.items():
            start = time.monotonic()
            assert get(f"{exporter.url}/metrics", 30)
            times[name].append(time.monotonic() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def fill(redis: RedisServer, keys: int) -> None:
    """Put the platform's other data into Redis."""
    with redis.client() as client:
        for start in range(0, keys, 10_000):
            pipe = client.pipeline(transaction=False)
            pipe.mset({f"ginkgo_func_cache_{i}": "x" for i in range(start, start + 10_000)})
            pipe.execute()


def test_a_crash_is_told_within_a_second_and_mostly_a_tenth(measured: Run) -> None:
    print(f"expiry to webhook: median {statistics.median(measured.delays):.3f} s, max {max(measured.delays):.3f} s")  # noqa: T201
    assert len(measured.delays) == CRASHES
    assert statistics.median(measured.delays) < 0.1
    assert max(measured.delays) < 1


def test_each_crash_is_told_once_and_nothing_else_is(measured: Run) -> None:
    assert len(measured.told) == len(set(measured.told)) == CRASHES + HUNG_CRASHES
    assert {status for status, _ in measured.told} == {"firing"}


def test_the_delay_is_in_the_metrics(measured: Run) -> None:
    assert measured.histogram["count"] == CRASHES + HUNG_CRASHES
    assert measured.histogram["sum"] / measured.histogram["count"] < 1


def test_watching_costs_little(measured: Run) -> None:
    print(f"push costs {measured.cores:.2%} of a core more, and {measured.commands:.0f} commands a second")  # noqa: T201
    assert measured.cores <= 0.02
    assert measured.commands <= 1500


def test_scrapes_are_not_slowed(measured: Run) -> None:
    print(f"scrapes: {measured.scrapes}, with one Alertmanager hanging {measured.hung_scrapes}")  # noqa: T201
    for scrapes in (measured.scrapes, measured.hung_scrapes):
        # Half as long again is far more than push could add, and on a busy machine less is noise.
        assert scrapes["push"] < 1.5 * scrapes["plain"] + 0.05


def test_a_hanging_alertmanager_does_not_delay_the_other(measured: Run) -> None:
    assert len(measured.hung_delays) == HUNG_CRASHES
    assert max(measured.hung_delays) < 1
