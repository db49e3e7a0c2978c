"""The example configuration for Alertmanager: valid, and it tells the right people the right things."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from alert_rules import ALERTS, alerts
from stack import Alertmanager, Labels

from servers import wait_for

EXAMPLE = ALERTS / "alertmanager.example.yml"
RECEIVERS = {"critical": "pager", "warning": "tickets", "info": "chat"}


@pytest.mark.server("amtool")
def test_amtool_accepts_it() -> None:
    run = _amtool("check-config", str(EXAMPLE))
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.server("amtool")
@pytest.mark.parametrize("name", alerts())
def test_each_alert_goes_to_the_receiver_of_its_severity(name: str) -> None:
    severity = alerts()[name]["labels"]["severity"]
    receiver = "dead-mans-switch" if name == "Watchdog" else RECEIVERS[severity]
    labels = (f"alertname={name}", f"severity={severity}", "node_id=n1")
    run = _amtool("config", "routes", "test", f"--config.file={EXAMPLE}", f"--verify.receivers={receiver}", *labels)
    assert run.returncode == 0, run.stdout + run.stderr


def test_each_offline_node_is_a_group_of_its_own_that_waits_no_longer_than_the_pushed_alert_is_old() -> None:
    route = next(route for route in _config()["route"]["routes"] if "GinkgoNodeOffline" in str(route["matchers"]))
    assert route["group_by"][:2] == ["alertname", "node_id"]
    assert route["group_wait"] == "5s"


SYMPTOMS = {
    *("GinkgoNodeFlapping", "GinkgoHeartbeatLate", "GinkgoNodeZombie", "GinkgoNodeStalled"),
    *("GinkgoBackpressureSpike", "GinkgoBackpressureHigh", "GinkgoQueueGrowing"),
}
OF_ONE_CAUSE = {*SYMPTOMS, "GinkgoNodeOffline", "GinkgoNodesDisappeared", "GinkgoPortfolioImbalance"}
ABOUT_NODES = {
    *(*OF_ONE_CAUSE, "GinkgoEventsDropped", "GinkgoNoNodes"),
    *("GinkgoMassHeartbeatLoss", "GinkgoAllNodesOffline"),
}
HELD_BACK = {
    "GinkgoRedisUnreachable": ABOUT_NODES,
    "GinkgoExporterDown": ABOUT_NODES,
    "GinkgoMassHeartbeatLoss": OF_ONE_CAUSE,
    "GinkgoAllNodesOffline": OF_ONE_CAUSE,
    "GinkgoNoNodes": {"GinkgoNodesDisappeared"},
    "GinkgoNodeOffline": SYMPTOMS,
    "GinkgoEventsDropped": {"GinkgoBackpressureSpike", "GinkgoBackpressureHigh"},
}


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Alertmanager with the example's routes and inhibition, and receivers that tell nobody."""
    config = _config()
    config["receivers"] = [{"name": receiver["name"]} for receiver in config["receivers"]]
    del config["global"]
    server = Alertmanager(tmp_path_factory.mktemp("alertmanager"), config)
    yield server
    server.stop()


@pytest.mark.server("prometheus-alertmanager")
def test_each_alert_holds_back_these_and_no_others(alertmanager: Alertmanager) -> None:
    # Each pair of alerts is alone in a cluster of its own.
    pairs = [(source, target) for source in alerts() for target in alerts() if source != target]
    fired = [
        _labels(name, cluster=f"{source} and {target}", which=which)
        for source, target in pairs
        for name, which in ((source, "source"), (target, "target"))
    ]
    held_back = [(source, target) for source, targets in HELD_BACK.items() for target in targets if source != target]
    alertmanager.post(fired)
    wait_for(lambda: len(_inhibited(alertmanager)) >= len(held_back), "for Alertmanager to hold back alerts")
    assert {cluster for cluster in _inhibited(alertmanager) if " and " in cluster} == {
        f"{source} and {target}" for source, target in held_back
    }


@pytest.mark.server("prometheus-alertmanager")
def test_an_alert_holds_back_nothing_of_another_node_or_another_installation(alertmanager: Alertmanager) -> None:
    fired = [
        _labels("GinkgoNodeOffline", cluster="a", which="source"),
        {**_labels("GinkgoBackpressureHigh", cluster="a"), "node_id": "n2"},
        _labels("GinkgoBackpressureHigh", cluster="b"),
        {**_labels("GinkgoNodeOffline", cluster="c", which="source"), "job": "another"},
        _labels("GinkgoBackpressureHigh", cluster="c"),
        _labels("GinkgoRedisUnreachable", cluster="d", which="source"),
        {**_labels("GinkgoNodeOffline", cluster="d"), "environment": "test"},
        {**_labels("GinkgoNodeOffline", cluster="d"), "namespace": "test"},
        _labels("GinkgoNodeOffline", cluster="e, held back"),
        _labels("GinkgoRedisUnreachable", cluster="e, held back", which="source"),
    ]
    alertmanager.post(fired)
    wait_for(lambda: "e, held back" in _inhibited(alertmanager), "for Alertmanager to hold back an alert")
    assert _inhibited(alertmanager).isdisjoint("abcd")


def _inhibited(alertmanager: Alertmanager) -> set[str]:
    """Return the clusters whose target is held back."""
    return {
        alert["labels"]["cluster"]
        for alert in alertmanager.alerts()
        if alert["status"]["inhibitedBy"] and alert["labels"]["which"] == "target"
    }


def _labels(name: str, cluster: str, which: str = "target") -> Labels:
    labels = {"alertname": name, "job": "ginkgo-exporter", "cluster": cluster, "which": which}
    if "node_id" in str(alerts()[name]["annotations"]):
        labels["node_id"] = "n1"
    return labels | alerts()[name]["labels"]


def _config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return loaded


def _amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)
