"""Deaths at the border: nodes beat in a real Redis, an exporter of its own process watches, and its posts are read."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import redis
from beating import Beating

from exporter.demo.platform import ORPHANED, Node
from lab.fakes import FakeAlertmanager
from lab.servers import Exporter, running_exporter, running_redis, wait_for

SPEED, TTL = 10, 3.0


class Fleet(Beating):
    """Nodes with a portfolio each, which the plan gives to it, and what their exporter pages.

    Attributes:
        exporter: The exporter under test.
        pages: When each page came: by the name of the alert and what it is about.
    """

    exporter: Exporter

    def __init__(self, client: "redis.Redis", fake: FakeAlertmanager, size: int, *, in_step: bool) -> None:
        nodes = [Node(f"n{number:02}", number, ttl=TTL, loaded=(f"p{number:02}",)) for number in range(size)]
        super().__init__(client, nodes, SPEED, in_step=in_step)
        self.pages: dict[tuple[str, str], float] = {}
        self._fake = fake

    def step(self) -> None:
        super().step()
        for labels in [alert["labels"] for post in list(self._fake.posts) for alert in post]:
            about = labels["alertname"], labels.get("node_id") or labels.get("loss", "")
            self.pages.setdefault(about, time.monotonic())

    def plan(self, portfolio: str, name: str) -> None:
        """Let the plan give a portfolio to a node."""
        self.redis.hset("schedule:plan", portfolio, name)

    def add(self, name: str, portfolio: str) -> None:
        """Let a new node start, to which the plan gives a portfolio."""
        self.plan(portfolio, name)
        self.do(lambda: self.nodes.update({name: Node(name, ttl=TTL, loaded=(portfolio,))}))
        self.start(name)

    def wait_for_page(self, alert: str, about: str = "", number: int = 1) -> None:
        wait_for(lambda: len([page for page in self.about(alert) if about in page]) >= number, alert, 20)

    def about(self, alert: str) -> list[str]:
        return [about for name, about in list(self.pages) if name == alert]


@contextmanager
def fleet(folder: Path, size: int, *, in_step: bool = False) -> Iterator[Fleet]:
    with (
        running_redis(folder / "redis") as server,
        FakeAlertmanager() as fake,
        server.client() as client,
        Fleet(client, fake, size, in_step=in_step) as made,
    ):
        flags = ["--heartbeat.ttl", f"{TTL:g}s", "--discovery.interval", "500ms", "--log.level", "error"]
        given = [*flags, "--redis.url", server.url, "--alertmanager.url", fake.url]
        with running_exporter(folder, *given) as made.exporter:
            yield made


def test_a_second_mass_loss_pages_though_the_hashes_of_the_first_one_stay(tmp_path: Path) -> None:
    with fleet(tmp_path, 20) as nodes:
        nodes.crash(*(f"n{number:02}" for number in range(6)))
        nodes.wait_for_page("GinkgoMassHeartbeatLoss")
        for number in range(6):  # the containers come back under new ids, and all portfolios are traded
            nodes.add(f"new{number:02}", f"p{number:02}")
        wait_for(lambda: "ginkgo_node_mass_lost" not in nodes.exporter.scrape(), "for the members to be forgotten", 20)
        nodes.crash(*(f"n{number:02}" for number in range(6, 12)))
        nodes.wait_for_page("GinkgoMassHeartbeatLoss", number=2)
        assert len(set(nodes.about("GinkgoMassHeartbeatLoss"))) == 2
        time.sleep(TTL)  # a death within a TTL of the loss would join it
        nodes.crash("new00")
        nodes.wait_for_page("GinkgoNodeOffline", "new00")
        nodes.plan("p00", ORPHANED)
        time.sleep(TTL)
        assert nodes.about("GinkgoNodeOffline") == ["new00"], "what has had its page has no other one"


def test_a_loss_is_one_page_though_metrics_are_asked_for_twenty_times_a_second(tmp_path: Path) -> None:
    with fleet(tmp_path / "in step", 6, in_step=True) as one, fleet(tmp_path / "apart", 6) as other:
        over, both = Event(), (one, other)

        def ask() -> None:
            while not over.wait(0.05):
                for nodes in both:
                    nodes.exporter.get()

        asking = Thread(target=ask)
        asking.start()
        try:
            for nodes in both:
                nodes.crash("n00", "n01", "n02", "n03")
            for nodes in both:
                nodes.wait_for_page("GinkgoMassHeartbeatLoss")
            time.sleep(TTL)
        finally:
            over.set()
            asking.join()
        for nodes in both:
            assert nodes.about("GinkgoNodeOffline") == []
            lost = nodes.exporter.scrape().get("ginkgo_node_mass_lost", {})
            assert len(lost) == 4
