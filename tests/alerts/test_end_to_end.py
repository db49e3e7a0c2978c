"""Alerts from end to end: nodes in a real Redis, the exporter, Prometheus with the rules, Alertmanager, a webhook.

Everything is fifteen times as fast as in production. There is a scrape and an
evaluation every second, heartbeats live two seconds, and every duration of the rules
and of Alertmanager's example is divided by fifteen. All tests of this file share one
stack. They run in the order of the file and make one story.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beating import Beating
from faster import faster, faster_routes, faster_rules

from exporter.demo.platform import Node
from lab.monitoring import Alertmanager, Prometheus, Webhook, ask, beside
from lab.servers import Exporter, RedisServer, running_redis, wait_for

SPEED = 15
TTL = 30 / SPEED
PATIENCE = 90.0

pytestmark = [pytest.mark.server("prometheus"), pytest.mark.timeout(240)]


class Story:
    """The stack, its nodes, and the notifications that it sent."""

    def __init__(self, folder: Path, redis: RedisServer, webhook: Webhook) -> None:
        self.redis = redis
        self.webhook = webhook
        self.fleet = Beating(redis.client(), [Node(name, ttl=TTL) for name in "abcdefgh"], SPEED)
        self.exporter = Exporter(
            folder, "--redis.url", redis.url, "--heartbeat.ttl", f"{TTL:.0f}s", "--discovery.interval", "500ms"
        )
        self.alertmanager = Alertmanager(folder, faster_routes(SPEED, webhook.url))
        (rules := folder / "rules.yml").write_text(faster_rules(SPEED))
        scraped = beside([self.exporter], self.alertmanager, rules=rules)
        self.prometheus = Prometheus(folder, scraped, f"--query.lookback-delta={faster('5m', SPEED)}")

    def told(self, status: str, alertname: str, node_id: str = "") -> list[dict[str, Any]]:
        """Return the alerts with a status; an empty name or node means any."""
        return [
            notice.alert
            for notice in list(self.webhook.notices)
            if notice.status == status and alertname in ("", notice.about[0]) and node_id in ("", notice.about[1])
        ]

    def hears(self, status: str, alertname: str, node_id: str = "") -> None:
        wait_for(lambda: self.told(status, alertname, node_id), f"for {alertname} {status}", PATIENCE)

    def close(self) -> None:
        for process in (self.prometheus, self.alertmanager, self.exporter):
            process.stop()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with running_redis(folder / "redis") as redis, Webhook() as webhook:
        story = Story(folder, redis, webhook)
        try:
            with story.fleet:
                yield story
        finally:
            story.close()


def test_crashed_node_is_reported_once_with_the_right_labels(story: Story) -> None:
    wait_for(lambda: _up(story, "a") == "1", "for the first scrape", PATIENCE)
    story.fleet.crash("a")
    story.hears("firing", "GinkgoNodeOffline", "a")
    (told,) = story.told("firing", "GinkgoNodeOffline", "a")
    assert told["labels"] == {
        "alertname": "GinkgoNodeOffline",
        "job": "ginkgo-exporter",
        "node_id": "a",
        "severity": "critical",
    }
    assert told["annotations"]["summary"] == "Node a went offline"


def test_node_that_stops_gracefully_is_not_reported(story: Story) -> None:
    story.fleet.do(lambda: story.fleet.nodes["b"].stop(story.redis.client()))
    wait_for(lambda: _up(story, "b") is None, "for it to be gone", PATIENCE)


def test_return_of_a_node_is_reported_once(story: Story) -> None:
    story.fleet.start("a")
    story.hears("resolved", "GinkgoNodeOffline", "a")
    assert len(story.told("firing", "GinkgoNodeOffline")) == len(story.told("resolved", "GinkgoNodeOffline")) == 1
    assert {alert["labels"]["alertname"] for alert in story.told("firing", "", "a")} == {"GinkgoNodeOffline"}


def test_outage_of_redis_is_reported_and_no_node_is(story: Story) -> None:
    story.redis.kill()
    story.hears("firing", "GinkgoRedisUnreachable")
    assert {alert["labels"]["node_id"] for alert in story.told("firing", "GinkgoNodeOffline")} == {"a"}
    assert len(story.told("firing", "GinkgoNodeOffline")) == 1


def _up(story: Story, node_id: str) -> str | None:
    query = f"/api/v1/query?query=ginkgo_node_up%7Bnode_id%3D%22{node_id}%22%7D"
    result = ask(story.prometheus.port, query)["data"]["result"]
    return result[0]["value"][1] if result else None
