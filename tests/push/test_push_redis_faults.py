"""What people are told when Redis is at fault and every node lives: real servers, times a tenth.

Nodes beat as the platform's do. While a fault lasts a second thread scrapes all the
time: no scrape may call a living node offline.
"""

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from push_stack import BEAT, SCALE, SETTLED, TTL, Bridging, Nodes, Stack, Webhook, beside_others, get

from lab.servers import RedisServer, series_of, wait_for

pytestmark = [pytest.mark.timeout(300), pytest.mark.server("prometheus-alertmanager")]

FLEET = tuple(f"node-{i}" for i in range(6))
RECOVERS = BEAT + 12 * SCALE
"""Seconds in which all nodes are online again after Redis takes writes: a beat, and the machine's slowness."""
GRACE = TTL + BEAT
PUSH, RULES = frozenset({"push"}), frozenset({"rules"})


class Scene:
    """An installation, and what scrapes said of its nodes since.

    Args:
        stack: Makes the parts.
        server: The Redis that nodes write to.
        read: The port of the Redis that the exporter reads, if that is another one.
        fleet: The nodes.
        ways: How alerts get to Alertmanager: by push, by Prometheus's rules, or both.
        scale: How fast time goes; 1 is the platform's own pace.
    """

    def __init__(  # noqa: PLR0913 - each is a part that a scene may have otherwise
        self,
        stack: Stack,
        server: RedisServer,
        *,
        read: int | None = None,
        fleet: tuple[str, ...] = FLEET,
        ways: frozenset[str] = PUSH,
        scale: float = SCALE,
    ) -> None:
        self.server, self.fleet = server, fleet
        self.webhook: Webhook = stack.webhook()
        self.nodes: Nodes = stack.nodes(server.port, *fleet, ttl=30 * scale, beat=10 * scale)
        alertmanager = stack.alertmanager(self.webhook)
        flags = ("--heartbeat.ttl", f"{30 * scale:.0f}s")
        pushed_to = (alertmanager,) if "push" in ways else ()
        self.exporter: Bridging = stack.exporter(read or server.port, *pushed_to, flags=flags)
        self.exporter.knows(len(fleet))
        if "rules" in ways:
            stack.prometheus([self.exporter], alertmanager)
        self.offline: dict[str, float] = {}
        self._stop = threading.Event()

    def states(self) -> dict[str, float]:
        """Return how many nodes are in each state; empty while Redis cannot be read."""
        return series_of(get(f"{self.exporter.url}/metrics").encode()).get("ginkgo_nodes", {})

    def is_all(self, state: str) -> bool:
        return self.states().get(state) == len(self.fleet)

    @contextmanager
    def scraped(self) -> Iterator[None]:
        """Scrape without pause; which living nodes were called offline is noted."""

        def scrape() -> None:
            while not self._stop.wait(0.1):
                with suppress(OSError):
                    up = series_of(get(f"{self.exporter.url}/metrics").encode()).get("ginkgo_node_up", {})
                    self.offline.update((node, time.monotonic()) for node, value in up.items() if value == 0)

        thread = threading.Thread(target=scrape)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def dies(self, node_id: str, within: float) -> None:
        """Have a node really die, and see that its page comes in time, once, and that the scrape says the same."""
        died = time.monotonic()
        self.nodes.crash(node_id)
        self.webhook.wait(node_id, "firing", patience=within)
        assert time.monotonic() - died <= within
        wait_for(lambda: self.states().get("offline") == 1, "for the scrape to agree", 15)

    def told(self) -> set[str]:
        """Return what people were woken for; thresholds in seconds make tickets of scaled heartbeats."""
        notices = list(self.webhook.notices)
        return {notice.about[0] for notice in notices if notice.labels.get("severity") == "critical"}


