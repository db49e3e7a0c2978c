"""The simulated platform: the scheduler's plan, what nodes write, and a full disk."""

from pathlib import Path

import pytest
from redis import ResponseError

from exporter.demo.platform import BEAT, LIMIT, ORPHANED, QUEUE_LIMIT, Disk, Node, Platform, assigned
from exporter.errors import ExporterError
from lab.fake_redis import FakeRedis
from lab.servers import RedisServer, wait_for


def test_plan_follows_from_the_last_plan_as_on_the_platform() -> None:
    for what, before, counts, portfolios, plan in (
        ("stays", {"p": "a", "q": "b"}, {"a": 1, "b": 1}, "pq", {"p": "a", "q": "b"}),
        ("fewest", {"p": "x", "q": "x", "s": "a"}, {"a": 1, "b": 0}, "pqs", {"p": "b", "q": "a", "s": "a"}),
        ("no room", {"p": "x", "q": "a"}, {"a": LIMIT}, "pq", {"q": "a"}),
        ("no node", {"p": "a"}, {}, "pq", {"p": ORPHANED, "q": ORPHANED}),
        ("node again", {"p": ORPHANED}, {"a": 0}, "p", {"p": "a"}),
        ("deleted", {"p": "a", "q": "a"}, {"a": 2}, "q", {"q": "a"}),
    ):
        assert assigned(before, counts, portfolios) == plan, what


class World:
    """A platform of two nodes in a fake Redis, whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fake = FakeRedis(lambda: self.now)
        self.client = self.fake.client()
        self.told: list[str] = []
        self.nodes = [Node("a", 0, loaded=("p", "q")), Node("b", 1, loaded=("r",))]
        self.platform = Platform(self.client, self.nodes, lambda: self.now, self.told.append)

    def live(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 1
            self.platform.step()

    def hash(self, node: str) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.client.hgetall(f"node:metrics:{node}").items()}


def test_node_crashes_is_failed_over_and_starts_again_empty() -> None:
    world = World()
    world.platform.begin()
    world.live(2)
    assert world.client.hgetall("schedule:plan") == {b"p": b"a", b"q": b"a", b"r": b"b"}
    assert set(world.client.scan_iter("heartbeat:*")) == {b"heartbeat:node:a", b"heartbeat:node:b"}
    world.platform.todo.append(world.nodes[0].crash)
    world.live(80)
    assert world.hash("b")["loaded_portfolio_ids"] == '["r", "p", "q"]'
    assert world.hash("a")["portfolio_count"] == "2"  # a crash deletes nothing
    assert not world.client.exists("heartbeat:node:a")
    assert world.told == ["the scheduler moves p to b, q to b"]
    world.platform.todo.append(lambda: world.nodes[0].start(world.client, world.now))
    world.live(1)
    assert (world.hash("a")["portfolio_count"], world.hash("a")["total_events"]) == ("0", "0")
    world.platform.todo.append(lambda: world.nodes[1].stop(world.client))
    world.live(1)
    assert not world.hash("b")
    world.platform.end()
    assert not list(world.client.scan_iter("*"))


def test_flood_fills_queues_drops_and_drains_and_usual_load_does_not() -> None:
    for number in range(6):
        world, reports = World(), []
        node = Node("n", number, loaded=tuple("pqrs"[: 1 + number % 4]))
        node.start(world.client, 0)
        for beat in range(1, 60):
            node.flood(on=30 <= beat < 33)
            node.beat(world.client, beat * BEAT)
            reports.append(
                {k: float(v) for k, v in world.hash("n").items() if k not in ("status", "loaded_portfolio_ids")}
            )
        queues, drops = [[report[name] for report in reports] for name in ("queue_size", "dropped_events")]
        events = [report["total_events"] for report in reports]
        assert events == sorted(set(events))
        assert drops == sorted(drops)
        assert (max(queues[:29]) < 100, drops[28], max(queues), drops[-1] > 0) == (True, 0, QUEUE_LIMIT, True), number
        assert queues[45] < 100, number
        assert len(set(queues[:29])) > 5, number
        assert all(0 < report["cpu_usage"] < 100 for report in reports)


def test_every_run_shows_the_same_numbers() -> None:
    world, shown = World(), list[str]()
    names = ("memory_usage", "cpu_usage", "queue_size", "total_events", "backpressure_count", "dropped_events")
    node, idle = Node("n", 3, loaded=("p", "q", "r")), Node("idle", 4)
    for each in (node, idle):
        each.start(world.client, 0)
    for second in (10, 20, 30, 40):
        node.flood(on=second == 30)
        node.beat(world.client, second)
        idle.beat(world.client, second)
        shown.append(" ".join(map(world.hash("n").__getitem__, names)))
    states = [world.client.hgetall(f"portfolio:{name}:state") for name in node.loaded]
    assert shown == [
        "295 40.0 12 1882 0 0",
        "295 40.0 4 3157 0 0",
        "295 53.9 701 7716 0 0",
        "295 48.7 453 9425 0 0",
    ]
    assert [state[b"queue_size"] + b" " + state[b"position_count"] for state in states] == [
        b"450 5",
        b"455 3",
        b"456 6",
    ]
    assert world.hash("idle")["total_events"] == "0"


def test_plan_of_another_platform_is_not_overwritten() -> None:
    world = World()
    world.client.hset("schedule:plan", "mine", "my-node")
    with pytest.raises(ExporterError, match="would overwrite it"):
        world.platform.begin()
    assert world.client.hgetall("schedule:plan") == {b"mine": b"my-node"}


def test_redis_that_refuses_writes_moves_no_portfolio_and_ends_no_node() -> None:
    world = World()
    world.platform.begin()
    world.fake.refusing = "MISCONF"
    world.live(80)
    assert len(world.client.hgetall("schedule:plan")) == 3
    assert set(world.told) == {"the scheduler cannot rewrite the plan: Redis says MISCONF"}
    world.fake.refusing = ""
    world.platform.next_look = world.now + 2 * BEAT
    world.live(15)
    assert len(list(world.client.scan_iter("heartbeat:*"))) == 2


def test_valkey_refuses_writes_while_its_disk_is_full_each_time(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        disk = Disk(client, Path(client.config_get("dir")["dir"] or ""))

        def is_refused() -> bool:
            try:
                client.set("key", "value")
            except ResponseError as error:
                return str(error).startswith("MISCONF")
            return False

        for _ in range(2):
            assert not is_refused()
            disk.fill()
            wait_for(is_refused, "for the failed snapshot")
            disk.free()
            assert not is_refused()
            wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", "for the next snapshot")
