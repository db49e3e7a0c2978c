"""Deaths at the border: nodes beat in a real Redis, an exporter of its own process watches, and its posts are read."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import redis

from lab.fakes import FakeAlertmanager
from lab.nodes import beat
from lab.servers import Exporter, running_exporter, running_redis, wait_for

TTL, BEAT = 3.0, 1.0


class Fleet:
    """Nodes that beat ten times as fast as real ones, each with a portfolio that the plan gives to it.

    Attributes:
        exporter: The exporter under test.
        ends: When the last heartbeat of each node ends, in monotonic seconds.
        pages: When each page came: by the name of the alert and what it is about.
    """

    exporter: Exporter

    def __init__(self, client: "redis.Redis", fake: FakeAlertmanager) -> None:
        self.ends: dict[str, float] = {}
        self.pages: dict[tuple[str, str], float] = {}
        self._client, self._fake = client, fake
        self._due: dict[str, float] = {}
        self._loaded: dict[str, str] = {}
        self._over = Event()
        self._thread = Thread(target=self._run)

    def start(self, name: str, portfolio: str, after: float = 0.0) -> None:
        """Start a node, and let the plan give it a portfolio."""
        self.plan(portfolio, name)
        self._loaded[name] = json.dumps([portfolio])
        self._due[name] = time.monotonic() + after

    def plan(self, portfolio: str, name: str) -> None:
        """Let the plan give a portfolio to a node."""
        self._client.hset("schedule:plan", portfolio, name)

    def kill(self, *names: str) -> None:
        for name in names:
            del self._due[name]

    def wait_for_page(self, alert: str, about: str = "", number: int = 1) -> None:
        wait_for(
            lambda: len([page for page in self.pages if page[0] == alert and about in page[1]]) >= number, alert, 20
        )

    def about(self, alert: str) -> list[str]:
        return [about for name, about in self.pages if name == alert]

    def _run(self) -> None:
        while not self._over.wait(0.002):
            now = time.monotonic()
            for name, due in list(self._due.items()):
                if due <= now and name in self._due:
                    self._due[name] = due + BEAT
                    beat(self._client, name, TTL, loaded_portfolio_ids=self._loaded[name])
                    self.ends[name] = time.monotonic() + TTL
            for alert in [alert for post in self._fake.posts for alert in post]:
                labels = alert["labels"]
                self.pages.setdefault((labels["alertname"], labels.get("node_id") or labels.get("loss", "")), now)
            self._fake.posts.clear()


@contextmanager
def fleet(folder: Path, size: int, step: float) -> Iterator[Fleet]:
    """Lend a fleet; between the beats of one node and of the next there are ``step`` seconds."""
    with running_redis(folder / "redis") as server, FakeAlertmanager() as fake, server.client() as client:
        made = Fleet(client, fake)
        made._thread.start()
        try:
            for number in range(size):
                made.start(f"n{number:02}", f"p{number:02}", step * number % BEAT)
            wait_for(lambda: len(made.ends) == size)
            flags = ["--heartbeat.ttl", f"{TTL:g}s", "--discovery.interval", "500ms", "--log.level", "error"]
            given = [*flags, "--redis.url", server.url, "--alertmanager.url", fake.url]
            with running_exporter(folder, *given) as made.exporter:
                yield made
        finally:
            made._over.set()
            made._thread.join()


def test_a_second_mass_loss_pages_though_the_hashes_of_the_first_one_stay(tmp_path: Path) -> None:
    with fleet(tmp_path, 20, 0.05) as nodes:
        nodes.kill(*(f"n{number:02}" for number in range(6)))
        nodes.wait_for_page("GinkgoMassHeartbeatLoss")
        for number in range(6):  # the containers come back under new ids, and all portfolios are traded
            nodes.start(f"new{number:02}", f"p{number:02}")
        wait_for(lambda: "ginkgo_node_mass_lost" not in nodes.exporter.scrape(), "for the members to be forgotten", 20)
        nodes.kill(*(f"n{number:02}" for number in range(6, 12)))
        nodes.wait_for_page("GinkgoMassHeartbeatLoss", number=2)
        assert len(set(nodes.about("GinkgoMassHeartbeatLoss"))) == 2
        time.sleep(TTL)  # a death within a TTL of the loss would join it
        nodes.kill("new00")
        nodes.wait_for_page("GinkgoNodeOffline", "new00")
        nodes.plan("p00", "__ORPHANED__")
        time.sleep(TTL)
        assert nodes.about("GinkgoNodeOffline") == ["new00"], "what has had its page has no other one"


def test_single_deaths_beside_each_other_have_a_page_each_within_a_moment(tmp_path: Path) -> None:
    with fleet(tmp_path, 60, 0.017) as nodes:
        ends = {}
        for number in range(12):
            name = f"n{number * 7 % 60:02}"
            nodes.kill(name)
            time.sleep(0.01)
            ends[name] = nodes.ends[name]
            time.sleep(0.5)
        nodes.wait_for_page("GinkgoNodeOffline", number=12)
        assert nodes.about("GinkgoMassHeartbeatLoss") == []
        assert all(nodes.pages["GinkgoNodeOffline", name] - end < 0.5 for name, end in ends.items())


@pytest.mark.parametrize("step", [0.0, 0.05])
def test_a_loss_is_one_page_though_metrics_are_asked_for_twenty_times_a_second(tmp_path: Path, step: float) -> None:
    with fleet(tmp_path, 6, step) as nodes:
        over = Event()

        def ask() -> None:
            while not over.wait(0.05):
                nodes.exporter.get()

        asking = Thread(target=ask)
        asking.start()
        try:
            nodes.kill("n00", "n01", "n02", "n03")
            nodes.wait_for_page("GinkgoMassHeartbeatLoss")
            time.sleep(TTL)
        finally:
            over.set()
            asking.join()
        assert nodes.about("GinkgoNodeOffline") == []
        lost = nodes.exporter.scrape().get("ginkgo_node_mass_lost", {})
        assert len(lost) == 4
