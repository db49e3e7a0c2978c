"""The portfolios in a scrape, from real servers: the contract's example in all three modes, and what costs nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from redis.cluster import RedisCluster

from exporter.exposition.collector import NodeCollector, read_families
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.liveness.states import State
from exporter.settings import load
from exporter.snapshot.snapshot import Snapshot
from journal_events import told
from lab.clusters import RunningCluster
from lab.nodes import beat, metrics_key
from lab.sentinels import Watched
from lab.servers import RedisServer, Series, series_of, wait_for
from portfolio_example import EXPECTED, PLAN, RAW_LISTS, STATES


def scraped(fleet: Fleet) -> tuple[Snapshot, Series]:
    """Read the fleet, and return the snapshot and what a scrape would show."""
    snapshot = fleet.read()
    registry = CollectorRegistry()
    registry.register(_Families(snapshot, fleet))
    return snapshot, series_of(b"".join(exposition(snapshot, Format.TEXT)) + generate_latest(registry))


class _Families:
    def __init__(self, snapshot: Snapshot, fleet: Fleet) -> None:
        self._snapshot, self._fleet = snapshot, fleet

    def collect(self) -> Any:
        return read_families(self._snapshot, self._fleet.info)


def write(client: Any, name: bytes, raw: bytes | None, *, alive: bool = True) -> None:
    """Write what a node writes; without its heartbeat if it is not alive."""
    beat(client, name, ttl=60 if alive else 0.001, loaded_portfolio_ids=raw)


def write_example(client: Any) -> None:
    client.hset("schedule:plan", mapping=PLAN)
    for name, raw in RAW_LISTS.items():
        write(client, name, raw, alive=STATES[name] is State.ONLINE)
    for portfolio, queue, positions, node in (
        ("p01", "7", "3", "alpha"),
        ("p05", "950", "2", "alpha"),
        ("p06", "5", "1", "beta"),  # alpha has it too, and this state is not alpha's
        ("p08", "abc", "1", "alpha"),
        ("p02", "1", "", "beta"),
    ):
        client.hset(
            f"portfolio:{portfolio}:state", mapping={"queue_size": queue, "position_count": positions, "node_id": node}
        )
    client.set("heartbeat:task_timer:t1", "{}", ex=60)
    client.set("heartbeat:data_worker:d1", "{}", ex=60)
    client.set("heartbeat:data_worker:d2", "{}")


def check_example(settings: dict[str, Any], client: Any, flush: Any) -> None:
    """Check the example: delta was alive before Redis lost its data, and gamma was dead."""
    for name in STATES:
        write(client, name, None, alive=name != b"gamma")
    with Fleet(load(settings)) as fleet:
        wait_for(lambda: not fleet.not_ready, "for the first discovery")
        before = dict(zip(fleet.read().ids, fleet.read().states, strict=True))
        assert before["gamma"] is State.OFFLINE
        flush()
        write_example(client)
        fleet.discovery.wake()
        wait_for(lambda: fleet.discovery.workers and len(fleet.discovery.workers) == 3, "for the workers")
        wait_for(
            lambda: "ginkgo_plan_idle_seconds" in scraped(fleet)[1], "for the end of the save for the first replica"
        )
        snapshot, series = scraped(fleet)
    assert {name.encode(): state for name, state in zip(snapshot.ids, snapshot.states, strict=True)} == STATES
    assert snapshot.portfolios
    ledger = snapshot.portfolios.reading.account.ledger
    assert {p.id: (p.state, p.reason) for p in ledger.portfolios()} == EXPECTED
    assert series["ginkgo_portfolios"] == {
        "traded": 2, "untraded": 4, "misplaced": 1, "duplicated": 1, "unplanned": 2, "unknown": 3,
    }  # fmt: skip
    assert series["ginkgo_portfolios_untraded"] == {"node_offline": 1, "orphaned": 1, "undelivered": 1, "dropped": 1}
    assert set(series["ginkgo_portfolio_fault_since_timestamp_seconds"]) == {
        "gamma,p03,untraded", ",p04,untraded", "beta,p05,misplaced", "alpha,p06,duplicated", "beta,p07,unplanned",
        "alpha,p08,unplanned", "gamma,p09,untraded", "beta,p13,untraded",
    }  # fmt: skip
    assert series["ginkgo_portfolio_faults_unlisted"] == {"": 0}
    assert series["ginkgo_node_planned_portfolios"] == {
        "alpha": 2, "beta": 3, "gamma": 1, "delta": 1, "epsilon": 0, "zeta": 1,
    }  # fmt: skip
    assert series["ginkgo_node_queue_size_max"] == {"alpha": 950, "beta": 5}
    assert series["ginkgo_node_positions"] == {"alpha": 6, "beta": 1}
    assert series["ginkgo_portfolios_dropped_total"] == {"": 0}
    assert "ginkgo_workers" not in series, "FLUSHALL is a fault: workers may lack a heartbeat because of it"


def test_example_on_one_server(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        check_example({"redis.url": [redis_server.url]}, client, client.flushall)


@pytest.mark.server("redis-server")
@pytest.mark.server("redis-cli")
def test_example_on_a_cluster(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = RunningCluster(tmp_path, stack, replicas=0)

        def flush() -> None:
            cluster.client.flushall(target_nodes=RedisCluster.PRIMARIES)

        check_example(cluster.given, cluster.client, flush)


@pytest.mark.server("redis-server")
def test_example_behind_sentinel(tmp_path: Path) -> None:
    with ExitStack() as stack:
        watched = Watched(tmp_path, stack)
        with watched.first.client() as client:
            check_example(watched.given, client, client.flushall)


@pytest.fixture
def fleet(redis_server: RedisServer) -> Iterator[Fleet]:
    with Fleet(load({"redis.url": [redis_server.url], "discovery.interval": "100ms"})) as fleet:
        wait_for(lambda: not fleet.not_ready, "for the first discovery")
        yield fleet


@pytest.fixture
def platform(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    with redis_server.client() as client:
        yield client


def known(fleet: Fleet, *names: bytes) -> bool:
    return set(names) <= set(fleet.names.raw)


def test_installation_without_plan_and_lists_has_no_family_of_the_ledger(fleet: Fleet, platform: "redis.Redis") -> None:
    write(platform, b"a", None)
    platform.set("heartbeat:task_timer:t1", "{}", ex=60)
    wait_for(lambda: known(fleet, b"a"), "for the node")
    snapshot, series = scraped(fleet)
    assert snapshot.portfolios is None
    assert not [name for name in series if "portfolios_" in name or "plan" in name or "worker" in name]
    assert "ginkgo_portfolios" not in series


def test_workers_are_counted_while_no_fault_excuses_them(fleet: Fleet, platform: "redis.Redis") -> None:
    platform.hset("schedule:plan", mapping={"p": "a"})
    for key in ("heartbeat:task_timer:t1", "heartbeat:task_timer:t2", "backtest:worker:b1"):
        platform.set(key, "{}", ex=60)
    platform.set("heartbeat:data_worker:endless", "{}")
    wait_for(lambda: fleet.discovery.workers and len(fleet.discovery.workers) == 4, "for the workers")
    _, series = scraped(fleet)
    assert series["ginkgo_workers"] == {"task_timer": 2, "data_worker": 0, "backtest_worker": 1}
    platform.delete("heartbeat:task_timer:t1")
    _, series = scraped(fleet)
    assert series["ginkgo_workers"]["task_timer"] == 1


def test_planned_node_is_unknown_until_its_keys_were_looked_for(fleet: Fleet, platform: "redis.Redis") -> None:
    platform.hset("schedule:plan", mapping={"p": "stranger"})
    states = set()

    def is_untraded() -> bool:
        portfolios = fleet.read().portfolios
        assert portfolios
        found = portfolios.reading.account.ledger.get(b"p")
        assert found
        states.add((found.state.value, found.reason and found.reason.value))
        return found.state.value == "untraded"

    wait_for(is_untraded, "for the discovery that looks for the planned node")
    assert states <= {("unknown", None), ("untraded", "node_offline")}
    assert fleet.read().ids == []


def test_ids_of_any_bytes_are_shown_and_cost_only_themselves(fleet: Fleet, platform: "redis.Redis") -> None:
    node = b'a "quoted" \\ id\n%b'
    platform.hset(
        "schedule:plan", mapping={b"\xff": b"x", b"\\xff": b"x", b'"\n': b"\xfe", b"k" * 1024: node, b"": b""}
    )
    write(platform, node, b"[]")
    fleet.read()  # so that the planned nodes are looked for
    wait_for(lambda: known(fleet, node, b"x", b"\xfe"), "for the nodes")
    _, series = scraped(fleet)
    listed = {labels.split(",")[1] for labels in series["ginkgo_portfolio_fault_since_timestamp_seconds"]}
    assert listed == {"\\xff", '"\n', "k" * 1024, ""}
    assert series["ginkgo_portfolio_faults_unlisted"] == {"": 1}, "two ids show alike"
    assert series["ginkgo_node_planned_portfolios"] == {node.decode(): 1}
    registry = CollectorRegistry()
    registry.register(NodeCollector(fleet))
    reference = series_of(generate_latest(registry))
    for name in ("ginkgo_node_planned_portfolios", "ginkgo_portfolios", "ginkgo_portfolio_faults_unlisted"):
        assert reference[name] == series[name]


@pytest.mark.parametrize("form", list(Format))
def test_text_reads_back_as_the_reference_collector_writes_it(
    fleet: Fleet, platform: "redis.Redis", form: Format
) -> None:
    write_example(platform)
    wait_for(lambda: known(fleet, *STATES), "for the nodes")
    snapshot = fleet.read()
    text = b"".join(exposition(snapshot, form, {"ginkgo_node_planned_portfolios", "ginkgo_node_queue_size_max"}))
    assert text.count(b"# TYPE ginkgo_node_planned_portfolios gauge\n") == 1
    assert b'ginkgo_node_queue_size_max{node_id="alpha"} 950.0\n' in text
    assert b"ginkgo_node_positions" not in text


def test_list_that_is_broken_is_counted_and_the_node_says_nothing(fleet: Fleet, platform: "redis.Redis") -> None:
    platform.hset("schedule:plan", mapping={"p": "a"})
    write(platform, b"a", b"[1]")
    wait_for(lambda: known(fleet, b"a"), "for the node")
    snapshot, series = scraped(fleet)
    assert series["ginkgo_portfolios"]["unknown"] == 1
    counted = series_of(generate_latest(fleet.telemetry.registry))["ginkgo_exporter_invalid_values_total"]
    assert counted["loaded_portfolio_ids"] >= 1
    assert snapshot.states == [State.ONLINE]


def test_node_whose_hash_is_no_hash_says_nothing(fleet: Fleet, platform: "redis.Redis") -> None:
    platform.hset("schedule:plan", mapping={"p": "a"})
    write(platform, b"a", None)
    platform.delete(metrics_key("a"))
    platform.set(metrics_key("a"), "abc")
    wait_for(lambda: known(fleet, b"a"), "for the node")
    _, series = scraped(fleet)
    assert series["ginkgo_portfolios"]["unknown"] == 1


def test_node_whose_work_has_moved_is_only_counted_until_it_is_needed_again(
    redis_server: RedisServer, platform: "redis.Redis"
) -> None:
    write(platform, b"old", b'["p"]', alive=False)
    write(platform, b"new", b'["p"]')
    platform.hset("schedule:plan", mapping={"p": "new"})
    settings = {"redis.url": [redis_server.url], "nodes.forget-rehomed-after": "100ms", "discovery.interval": "100ms"}
    with Fleet(load(settings)) as fleet:
        wait_for(lambda: not fleet.not_ready, "for the first discovery")
        wait_for(lambda: fleet.read().ids == ["new"], "for the leftover to be forgotten")
        assert fleet.read().counts[State.FORGOTTEN] == 1
        write(platform, b"new", b"[]")  # the owner deletes the portfolio
        platform.delete("schedule:plan")
        platform.hset("schedule:plan", mapping={"q": "new"})
        assert fleet.read().ids == ["new"]
        _, series = scraped(fleet)
        assert series["ginkgo_portfolios_untraded"]["dropped"] == 0
        platform.hset("schedule:plan", mapping={"q": "old"})
        fleet.read()  # the judge hears of the new plan with the next read
        assert fleet.read().ids == ["new", "old"]


def test_node_with_an_untraded_portfolio_is_never_forgotten(redis_server: RedisServer, platform: "redis.Redis") -> None:
    write(platform, b"old", b'["p", "dropped"]', alive=False)
    write(platform, b"new", b'["p"]')
    platform.hset("schedule:plan", mapping={"p": "new"})
    settings = {
        "redis.url": [redis_server.url],
        "nodes.forget-after": "100ms",
        "nodes.forget-rehomed-after": "100ms",
        "discovery.interval": "100ms",
    }
    with Fleet(load(settings)) as fleet:
        wait_for(lambda: not fleet.not_ready, "for the first discovery")
        fleet.read()
        died, _ = fleet.judge.offline_since(b"old")
        assert died is not None
        wait_for(lambda: fleet._clock() > died + 0.2, "for the node to be old enough")
        assert fleet.read().ids == ["new", "old"]
        platform.hset("schedule:plan", mapping={"dropped": "new"})
        write(platform, b"new", b'["p", "dropped"]')
        wait_for(lambda: fleet.read().ids == ["new"], "for the node to be forgotten")


def test_plan_that_is_missing_is_read_twice_only_where_one_may_be_expected(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        fleet = Fleet(load({"redis.url": [redis_server.url]}))
        beat(client, "a", loaded_portfolio_ids='["p"]')
        fleet.discovery.discover()

        def reads_of_the_plan() -> int:
            client.config_resetstat()
            fleet.reader.read()
            return int(client.info("commandstats")["cmdstat_hgetall"]["calls"])

        assert [reads_of_the_plan() for _ in range(3)] == [2, 1, 1]
        assert told(fleet.journal)[-1] == (("p",), "unplanned")
        client.hset("schedule:plan", mapping={"p": "a"})
        assert reads_of_the_plan() == 1
        client.delete("schedule:plan")
        assert [reads_of_the_plan() for _ in range(3)] == [2, 1, 1]
        fleet.close()
