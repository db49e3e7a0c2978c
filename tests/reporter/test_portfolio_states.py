"""The hashes that a node writes for its loaded portfolios, and what the exporter makes of them."""

import logging

import pytest
import redis
from lives import wait_for_beats

from exporter.fleet import Fleet
from exporter.reporter import NodeMetrics, NodeReporter, PortfolioMetrics
from exporter.settings import load
from lab.nodes import metrics_key
from lab.servers import RedisServer, wait_for

STATES = {"p1": PortfolioMetrics(7, 2), "组合": PortfolioMetrics(900, 0, "RELOADING")}


def test_each_beat_writes_the_state_of_each_portfolio_and_no_end_deletes_it(client: "redis.Redis") -> None:
    measured = NodeMetrics(loaded_portfolio_ids=list(STATES), portfolio_states=STATES)
    client.config_resetstat()
    with NodeReporter(client, "n1", lambda: measured, interval=0.1, ttl=5):
        wait_for(lambda: client.exists("portfolio:组合:state"))
        client.delete("portfolio:p1:state")
        wait_for(lambda: client.exists("portfolio:p1:state"), "for the next beat")
    assert client.hgetall("portfolio:p1:state") == {
        b"status": b"RUNNING",
        b"queue_size": b"7",
        b"buffer_size": b"0",
        b"position_count": b"2",
        b"node_id": b"n1",
    }
    assert client.hget("portfolio:组合:state", "status") == b"RELOADING"
    assert "cmdstat_multi" not in client.info("commandstats"), "a cluster has no transaction over several slots"
    assert not client.exists(metrics_key("n1"))


@pytest.mark.parametrize("states", [None, {}])
def test_node_without_states_writes_no_hash_of_a_portfolio(
    client: "redis.Redis", states: dict[str, PortfolioMetrics] | None
) -> None:
    measured = NodeMetrics(loaded_portfolio_ids=["p1"], portfolio_states=states)
    with NodeReporter(client, "n1", lambda: measured, interval=0.1, ttl=5):
        wait_for_beats(client, 2)
        assert client.keys("portfolio:*") == []


def test_state_that_cannot_be_written_costs_only_itself(
    client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    client.set("mine:p1:state", "no hash")
    caplog.set_level(logging.INFO)
    measured = NodeMetrics(portfolio_states=STATES)
    with NodeReporter(client, "n1", lambda: measured, interval=0.1, ttl=5, portfolio_prefix="mine:"):
        wait_for(lambda: client.exists("mine:组合:state"))
        wait_for_beats(client, 2)
        assert client.exists(metrics_key("n1"))
    assert caplog.text.count("cannot report") == 1


def test_exporter_sees_the_fullest_queue_and_the_positions(shared_redis: RedisServer, client: "redis.Redis") -> None:
    client.hset("schedule:plan", mapping=dict.fromkeys(STATES, "n1"))
    measured = NodeMetrics(loaded_portfolio_ids=list(STATES), portfolio_states=STATES)
    with NodeReporter(client, "n1", lambda: measured, interval=0.1, ttl=5):
        wait_for(lambda: client.exists("portfolio:组合:state"))
        fleet = Fleet(load({"redis.url": [shared_redis.url]}))
        series = fleet.look().portfolios
        fleet.close()
    assert series
    assert series.reading.account.ledger.counts["traded"] == 2  # type: ignore[index] # the state is text
    assert series.values["ginkgo_node_queue_size_max"] == {"n1": 900}
    assert series.values["ginkgo_node_positions"] == {"n1": 2}


def test_portfolio_of_which_nothing_is_given_runs_with_an_empty_queue() -> None:
    fields = PortfolioMetrics().fields("n1")
    assert (fields["status"], fields["queue_size"], fields["position_count"]) == ("RUNNING", "0", "0")
