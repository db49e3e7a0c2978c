"""The example configuration for Alertmanager is valid, and sends each alert to the right receiver."""

import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_rules import ALERTS, alerts, severities

from lab.monitoring import Alertmanager, Labels, Webhook, ask
from lab.servers import binary, wait_for

EXAMPLE = ALERTS / "alertmanager.example.yml"
AT_ANY_TIME = {
    *("GinkgoNoNodes", "GinkgoRedisMemoryHigh", "GinkgoExporterDegraded", "GinkgoPushFailing"),
    *("GinkgoTaskTimerTwice", "GinkgoWorkersGone", "GinkgoPlanFlapping"),
}
"""Tickets that do not wait for the market to open."""
RECEIVERS = {"critical": "pager", "warning": "tickets", "info": "chat", "none": "dead-mans-switch"}


@pytest.mark.server("amtool")
def test_amtool_accepts_the_example_and_each_alert_goes_to_the_receiver_of_its_severity() -> None:
    assert _amtool("check-config", str(EXAMPLE)).returncode == 0
    fired = [(name, severity) for name in alerts() for severity in severities(name)]
    for name, severity in (*fired, ("GinkgoTestPage", "critical")):
        labels = (f"alertname={name}", f"severity={severity}", "node_id=n1")
        receiver = f"--verify.receivers={RECEIVERS[severity]}"
        run = _amtool("config", "routes", "test", f"--config.file={EXAMPLE}", receiver, *labels)
        assert run.returncode == 0, (name, run.stdout + run.stderr)


def test_each_offline_node_each_mass_loss_and_each_test_is_a_group_of_its_own() -> None:
    routes = {str(route["matchers"]): route for route in _config()["route"]["routes"]}
    offline, pages = routes["['alertname = GinkgoNodeOffline']"], routes["['severity = critical']"]
    assert (offline["group_by"][:2], offline["group_wait"]) == (["alertname", "node_id"], "0s")
    assert pages["group_by"][:3] == ["alertname", "loss", "test_id"]


SYMPTOMS = {
    *("GinkgoNodeFlapping", "GinkgoHeartbeatLate", "GinkgoNodeZombie", "GinkgoNodeStalled"),
    *("GinkgoNodePaused", "GinkgoNodeDeaf"),
    *("GinkgoBackpressureSpike", "GinkgoBackpressureHigh", "GinkgoQueueGrowing"),
}
OF_ALL_NODES = {"GinkgoNodesDisappeared", "GinkgoNodesMissing", "GinkgoPortfolioImbalance"}
HELD_BACK = {
    "GinkgoAllNodesOffline": OF_ALL_NODES,
    "GinkgoNoNodes": OF_ALL_NODES,
    "GinkgoNodeOffline": SYMPTOMS,
    "GinkgoEventsDropped": {"GinkgoBackpressureSpike", "GinkgoBackpressureHigh"},
    "GinkgoPlanLost": {"GinkgoPortfoliosUnplanned"},
}
DEATHS = {name for name, rule in alerts().items() if rule["labels"]["severity"] == "critical"} | {"GinkgoNoNodes"}
"""Alerts that report a death, lost events, or that deaths cannot be seen."""


@pytest.mark.server("prometheus-alertmanager")
def test_pages_and_tickets_of_the_night_are_sent_while_the_market_is_closed_and_others_wait(tmp_path: Path) -> None:
    with Webhook() as webhook:
        closed = Alertmanager(tmp_path, _unhurried(webhook, {"name": "market-closed", "time_intervals": [{}]}))
        fired = [_labels(name, cluster=name) | {"severity": level} for name in alerts() for level in severities(name)]
        closed.post(fired)
        at_once = {name for name in alerts() if "critical" in severities(name)} | AT_ANY_TIME | {"GinkgoWatchdog"}
        waiting = alerts().keys() - at_once
        suppressed = r'^alertmanager_notifications_suppressed_total\{reason="mute_time_interval"\} (\d+)'

        def held_back() -> int:
            return sum(map(int, re.findall(suppressed, ask(closed.port, "/metrics"), re.MULTILINE)))

        wait_for(lambda: {alert["labels"]["alertname"] for alert in _firing(webhook)} >= at_once, "for pages")
        wait_for(lambda: held_back() >= len(waiting), "for tickets to be held back")
        told = {alert["labels"]["alertname"] for alert in _firing(webhook)}
        closed.stop()
    assert told == at_once


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """The receiver of all notifications."""
    with Webhook() as webhook:
        yield webhook


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> Iterator[Alertmanager]:
    """Alertmanager with the example's routes and inhibition; all its receivers send to the webhook."""
    config = _config()
    told = {"webhook_configs": [{"url": webhook.url, "send_resolved": True}]}
    config["receivers"] = [{"name": receiver["name"], **told} for receiver in config["receivers"]]
    del config["global"]
    server = Alertmanager(tmp_path_factory.mktemp("alertmanager"), config)
    yield server
    server.stop()