def refuse_and_take_again(
    stack: Stack,
    server: RedisServer,
    refuse: Callable[[], None],
    take: Callable[[], None],
    ways: frozenset[str] = PUSH,
) -> None:
    """Have Redis refuse writes for several TTLs, and see that nobody is called dead and one page is sent."""
    scene = Scene(stack, server, ways=ways)
    with scene.scraped():
        refuse()
        scene.webhook.wait("", "firing", name="GinkgoRedisWritesRefused")
        wait_for(lambda: scene.is_all("undecided"), "for all heartbeats to end")
        time.sleep(2 * TTL)  # and for as long as it lasts
        assert scene.is_all("undecided")
        assert scene.exporter.metric("ginkgo_redis_writes_refused") == 1
        take()
        took = time.monotonic()
        wait_for(lambda: scene.is_all("online"), "for all nodes to beat again")
        assert time.monotonic() - took <= RECOVERS
        scene.webhook.wait("", "firing", "resolved", name="GinkgoRedisWritesRefused")
    assert scene.offline == {}
    assert scene.told() == {"GinkgoRedisWritesRefused"}
    if "push" in ways:
        scene.dies("node-0", GRACE + BEAT + 2)


@beside_others
def test_failed_snapshot_makes_nobody_dead(stack: Stack) -> None:
    server = stack.redis(program="redis-server")
    dump = server.folder / "dump.rdb"

    def refuse() -> None:
        (dump / "in the way").mkdir(parents=True)
        with server.client() as client:
            client.config_set("save", "1 1")

    def take() -> None:
        with server.client() as client:
            client.config_set("save", "")
            client.config_set("stop-writes-on-bgsave-error", "no")
        shutil.rmtree(dump)

    refuse_and_take_again(stack, server, refuse, take)


@beside_others
def test_full_memory_makes_nobody_dead(stack: Stack) -> None:
    server = stack.redis("--maxmemory-policy", "noeviction", program="redis-server")

    def set_limit(limit: str) -> None:
        with server.client() as client:
            client.config_set("maxmemory", limit)

    refuse_and_take_again(stack, server, lambda: set_limit("100kb"), lambda: set_limit("0"))


def need_replicas(stack: Stack, ways: frozenset[str] = PUSH) -> None:
    """Have Redis refuse writes for want of replicas."""
    server = stack.redis(program="redis-server")

    def need(replicas: int) -> None:
        with server.client() as client:
            client.config_set("min-replicas-to-write", replicas)

    refuse_and_take_again(stack, server, lambda: need(1), lambda: need(0), ways)


@beside_others
def test_too_few_replicas_make_nobody_dead(stack: Stack) -> None:
    need_replicas(stack)


@pytest.mark.server("prometheus")
@beside_others
def test_refused_writes_are_one_page_through_rules_alone(stack: Stack) -> None:
    need_replicas(stack, RULES)


@pytest.mark.server("prometheus")
@beside_others
def test_refused_writes_are_one_page_through_push_and_rules(stack: Stack) -> None:
    need_replicas(stack, PUSH | RULES)


@beside_others
def test_node_that_dies_while_some_writes_are_refused_is_found(stack: Stack) -> None:
    server = stack.redis("--maxmemory-policy", "noeviction", program="redis-server")
    scene = Scene(stack, server)
    stop = threading.Event()

    dice = random.Random(1)  # noqa: S311 - repeatable

    def hover() -> None:
        # Irregular, as memory is: in step with the beats, the same nodes would be refused each time.
        with server.client() as client:
            while not stop.wait(dice.uniform(0.05, 0.45) * BEAT):
                client.config_set("maxmemory", "100kb")
                with suppress(redis.ResponseError):
                    client.set("cache", "x")  # the platform's caches write, too
                if stop.wait(dice.uniform(0.05, 0.45) * BEAT):
                    return
                client.config_set("maxmemory", "0")

    thread = threading.Thread(target=hover)
    thread.start()
    try:
        scene.dies("node-0", 90 * SCALE + 2)
    finally:
        stop.set()
        thread.join()


@beside_others
def test_exporter_that_starts_while_writes_are_refused_calls_nobody_dead(stack: Stack) -> None:
    server = stack.redis("--maxmemory-policy", "noeviction", program="redis-server")
    webhook = stack.webhook()
    stack.nodes(server.port, *FLEET)
    with server.client() as client:
        client.config_set("maxmemory", "100kb")
        wait_for(lambda: not client.keys("heartbeat:*"), "for all heartbeats to end")
        exporter = stack.exporter(server.port, stack.alertmanager(webhook))
        exporter.knows(len(FLEET))
        time.sleep(2 * GRACE)
        assert exporter.metric('ginkgo_nodes{state="undecided"}') == len(FLEET)
        client.config_set("maxmemory", "0")
    wait_for(lambda: exporter.metric('ginkgo_nodes{state="online"}') == len(FLEET), "for all nodes to beat again")
    assert {notice.about[0] for notice in webhook.notices} == {"GinkgoRedisWritesRefused"}


