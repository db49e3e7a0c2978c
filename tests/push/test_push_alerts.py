"""Labels and annotations of pushed alerts: those that Prometheus gives to the same alert."""

import re

import pytest
import yaml

from exporter.bundled import bundled
from exporter.names import shown_id
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, PUSHED, REDIS_UNREACHABLE, Alert, Texts
from exporter.settings.model import Alertmanager

RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(bundled("alerts/ginkgo.rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def labels(*given: str) -> dict[str, str]:
    return Texts(Alertmanager(label=given).labels).labels(Alert(NODE_OFFLINE, "n", 0.0))


@pytest.mark.parametrize("name", PUSHED)
def test_labels_and_annotations_are_the_rules(name: str) -> None:
    node_id = "n" if name == NODE_OFFLINE else ""
    alert, texts = Alert(name, node_id, 0.0), Texts({"job": "ginkgo-exporter"})
    node = {"node_id": "n"} if node_id else {}
    assert texts.labels(alert) == {
        "alertname": name,
        "job": "ginkgo-exporter",
        "severity": "critical",
        **RULES[name]["labels"],
        **node,
    }
    annotations = texts.annotations(alert)
    assert annotations.keys() == RULES[name]["annotations"].keys()
    for key, text in annotations.items():
        assert text == RULES[name]["annotations"][key].replace("{{ $labels.node_id }}", "n")


@pytest.mark.parametrize("name", PUSHED)
def test_the_rules_of_pushed_alerts_use_nothing_that_the_bridge_cannot_fill_in(name: str) -> None:
    labels = {"alertname", "job", "severity"} | ({"node_id"} if name == NODE_OFFLINE else set())
    for text in (*RULES[name]["annotations"].values(), *RULES[name]["labels"].values()):
        assert "{{" not in re.sub(r"\{\{ \$labels\.(" + "|".join(labels) + r") \}\}", "", text)
    assert "{{" not in "".join(RULES[name]["labels"].values())


def test_job_is_the_scrapes_unless_it_is_given() -> None:
    assert labels()["job"] == "ginkgo-exporter"
    assert labels("cluster=tokyo")["job"] == "ginkgo-exporter"
    assert labels("job=ginkgo")["job"] == "ginkgo"
    assert "job" not in labels("job=")


def test_given_labels_are_added_and_override_severity() -> None:
    assert labels("cluster=tokyo", "severity=page") == {
        "alertname": NODE_OFFLINE,
        "severity": "page",
        "job": "ginkgo-exporter",
        "cluster": "tokyo",
        "node_id": "n",
    }


@pytest.mark.parametrize("name", [MASS_LOSS, REDIS_UNREACHABLE])
def test_an_alert_about_no_node_has_no_node_id(name: str) -> None:
    assert "node_id" not in Texts({}).labels(Alert(name, "", 0.0))


@pytest.mark.parametrize(
    "raw", [b'quote " and \\', b"line\nbreak", b"caf\xc3\xa9", b"\xff\xfe", b"{{ $labels.job }}", b"$1"]
)
def test_any_id_is_a_label_and_stands_in_the_annotations_as_it_is(raw: bytes) -> None:
    node_id = shown_id(raw)
    alert, texts = Alert(NODE_OFFLINE, node_id, 0.0), Texts({"job": "j"})
    assert texts.labels(alert)["node_id"] == node_id
    assert texts.annotations(alert)["summary"] == f"Node {node_id} is offline"
