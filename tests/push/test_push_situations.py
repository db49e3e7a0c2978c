"""What people are told in each situation, end to end: real Redis, Alertmanager and Prometheus, times a tenth.

The scenarios take seconds of waiting each, so all of them run beside each other;
each test waits for its own.
"""

import signal
import threading
import time

import pytest
from push_stack import BEAT, LASTS, RESEND, SETTLED, TTL, Bridging, Nodes, Stack, Webhook, beside_others

from exporter.source.names import shown_id
from lab.nodes import heartbeat_key
from lab.proxy import REFUSES
from lab.servers import wait_for

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.server("prometheus"),
    pytest.mark.server("prometheus-alertmanager"),
]

FLEET = tuple(f"node-{i}" for i in range(8))
STEADY = TTL + BEAT
"""Seconds after a fault of Redis's for which a missing heartbeat proves nothing."""
LONG = 6.0
"""Seconds of an outage that is longer than Redis may be silent (5 s, not scaled)."""


def watched(stack: Stack, **options: float) -> tuple[Webhook, Nodes, Bridging]:
    """Start the plain case: one Redis, one Alertmanager, one exporter, all nodes known."""
    redis, webhook = stack.redis(), stack.webhook()
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook), **options)
    exporter.knows(len(FLEET))
    return webhook, nodes, exporter


def crash_and_recover(webhook: Webhook, nodes: Nodes, node_id: str, crashes: int = 1) -> None:
    """Have a node die and come back, and see that both are told, once."""
    told = [status for _ in range(crashes) for status in ("firing", "resolved")]
    nodes.crash(node_id)
    webhook.wait(node_id, *told[:-1])
    time.sleep(2 * BEAT)
    nodes.recover(node_id)
    webhook.wait(node_id, *told)


def quiet_for(webhook: Webhook, seconds: float) -> None:
    """Wait, and see that nobody was told anything."""
    time.sleep(seconds)
    assert webhook.notices == []


# --- one firing and one resolved for each crash ----------------------------------------------


@beside_others
def test_each_of_two_crashes_is_told_once_beside_prometheus(stack: Stack) -> None:
    # The second crash falls into the time in which Prometheus repeats that the first one ended.
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, alertmanager)
    stack.prometheus([exporter], alertmanager)
    exporter.knows(len(FLEET))
    crash_and_recover(webhook, nodes, "node-1")
    time.sleep(RESEND)
    nodes.crash("node-1")
    webhook.wait("node-1", "firing", "resolved", "firing")
    time.sleep(2 * RESEND)
    nodes.recover("node-1")
    webhook.wait("node-1", "firing", "resolved", "firing", "resolved")
    time.sleep(SETTLED)
    assert webhook.of("node-1") == ["firing", "resolved"] * 2
    assert {notice.labels["job"] for notice in webhook.notices if notice.about[0] == "GinkgoNodeOffline"} == {
        "ginkgo-exporter"
    }


@beside_others
def test_a_crash_is_told_once_when_the_node_recovers_while_prometheus_is_down(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, alertmanager)
    prometheus = stack.prometheus([exporter], alertmanager)
    exporter.knows(len(FLEET))
    nodes.crash("node-1")
    webhook.wait("node-1", "firing")
    wait_for(lambda: "node-1" in prometheus.offline(), "for the rule to fire too")
    time.sleep(2)
    prometheus.process.stop(signal.SIGKILL)
    nodes.recover("node-1")
    time.sleep(3)
    prometheus.start()
    webhook.wait("node-1", "firing", "resolved")
    time.sleep(SETTLED)
    assert webhook.of("node-1") == ["firing", "resolved"]


@beside_others
def test_a_crash_is_told_once_when_the_bridge_is_killed_and_restarted(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, alertmanager)
    exporter.knows(len(FLEET))
    nodes.crash("node-1")
    webhook.wait("node-1", "firing")
    exporter.kill()
    nodes.crash("node-2")  # nobody watches
    time.sleep(TTL + 1)
    assert webhook.of("node-2") == []
    stack.exporter(redis.port, alertmanager)
    webhook.wait("node-2", "firing")
    time.sleep(LASTS + 2)  # longer than the killed bridge's posts last
    assert webhook.of("node-1") == webhook.of("node-2") == ["firing"]
    nodes.recover("node-1", "node-2")
    webhook.wait("node-1", "firing", "resolved")
    webhook.wait("node-2", "firing", "resolved")