def crash_loop(stack: Stack, *, data: bool, ways: frozenset[str] = PUSH, scale: float = SCALE) -> Scene:
    """Have Redis crash ten times, up for 4 s and down for 20 s, with 40 nodes, of which one dies meanwhile."""
    server = stack.redis("--appendonly", "yes" if data else "no", program="redis-server")
    fleet = tuple(f"node-{i}" for i in range(40))
    scene = Scene(stack, server, fleet=fleet, ways=ways, scale=scale)
    with scene.scraped():
        for turn in range(10):
            server.kill()
            time.sleep(20 * scale)
            server.start()
            time.sleep(4 * scale)
            if turn == 4:
                scene.nodes.crash("node-7")
        back = time.monotonic()
        wait_for(lambda: scene.states().get("online") == len(fleet) - 1, "for all others to beat again")
        assert time.monotonic() - back <= 10 * scale + 3
        wait_for(lambda: scene.states().get("offline") == 1, "for the dead one", 45 * scale + 2)
        wait_for(lambda: scene.offline, "for the scrapes to show it")
    assert scene.offline.keys() == {"node-7"}
    return scene


@beside_others
def test_redis_that_crashes_in_a_loop_with_its_data_makes_nobody_dead(stack: Stack) -> None:
    scene = crash_loop(stack, data=True)
    scene.webhook.wait("node-7", "firing")
    assert scene.told() == {"GinkgoNodeOffline"}


@beside_others
def test_redis_that_crashes_in_a_loop_without_its_data_makes_nobody_dead(stack: Stack) -> None:
    scene = crash_loop(stack, data=False)
    scene.webhook.wait("node-7", "firing")
    assert scene.told() == {"GinkgoNodeOffline"}


@pytest.mark.server("prometheus")
@beside_others
def test_redis_that_crashes_in_a_loop_is_one_page_through_rules_alone(stack: Stack) -> None:
    scene = crash_loop(stack, data=True, ways=RULES)
    scene.webhook.wait("node-7", "firing")
    scene.webhook.wait("", "firing", name="GinkgoRedisUnreachable")
    assert scene.told() == {"GinkgoNodeOffline", "GinkgoRedisUnreachable"}


@pytest.mark.server("prometheus")
@beside_others
def test_redis_that_crashes_in_a_loop_is_one_page_through_push_and_rules(stack: Stack) -> None:
    scene = crash_loop(stack, data=True, ways=PUSH | RULES)
    scene.webhook.wait("node-7", "firing")
    scene.webhook.wait("", "firing", name="GinkgoRedisUnreachable")
    assert scene.told() == {"GinkgoNodeOffline", "GinkgoRedisUnreachable"}


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("data", [True, False], ids=["with its data", "without"])
def test_redis_that_crashes_in_a_loop_at_the_platforms_own_pace_is_one_page(stack: Stack, *, data: bool) -> None:
    scene = crash_loop(stack, data=data, scale=1.0)
    scene.webhook.wait("node-7", "firing")
    assert scene.told() == {"GinkgoNodeOffline", "GinkgoRedisUnreachable"}
    assert scene.webhook.of("", "GinkgoRedisUnreachable")[0] == "firing"


@beside_others
def test_paused_writes_on_valkey_make_nobody_dead(stack: Stack) -> None:
    server = stack.redis(program="valkey-server")
    scene = Scene(stack, server)
    with scene.scraped(), server.client() as client:
        client.execute_command("CLIENT", "PAUSE", round(45_000 * SCALE), "WRITE")
        wait_for(lambda: scene.is_all("undecided"), "for all heartbeats to end")
        wait_for(lambda: scene.is_all("online"), "for all nodes to beat again")
    assert scene.offline == {}
    time.sleep(SETTLED)
    assert scene.told() == set()
    scene.dies("node-0", 50 * SCALE + 2)


