"""``explain`` tells what happened, what money is at risk, what to do, and what became of the page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from said import Say

from lab.fakes import FakeAlertmanager
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, wait_for
from leftovers import leave


@pytest.fixture
def exporter(client: "redis.Redis", shared_redis: RedisServer, tmp_path: Path) -> Iterator[Exporter]:
    """An exporter that pushes, and saw three nodes, one of which died with two portfolios."""
    client.hset("schedule:plan", mapping={"p1": "n1", "p2": "n2", "p3": "n2"})
    beat(client, "n1", ttl=600, loaded_portfolio_ids='["p1"]')
    beat(client, "n2", ttl=2, loaded_portfolio_ids='["p2", "p3"]')
    for portfolio, count in (("p2", 5), ("p3", 9)):
        client.hset(f"portfolio:{portfolio}:state", mapping={"position_count": str(count), "node_id": "n2"})
    with FakeAlertmanager() as fake:
        flags = ("--redis.url", shared_redis.url, "--alertmanager.url", fake.url, "--heartbeat.ttl", "2s")
        with running_exporter(tmp_path, *flags) as running:

            def beats() -> bool:
                beat(client, "n2", ttl=2, loaded_portfolio_ids='["p2", "p3"]')
                return running.scrape().get("ginkgo_node_up", {}).get("n2") == 1

            wait_for(beats, "for the beat")
            wait_for(lambda: "n2" in str(fake.posts), "for the page")
            wait_for(lambda: running.scrape()["ginkgo_portfolios_untraded"].get("node_offline") == 2, "for the ledger")
            yield running


def test_dead_node_is_explained_with_its_page_and_the_money_at_risk(say: Say, exporter: Exporter) -> None:
    asked = ("--exporter.url", exporter.url)
    taken = "Alertmanager took the alert about GinkgoNodeOffline, n2."
    wait_for(lambda: taken in say("explain", "n2", *asked).out, "for the event")
    node = say("explain", "n2", *asked).out
    first, _, rest = node.partition("\n\n")
    assert re.match(r"Node n2 is offline now\.\nIt has been offline since [\d: -]+UTC\.", first)
    assert "Its portfolios: p2, p3." in first
    assert "Open positions in untraded portfolios: 14." in first
    assert f"What to do: {exporter.url}/runbooks/GinkgoNodeOffline" in first
    assert "What was seen, the oldest first:\n  20" in rest
    assert taken in rest
    assert "Its page" not in rest


def test_redis_alone_says_what_is_now(say: Say, client: "redis.Redis", shared_redis: RedisServer) -> None:
    client.hset("schedule:plan", mapping={"p1": "dead"})
    leave(client, "dead")
    client.hset("node:metrics:dead", "loaded_portfolio_ids", '["p1"]')
    done = say("explain", "dead", "--redis.url", shared_redis.url)
    assert done.out.startswith("Node dead is offline now.")
    assert "Open positions in untraded portfolios: unknown." in done.out
    assert "No event is known of it." in done.out
    everything = say("explain", "--redis.url", shared_redis.url).out
    assert "Redis does not know what happened before" in everything


def test_what_cannot_be_explained_is_one_line(say: Say, client: "redis.Redis", shared_redis: RedisServer) -> None:
    for name in ("both", "node-7"):
        beat(client, name, loaded_portfolio_ids='["both"]')
    given = ("--redis.url", shared_redis.url)
    for words, code, text in (
        (("node-8", *given), 1, "nothing is known of node-8; the nearest known name is node-7"),
        (("both", *given), 0, "\nPortfolio both is duplicated"),
        (("node:both", *given), 0, "Node both is online now."),
    ):
        done = say("explain", *words)
        assert (done.code, text in done.out + done.err) == (code, True), (words, done)
        assert ("Node both" in done.out) == (code == 0)
