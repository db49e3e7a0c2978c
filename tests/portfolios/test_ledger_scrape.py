"""The ledger from real servers: the contract's example in all three modes, a primary that hangs, and the journal."""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.cluster import RedisCluster

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.journal.event import Query
from exporter.liveness import State
from exporter.portfolios.account import Account
from exporter.settings import load
from lab.clusters import RunningCluster, Watched
from lab.nodes import beat, heartbeat_key, metrics_key
from lab.servers import RedisServer, running_exporter, wait_for
from portfolio_example import EXPECTED, PLAN, RAW_LISTS, STATES


def write(client: Any, name: bytes, raw: bytes | None, *, alive: bool = True) -> None:
    """Write what a node writes. A dead node gets no heartbeat: a look may meet even one that lives for 1 ms."""
    if alive:
        beat(client, name, ttl=60, loaded_portfolio_ids=raw)
    else:
        client.hset(metrics_key(name), mapping={"loaded_portfolio_ids": raw or b"[]"})


def write_example(client: Any) -> None:
    client.hset("schedule:plan", mapping=PLAN)
    for name, raw in RAW_LISTS.items():
        write(client, name, raw, alive=STATES[name] is State.ONLINE)
    for portfolio, queue, positions, node in (
        ("p01", "7", "3", "alpha"),
        ("p05", "950", "2", "alpha"),
        ("p06", "5", "1", "beta"),  # alpha has it too, and this state is not alpha's
        ("p03", "0", "14", "gamma"),
    ):
        values = {"queue_size": queue, "position_count": positions, "node_id": node}
        client.hset(f"portfolio:{portfolio}:state", mapping=values)


def check_example(settings: dict[str, Any], client: Any, flush: Any) -> None:
    """Check the example: delta was alive before Redis lost its data, and gamma was dead."""
    for name in STATES:
        write(client, name, None, alive=name != b"gamma")
    with Fleet(load({**settings, "discovery.interval": "200ms"})) as fleet:
        wait_for(lambda: not fleet.not_ready, "for the first discovery")
        wait_for(lambda: "offline" in fleet.read().states, "for the death of gamma")
        flush()
        write_example(client)

        def example() -> Account | None:
            account = fleet.read().account
            found = {each.id: (each.state, each.reason) for each in account.ledger.portfolios()} if account else {}
            return account if found == EXPECTED else None

        account = wait_for(example, "for the example", 20)
    assert account
    assert account.ledger.planned == {b"alpha": 2, b"beta": 3, b"gamma": 1, b"delta": 1, b"zeta": 1}
    assert (account.queues, account.node_positions) == ({b"alpha": 950, b"beta": 5}, {b"alpha": 5, b"beta": 1})
    assert account.untraded_positions == 14
    assert account.workers is None, "FLUSHALL is a fault: workers may lack a heartbeat because of it"


def account_of(fleet: Fleet) -> Account | None:
    """Return the account of a read; None of one that failed: the first one that meets a primary that hangs may."""
    with suppress(SourceError):
        return fleet.read().account
    return None


def test_example_on_one_server(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        check_example({"redis.url": [redis_server.url]}, client, client.flushall)


@pytest.mark.server("redis-server")
def test_example_behind_sentinel(tmp_path: Path) -> None:
    with ExitStack() as stack:
        watched = Watched(tmp_path, stack)
        with watched.first.client() as client:
            check_example(watched.given, client, client.flushall)


@pytest.mark.server("redis-server")
@pytest.mark.server("redis-cli")
def test_example_on_a_cluster_of_which_primaries_hang_and_come_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = RunningCluster(tmp_path, stack, replicas=0)
        client = cluster.client
        check_example(cluster.given, client, lambda: client.flushall(target_nodes=RedisCluster.PRIMARIES))
        client.set("heartbeat:data_worker:w", "{}", 600)
        fleet = stack.enter_context(Fleet(load({**cluster.given, "redis.timeout": "2s"})))
        wait_for(lambda: not fleet.not_ready, "for the first discovery")
        before = wait_for(lambda: (account := account_of(fleet)) and account.since and account, "for the ledger")
        for each in cluster.servers.values():
            each.client().config_set("cluster-require-full-coverage", "no")
        for port in sorted(map(cluster.primary_of, (b"schedule:plan", metrics_key("alpha")))):
            keys = [(name, key(name)) for name in STATES for key in (metrics_key, heartbeat_key)]
            hit = {name for name, key in keys if cluster.primary_of(key) == port}
            spared = {each.id for each in before.ledger.portfolios() if hit.isdisjoint((each.node, *each.loaded))}
            cluster.servers[port].pause()
            try:
                accounts = [account_of(fleet) for _ in range(4)]
            finally:
                cluster.servers[port].resume()
            while not accounts[-1] or not before.since.items() <= accounts[-1].since.items():
                accounts.append(account_of(fleet))
            for account in filter(None, accounts):
                unknown = {each.id for each in account.ledger.abnormal.values() if each.state == "unknown"}
                assert before.since.keys() - account.since.keys() <= unknown
                assert unknown.isdisjoint(spared - before.ledger.abnormal.keys()), "what was traded is traded"
                assert (account.dropped, (account.workers or {}).get("data_worker", 1)) == (0, 1)
            events, _ = fleet.journal.page(Query(subjects=frozenset(map(bytes.decode, spared))), 1000)
            assert not [event for event in events if event.before == "traded"]


def test_portfolios_in_a_scrape_and_their_story_in_the_journal(redis_server: RedisServer, tmp_path: Path) -> None:
    client = redis_server.client()
    write(client, b"a", b'["p", "q"]')
    client.hset("schedule:plan", mapping={"p": "a", "q": "a"})
    client.set("heartbeat:task_timer:t", "{}", 60)
    flags = ("--redis.url", redis_server.url, "--journal.file", str(tmp_path / "j"), "--heartbeat.ttl", "2s")
    with running_exporter(tmp_path, *flags, "--discovery.interval", "1h") as exporter:
        wait_for(lambda: exporter.scrape().get("ginkgo_portfolios", {}).get("traded") == 2, "for both portfolios")
        client.delete("heartbeat:task_timer:t")
        wait_for(lambda: exporter.scrape()["ginkgo_workers"].get("task_timer") == 0, "for a search that is not due")
        write(client, b"a", b'["p"]')
        # nobody scrapes now: with a journal all nodes are read every half TTL
        wait_for(
            lambda: b'"subjects":["q"],"from":"traded","to":"untraded"' in (tmp_path / "j").read_bytes(), "for q", 20
        )
        series = exporter.scrape()
    assert series["ginkgo_portfolios"]["traded"] == 1
    assert series["ginkgo_portfolios_untraded"] == {"node_offline": 0, "orphaned": 0, "undelivered": 1, "dropped": 0}
    assert set(series["ginkgo_portfolio_fault_since_timestamp_seconds"]) == {"a,q,untraded"}
    assert series["ginkgo_portfolios_untraded_positions"] == series["ginkgo_portfolio_faults_unlisted"] == {"": 0}
    assert series["ginkgo_plan_changes_total"] == {"": 0}