@pytest.mark.server("prometheus-alertmanager")
def test_each_alert_holds_back_these_and_no_others_and_no_death_is_lost(
    alertmanager: Alertmanager, webhook: Webhook
) -> None:
    # Each pair of alerts has a cluster of its own; the source comes first.
    pairs = [(source, target) for source in alerts() for target in alerts() if source != target]
    held_back = {(source, target) for source, targets in HELD_BACK.items() for target in targets}
    alertmanager.post([_labels(source, cluster=f"{source} and {target}", which="source") for source, target in pairs])
    alertmanager.post([_labels(target, cluster=f"{source} and {target}") for source, target in pairs])
    wait_for(lambda: len(_inhibited(alertmanager)) >= len(held_back), "for Alertmanager to hold back alerts")
    assert _inhibited(alertmanager) == {f"{source} and {target}" for source, target in held_back}
    lost = {f"{source} and {target}" for source, target in pairs if target in DEATHS}
    wait_for(lambda: not lost - _told(webhook, DEATHS), "for every death to be told")


@pytest.mark.server("prometheus-alertmanager")
def test_an_alert_holds_back_nothing_of_another_node_or_another_installation(alertmanager: Alertmanager) -> None:
    fired = [
        _labels("GinkgoNodeOffline", cluster="a", which="source"),
        {**_labels("GinkgoBackpressureHigh", cluster="a"), "node_id": "n2"},
        _labels("GinkgoBackpressureHigh", cluster="b"),
        {**_labels("GinkgoNodeOffline", cluster="c", which="source"), "job": "another"},
        _labels("GinkgoBackpressureHigh", cluster="c"),
        _labels("GinkgoNoNodes", cluster="d", which="source"),
        {**_labels("GinkgoNodesMissing", cluster="d"), "environment": "test"},
        {**_labels("GinkgoNodesMissing", cluster="d"), "namespace": "test"},
        _labels("GinkgoNodesMissing", cluster="e, held back"),
        _labels("GinkgoNoNodes", cluster="e, held back", which="source"),
    ]
    alertmanager.post(fired)
    wait_for(lambda: "e, held back" in _inhibited(alertmanager), "for Alertmanager to hold back an alert")
    assert _inhibited(alertmanager).isdisjoint("abcd")


def _unhurried(webhook: Webhook, *intervals: dict[str, Any]) -> dict[str, Any]:
    """Return the example with other time intervals, without waits; all its receivers send to the webhook."""
    config = _config()
    del config["global"]
    told = {"webhook_configs": [{"url": webhook.url, "send_resolved": True}]}
    config["receivers"] = [{"name": receiver["name"], **told} for receiver in config["receivers"]]
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = "0s"
    given = {interval["name"]: interval for interval in intervals}
    config["time_intervals"] = [given.get(each["name"], each) for each in config["time_intervals"]]
    return config


def _firing(webhook: Webhook) -> list[dict[str, Any]]:
    return [notice.alert for notice in list(webhook.notices) if notice.status == "firing"]


def _told(webhook: Webhook, names: Collection[str]) -> set[str]:
    """Return the clusters whose target alert was sent."""
    return {
        alert["labels"]["cluster"]
        for alert in _firing(webhook)
        if alert["labels"].get("which") == "target" and alert["labels"]["alertname"] in names
    }


def _inhibited(alertmanager: Alertmanager) -> set[str]:
    """Return the clusters whose target alert is inhibited."""
    return {
        alert["labels"]["cluster"]
        for alert in alertmanager.alerts()
        if alert["status"]["inhibitedBy"] and alert["labels"]["which"] == "target"
    }


def _labels(name: str, cluster: str, which: str = "target") -> Labels:
    labels = {"alertname": name, "job": "ginkgo-exporter", "cluster": cluster, "which": which}
    if "node_id" in str(alerts()[name]["annotations"]):
        labels["node_id"] = "n1"
    return labels | {"severity": severities(name)[0]}


def _config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return loaded


def _amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary("amtool"), *arguments], capture_output=True, text=True, check=False)