@beside_others
def test_a_crash_is_told_once_when_alertmanager_is_killed_and_restarted(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, alertmanager)
    exporter.knows(len(FLEET))
    nodes.crash("node-1")
    webhook.wait("node-1", "firing")
    time.sleep(1.5)  # its notification log is saved by now
    alertmanager.process.stop(signal.SIGKILL)
    time.sleep(2)
    alertmanager.start()
    back = time.monotonic()
    wait_for(lambda: [alert["labels"]["node_id"] for alert in alertmanager.alerts()] == ["node-1"], "for it to know")
    assert time.monotonic() - back < 5
    time.sleep(LASTS)
    assert webhook.of("node-1") == ["firing"]
    nodes.recover("node-1")
    webhook.wait("node-1", "firing", "resolved")


@beside_others
def test_a_crash_is_told_once_by_two_replicas(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    for exporter in [stack.exporter(redis.port, alertmanager) for _ in range(2)]:
        exporter.knows(len(FLEET))
    crash_and_recover(webhook, nodes, "node-1")
    time.sleep(SETTLED)
    assert webhook.of("node-1") == ["firing", "resolved"]


@beside_others
def test_a_crash_is_told_once_with_the_clock_an_hour_behind(stack: Stack) -> None:
    webhook, nodes, _ = watched(stack, clock_off=-3600)
    crash_and_recover(webhook, nodes, "node-1")


@beside_others
def test_a_crash_is_told_once_with_the_clock_an_hour_ahead(stack: Stack) -> None:
    webhook, nodes, _ = watched(stack, clock_off=3600)
    crash_and_recover(webhook, nodes, "node-1")


@beside_others
def test_a_replica_that_lost_redis_does_not_keep_a_recovered_node_firing(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    proxy = stack.proxy(redis.port)
    exporters = [stack.exporter(redis.port, alertmanager), stack.exporter(proxy.port, alertmanager)]
    stack.prometheus(exporters, alertmanager)
    for exporter in exporters:
        exporter.knows(len(FLEET))
    nodes.crash("node-1")
    webhook.wait("node-1", "firing")
    time.sleep(BEAT)
    proxy.fault = REFUSES  # from now on the second one sees nothing
    proxy.cut()
    nodes.recover("node-1")
    webhook.wait("node-1", "firing", "resolved")
    time.sleep(SETTLED + RESEND)  # Prometheus repeats its resolve
    assert webhook.of("node-1") == ["firing", "resolved"]


@beside_others
def test_a_node_that_is_offline_stays_so_while_redis_is_away(stack: Stack) -> None:
    redis, webhook = stack.redis("--appendonly", "yes", "--appendfsync", "always"), stack.webhook()
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    nodes.crash("node-1")
    webhook.wait("node-1", "firing")
    redis.kill()
    time.sleep(LONG)
    redis.start()
    time.sleep(LASTS + STEADY)
    assert webhook.of("node-1") == ["firing"]
    nodes.recover("node-1")
    webhook.wait("node-1", "firing", "resolved")


@beside_others
def test_odd_ids_are_one_alert_with_prometheus_label_for_label(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    odd = (
        b'quote " and \\ backslash',
        b"line\nbreak",
        "caf\u00e9 \u8282".encode(),
        b"bytes \xff\xfe",
        b"a:b {{ $labels.job }}",
    )
    nodes = stack.nodes(redis.port, *FLEET, *odd)
    exporter = stack.exporter(redis.port, alertmanager, flags=("--mass-loss.nodes", "100"))
    prometheus = stack.prometheus([exporter], alertmanager)
    exporter.knows(len(FLEET) + len(odd))
    nodes.crash(*odd)
    shown = set(map(shown_id, odd))
    wait_for(lambda: prometheus.offline().keys() == shown, "for the rule")
    for node_id in shown:
        webhook.wait(node_id, "firing")
    time.sleep(3)  # Prometheus has sent them, too
    listed = [alert["labels"] for alert in alertmanager.alerts() if alert["labels"]["alertname"] == "GinkgoNodeOffline"]
    assert sorted(labels["node_id"] for labels in listed) == sorted(shown)
    assert {node_id: webhook.of(node_id) for node_id in shown} == {node_id: ["firing"] for node_id in shown}
    for notice in webhook.notices:
        if notice.about[0] == "GinkgoNodeOffline":
            assert notice.annotations == prometheus.offline()[notice.about[1]]


@beside_others
def test_a_mass_loss_is_told_as_one(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    many = tuple(f"many-{i}" for i in range(60))
    nodes = stack.nodes(redis.port, *FLEET, *many)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET) + len(many))
    nodes.crash(*many)
    webhook.wait("", "firing", name="GinkgoMassHeartbeatLoss")
    time.sleep(LASTS)
    assert [notice.about for notice in webhook.notices] == [("GinkgoMassHeartbeatLoss", "")]
    assert exporter.metric('ginkgo_bridge_alerts{alertname="GinkgoNodeOffline"}') == 0
    nodes.recover(*many)
    webhook.wait("", "firing", "resolved", name="GinkgoMassHeartbeatLoss")
    time.sleep(SETTLED)
    assert {notice.about for notice in webhook.notices} == {("GinkgoMassHeartbeatLoss", "")}


@beside_others
def test_push_is_inactive_a_minute_after_alertmanager_went_and_active_when_it_is_back(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    exporter = stack.exporter(redis.port, alertmanager)
    posts = f'ginkgo_bridge_posts_total{{alertmanager="{alertmanager.url}",result="%s"}}'
    wait_for(lambda: exporter.metric("ginkgo_bridge_active") == 1, "for a first empty post")
    alertmanager.process.stop(signal.SIGKILL)
    gone = time.monotonic()
    wait_for(lambda: exporter.metric("ginkgo_bridge_active") == 0, "for it to notice", 70)
    assert 40 < time.monotonic() - gone < 65  # the last post was up to 15 s before
    assert exporter.metric(posts % "error") > 1
    taken = exporter.metric(posts % "ok")
    alertmanager.start()
    wait_for(lambda: exporter.metric("ginkgo_bridge_active") == 1, "for it to be back")
    assert exporter.metric(posts % "ok") > taken


# --- nobody is told anything -----------------------------------------------------------------


@beside_others
def test_a_graceful_stop_and_a_quick_restart_tell_nobody(stack: Stack) -> None:
    webhook, nodes, _ = watched(stack)
    nodes.stop_gracefully("node-1")
    for _ in range(5):
        nodes.crash("node-2")
        nodes.recover("node-2")
        time.sleep(BEAT)
    nodes.stop_gracefully("node-3")
    time.sleep(TTL)
    nodes.join_in("node-3")
    quiet_for(webhook, TTL + 2 * BEAT)


@beside_others
def test_redis_that_is_paused_tells_nobody(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    for pause in (2 * BEAT, LONG):  # shorter and longer than it may be silent
        redis.pause()
        time.sleep(pause)
        redis.resume()
        quiet_for(webhook, STEADY + BEAT)


@beside_others
def test_redis_restarted_with_its_data_tells_nobody(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    for down in (0.0, LONG):
        with redis.client() as client:
            client.save()
        redis.kill()
        time.sleep(down)
        redis.start()
        quiet_for(webhook, STEADY + BEAT)


@beside_others
def test_redis_restarted_from_an_old_dump_tells_nobody(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    nodes = stack.nodes(redis.port, *FLEET)
    with redis.client() as client:
        client.save()
    nodes.join_in("joined-later")
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET) + 1)
    time.sleep(TTL + BEAT)  # every heartbeat in the dump has run out
    redis.kill()
    redis.start()
    quiet_for(webhook, STEADY + 2 * BEAT)


@beside_others
def test_redis_restarted_empty_tells_nobody(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    redis.kill()
    redis.start()
    quiet_for(webhook, STEADY + 2 * BEAT)


@beside_others
def test_evicted_heartbeats_tell_nobody(stack: Stack) -> None:
    redis, webhook = stack.redis("--maxmemory-policy", "volatile-ttl", "--maxmemory-samples", "64"), stack.webhook()
    stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    with redis.client() as client:
        for i in range(1000):
            client.set(f"ginkgo_func_cache_{i}", b"x" * 500, ex=1000)
        for _ in range(3):
            evicted = client.info("stats")["evicted_keys"]
            client.config_set("maxmemory", client.info("memory")["used_memory"] - 50_000)
            wait_for(  # what ends first is evicted first
                lambda evicted=evicted: client.info("stats")["evicted_keys"] >= evicted + len(FLEET),  # type: ignore[misc]
                "for all heartbeats to be evicted",
            )
            client.config_set("maxmemory", 0)
            time.sleep(1.5 * BEAT)
    quiet_for(webhook, TTL + BEAT)


@beside_others
def test_a_failover_to_a_replica_tells_nobody(stack: Stack) -> None:
    master, webhook = stack.redis(), stack.webhook()
    replica = stack.redis("--replicaof", "127.0.0.1", str(master.port))
    address = stack.proxy(master.port)  # as a virtual address would
    stack.nodes(address.port, *FLEET)
    exporter = stack.exporter(address.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    with replica.client() as client:
        wait_for(lambda: client.exists(*map(heartbeat_key, FLEET)) == len(FLEET), "for the replica")
        master.kill()
        address.target = replica.port  # which is read only, and its link down, for a while
        address.cut()
        time.sleep(2)
        client.replicaof("NO", "ONE")
    quiet_for(webhook, STEADY + 2 * BEAT)


@beside_others
def test_alertmanager_that_returns_after_the_node_tells_nobody(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, alertmanager)
    exporter.knows(len(FLEET))
    alertmanager.process.stop(signal.SIGKILL)
    nodes.crash("node-1")
    time.sleep(TTL + LONG)
    nodes.recover("node-1")
    time.sleep(2 * BEAT)
    alertmanager.start()
    quiet_for(webhook, 5)


@beside_others
def test_alertmanager_that_hung_is_not_sent_what_is_long_over(stack: Stack) -> None:
    # What is sent to one that hangs waits in its socket and is read when it wakes up.
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, alertmanager)
    exporter.knows(len(FLEET))
    alertmanager.process.send(signal.SIGSTOP)
    nodes.crash("node-1")
    time.sleep(TTL + LASTS + BEAT)
    nodes.recover("node-1")
    time.sleep(2 * BEAT)
    alertmanager.process.send(signal.SIGCONT)
    quiet_for(webhook, 5)


# --- nobody is missed ------------------------------------------------------------------------


@beside_others
def test_a_node_that_dies_while_the_connection_drops_again_and_again_is_told(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    proxy = stack.proxy(redis.port)
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(proxy.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    closed = threading.Event()

    def drop() -> None:
        while not closed.wait(TTL):
            proxy.cut()

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        quiet_for(webhook, 4 * TTL)
        nodes.crash("node-1")
        webhook.wait("node-1", "firing")
        assert webhook.at("node-1") - nodes.deadlines["node-1"] < STEADY
        time.sleep(2 * TTL)
        assert {notice.about for notice in webhook.notices} == {("GinkgoNodeOffline", "node-1")}
    finally:
        closed.set()
        thread.join()


@beside_others
def test_a_node_that_dies_while_redis_is_down_is_told(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    with redis.client() as client:
        client.save()
    redis.kill()
    nodes.crash("node-1")
    time.sleep(LONG)
    redis.start()
    steady = time.monotonic()
    webhook.wait("node-1", "firing")
    assert webhook.at("node-1") - steady < STEADY + 1
    assert {notice.about for notice in webhook.notices} == {("GinkgoNodeOffline", "node-1")}


@beside_others
def test_a_node_that_dies_while_redis_loses_its_data_is_told(stack: Stack) -> None:
    redis, webhook = stack.redis(), stack.webhook()
    nodes = stack.nodes(redis.port, *FLEET)
    exporter = stack.exporter(redis.port, stack.alertmanager(webhook))
    exporter.knows(len(FLEET))
    nodes.crash("node-1")
    redis.kill()
    redis.start()
    steady = time.monotonic()
    webhook.wait("node-1", "firing")
    assert webhook.at("node-1") - steady < STEADY + 1
    time.sleep(2 * BEAT)
    assert {notice.about for notice in webhook.notices} == {("GinkgoNodeOffline", "node-1")}
