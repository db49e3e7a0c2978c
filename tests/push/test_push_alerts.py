"""Labels and annotations of pushed alerts: those that Prometheus gives to the same alert."""

import re
from pathlib import Path

import pytest
import yaml

from exporter.bundled import bundled
from exporter.errors import SettingsError
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, PUSHED, REDIS_UNREACHABLE, Alert, AlertTexts
from exporter.push.rules import COUNT, VALUE
from exporter.settings import Alertmanager
from exporter.source.names import shown_id

RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(bundled("alerts/ginkgo.rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def labels(*given: str) -> dict[str, str]:
    return AlertTexts(Alertmanager(label=given).labels).labels(Alert(NODE_OFFLINE, "n", 0.0))


@pytest.mark.parametrize("name", PUSHED)
def test_labels_and_annotations_are_the_rules(name: str) -> None:
    node_id = "n" if name == NODE_OFFLINE else ""
    alert, texts = Alert(name, node_id, 0.0), AlertTexts({"job": "ginkgo-exporter"})
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
        told = RULES[name]["annotations"][key].partition("{{- if")[0].rstrip()
        assert text == told.replace("{{ $labels.node_id }}", "n").replace("{{ $labels.loss }}", "")


def test_the_number_of_planned_portfolios_is_told_if_there_are_any() -> None:
    texts = AlertTexts({})
    some = texts.annotations(Alert(NODE_OFFLINE, "n", 0.0, value=3))["description"]
    none = texts.annotations(Alert(NODE_OFFLINE, "n", 0.0, value=0))["description"]
    assert some == f"{none} Portfolios that the plan gives to it: 3."
    assert "{{" not in some


@pytest.mark.parametrize("name", PUSHED)
def test_the_rules_of_pushed_alerts_use_nothing_that_the_bridge_cannot_fill_in(name: str) -> None:
    labels = {"alertname", "job", "severity", "loss"} | ({"node_id"} if name == NODE_OFFLINE else set())
    for text in (*RULES[name]["annotations"].values(), *RULES[name]["labels"].values()):
        plain = COUNT.sub(lambda part: part[1].replace(VALUE, ""), text) if name == NODE_OFFLINE else text
        assert "{{" not in re.sub(r"\{\{ \$labels\.(" + "|".join(labels) + r") \}\}", "", plain)
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
    assert "node_id" not in AlertTexts({}).labels(Alert(name, "", 0.0))


@pytest.mark.parametrize(
    "raw", [b'quote " and \\', b"line\nbreak", b"caf\xc3\xa9", b"\xff\xfe", b"{{ $labels.job }}", b"$1"]
)
def test_any_id_is_a_label_and_stands_in_the_annotations_as_it_is(raw: bytes) -> None:
    node_id = shown_id(raw)
    alert, texts = Alert(NODE_OFFLINE, node_id, 0.0), AlertTexts({"job": "j"})
    assert texts.labels(alert)["node_id"] == node_id
    assert texts.annotations(alert)["summary"] == f"Node {node_id} went offline"


def changed_rules(folder: Path, old: str, new: str, *, as_object: bool = False) -> Path:
    """Return the bundled rules with one text replaced, as a file of rules or as a PrometheusRule."""
    text = bundled("alerts/ginkgo.rules.yml").read_text(encoding="utf-8")
    assert old in text
    content = yaml.safe_load(text.replace(old, new))
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump({"kind": "PrometheusRule", "spec": content} if as_object else content))
    return file


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize("name", PUSHED)
def test_links_that_the_operator_changed_in_the_rules_are_pushed(name: str, *, as_object: bool, tmp_path: Path) -> None:
    old = "https://github.com/ginkgo-trading/ginkgo-exporter/blob/main/alerts/runbooks/"
    rules = changed_rules(tmp_path, old, "https://wiki.example.org/", as_object=as_object)
    pushed = AlertTexts({}, rules).annotations(Alert(name, "n" if name == NODE_OFFLINE else "", 0.0))
    assert pushed["runbook_url"] == f"https://wiki.example.org/{name}.md"
    assert pushed["dashboard_url"] == RULES[name]["annotations"]["dashboard_url"]


def test_a_label_that_the_operator_added_to_the_rule_is_pushed(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    content = [{"alert": name, "expr": "vector(1)", "labels": {"team": "trading"}} for name in PUSHED]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "own", "rules": content}]}))
    assert AlertTexts({}, rules).labels(Alert(NODE_OFFLINE, "n", 0.0))["team"] == "trading"


def rules_with(of_node_offline: str) -> str:
    """Return rules of all pushed alerts, the one of GinkgoNodeOffline with something more."""
    others = ", ".join(f"{{alert: {name}}}" for name in PUSHED if name != NODE_OFFLINE)
    return f"groups: [{{rules: [{others}, {{alert: {NODE_OFFLINE}, {of_node_offline}}}]}}]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: []", "it has no alert GinkgoNodeOffline"),
        ("[]", "it is not a file of Prometheus rules"),
        ("groups: [{rules: 1}]", "it is not a file of Prometheus rules"),
        ("", "it is not a file of Prometheus rules"),
        (
            rules_with("labels: {a: 1}"),
            "GinkgoNodeOffline: its labels are not texts",
        ),
        (
            rules_with("annotations: {summary: '{{- if gt $value 0.0 }}{{ $value | humanize }}{{ end }}'}"),
            "GinkgoNodeOffline: summary: a pushed alert can't fill in this template",
        ),
        (
            rules_with("annotations: {summary: '{{ $value }}'}"),
            "GinkgoNodeOffline: summary: a pushed alert can't fill in this template",
        ),
        (
            rules_with("labels: {a: '{{ $labels.node_id }}'}"),
            "GinkgoNodeOffline: a: a pushed alert can't fill in this template",
        ),
        ("a: [", "while parsing"),
    ],
)
def test_rules_that_cannot_be_pushed_are_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(text)
    with pytest.raises(SettingsError) as refused:
        AlertTexts({}, rules)
    assert str(refused.value).startswith(f"--alertmanager.rules-file: {said}")
    assert "\n" not in str(refused.value)


def test_with_an_external_url_alerts_link_to_the_exporters_own_runbooks() -> None:
    texts = AlertTexts({}, None, "https://exporter.example/ginkgo")
    hostile = 'n 1&x="><script>/..'

    def link(name: str, node_id: str = "") -> str:
        return texts.annotations(Alert(name, node_id, 0.0))["runbook_url"]

    own = "https://exporter.example/ginkgo/runbooks"
    assert link(MASS_LOSS) == f"{own}/GinkgoMassHeartbeatLoss"
    assert link(NODE_OFFLINE, "n1") == f"{own}/GinkgoNodeOffline?node_id=n1"
    assert link(NODE_OFFLINE, hostile) == f"{own}/GinkgoNodeOffline?node_id=n%201%26x%3D%22%3E%3Cscript%3E%2F.."
    assert link(NODE_OFFLINE, "n" * 5000) == f"{own}/GinkgoNodeOffline"