@beside_others
def test_paused_writes_on_redis_are_told_as_one_mass_loss(stack: Stack) -> None:
    """Redis 8.0 does not say that writes are paused: living nodes read as dead, and people are told once."""
    server = stack.redis(program="redis-server")
    scene = Scene(stack, server)
    with server.client() as client:
        client.execute_command("CLIENT", "PAUSE", round(90_000 * SCALE), "WRITE")
        wait_for(lambda: scene.is_all("offline"), "for all heartbeats to end")
        wait_for(lambda: scene.is_all("online"), "for all nodes to beat again")
    scene.webhook.wait("", "firing", "resolved", name="GinkgoMassHeartbeatLoss")
    time.sleep(SETTLED)
    assert scene.told() == {"GinkgoMassHeartbeatLoss"}
    assert scene.webhook.of("", name="GinkgoMassHeartbeatLoss") == ["firing", "resolved"]


@beside_others
def test_hung_master_behind_a_replica_makes_nobody_dead(stack: Stack) -> None:
    master = stack.redis(program="redis-server")
    replica = stack.redis("--replicaof", f"127.0.0.1 {master.port}", program="redis-server")
    with replica.client() as client:
        wait_for(lambda: client.info("replication")["master_link_status"] == "up", "for the replica")
    scene = Scene(stack, master, read=replica.port)
    with scene.scraped():
        master.pause()
        wait_for(lambda: scene.is_all("undecided"), "for all heartbeats to end")
        time.sleep(2 * TTL)
        master.resume()
        wait_for(lambda: scene.is_all("online"), "for all nodes to beat again")
    assert scene.offline == {}
    time.sleep(SETTLED)
    assert scene.told() == set()
    scene.dies("node-0", 50 * SCALE + 2)


@beside_others
def test_node_that_died_before_all_data_were_deleted_keeps_its_page(stack: Stack) -> None:
    server = stack.redis()
    scene = Scene(stack, server)
    scene.dies("node-0", GRACE + 2)
    with server.client() as client:
        client.flushall()
    wait_for(lambda: scene.states().get("online") == len(FLEET) - 1, "for the others to beat again")
    time.sleep(SETTLED)
    assert scene.webhook.of("node-0") == ["firing"]
    assert scene.states()["offline"] == 1


@beside_others
def test_node_that_dies_as_all_data_are_deleted_is_paged(stack: Stack) -> None:
    server = stack.redis()
    scene = Scene(stack, server)
    scene.nodes.crash("node-0")
    with server.client() as client:
        client.flushall()
    scene.webhook.wait("node-0", "firing", patience=GRACE + 5)
    assert scene.told() == {"GinkgoNodeOffline"}


@beside_others
def test_node_that_stops_after_all_data_were_deleted_is_no_death(stack: Stack) -> None:
    server = stack.redis()
    scene = Scene(stack, server)
    with server.client() as client:
        client.flushall()
    wait_for(lambda: scene.is_all("online"), "for all nodes to beat again")
    scene.nodes.stop_gracefully("node-0")
    time.sleep(GRACE + SETTLED)
    assert scene.told() == set()
    assert scene.states()["offline"] == 0


@beside_others
def test_exporter_that_was_suspended_calls_nobody_dead(stack: Stack) -> None:
    scene = Scene(stack, stack.redis())
    with scene.scraped():
        for seconds in (40 * SCALE, 8.0):
            scene.exporter.send(signal.SIGSTOP)
            time.sleep(seconds)
            scene.exporter.send(signal.SIGCONT)
            wait_for(lambda: scene.is_all("online"), "for all nodes to be online")
    assert scene.offline == {}
    assert scene.told() == set()


@beside_others
def test_deadline_that_is_cut_short_or_persisted_is_the_same_for_scrape_and_push(stack: Stack) -> None:
    server = stack.redis()
    scene = Scene(stack, server)
    with server.client() as client:
        scene.nodes.crash("node-0", "node-1")
        client.pexpire("heartbeat:node:node-0", 300)
        client.persist("heartbeat:node:node-1")
        moved = time.monotonic()
        with scene.scraped():
            wait_for(lambda: {"node-0", "node-1"} <= scene.offline.keys(), "for the scrape")
            scene.webhook.wait("node-0", "firing")
            scene.webhook.wait("node-1", "firing")
        for node in ("node-0", "node-1"):
            assert abs(scene.webhook.at(node) - scene.offline[node]) <= 15 * SCALE + 1
        assert time.monotonic() - moved <= TTL + 3
