"""The chart's rules are those of alerts/, changed as values say, and pushed alerts have the same labels."""

import copy
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import CHART, ROOT, config_of, one, render, secret_of

from exporter import settings
from exporter.alerting_rules.rules import rules_text, template, usual
from exporter.push.alerts import PUSHED, Alert, AlertTexts
from helm.sync import threshold_rows

Object = dict[str, Any]

RULES = {"prometheusRule": {"enabled": True}}
SOURCE = [
    # The chart has rules evaluated every 15 s, unless their group has an interval of its own.
    {"interval": "15s"} | group
    for group in yaml.safe_load((ROOT / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8"))["groups"]
]

pytestmark = pytest.mark.server("promtool")


def groups(values: Object | None = None) -> list[Object]:
    found: list[Object] = one(render(RULES | (values or {})), "PrometheusRule")["spec"]["groups"]
    return found


def alerts(groups: list[Object]) -> dict[str, Object]:
    return {r["alert"]: r for g in groups for r in g["rules"] if "alert" in r}


def promtool(*arguments: object) -> str:
    """Run promtool and return "", or what it says if it fails."""
    command = ["promtool", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    return run.stdout + run.stderr if run.returncode else ""


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_without_changes_the_rules_are_those_of_the_project_and_pass_their_tests(tmp_path: Path) -> None:
    assert groups() == SOURCE
    shutil.copytree(ROOT / "alerts", tmp_path / "alerts")
    write(tmp_path / "alerts" / "ginkgo.rules.yml", {"groups": groups()})
    tests = [t for t in sorted((tmp_path / "alerts" / "tests").glob("*.test.yml")) if ".long." not in t.name]
    assert tests
    assert promtool("test", "rules", *tests) == ""


def test_an_interval_holds_for_all_groups_without_one_of_their_own() -> None:
    own = {group["name"]: group["interval"] for group in SOURCE if group["interval"] != "15s"}
    made = groups({"prometheusRule": {"enabled": True, "interval": ""}})
    assert {group["name"]: group["interval"] for group in made if "interval" in group} == own != {}
    every = {group["interval"] for group in groups({"prometheusRule": {"enabled": True, "interval": "10s"}})}
    assert every == {"10s", *own.values()}


def test_promtool_accepts_the_rules_of_each_values_file(tmp_path: Path) -> None:
    for path in sorted((CHART / "ci").glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        alone = "soleWriter" in values.get("alertmanager", {})
        made = one(render(RULES if alone else values | RULES), "PrometheusRule")["spec"]
        assert promtool("check", "rules", write(tmp_path / "rules.yml", made)) == "", path.name


def test_a_change_reaches_its_alert_and_no_other() -> None:
    summary = "{{ $labels.node_id }} is filling up"
    texts = alerts(SOURCE)["GinkgoQueueGrowing"]["annotations"]
    for change, expected in (
        ({"severity": "info"}, {"labels": {"severity": "info"}}),
        ({"for": "7m"}, {"for": "7m"}),
        ({"keepFiringFor": "9m"}, {"keep_firing_for": "9m"}),
        ({"expr": "vector(0) == 1"}, {"expr": "vector(0) == 1"}),
        ({"labels": {"channel": "queues"}}, {"labels": {"severity": "warning", "channel": "queues"}}),
        ({"annotations": {"summary": summary}}, {"annotations": texts | {"summary": summary}}),
        ({"enabled": False}, None),
    ):
        made, before = alerts(groups({"alerts": {"rules": {"GinkgoQueueGrowing": change}}})), alerts(SOURCE)
        old = before.pop("GinkgoQueueGrowing")
        assert made.pop("GinkgoQueueGrowing", None) == (None if expected is None else old | expected), change
        assert made == before, change


THRESHOLDS = template()["thresholds"]
CHANGED = {
    "labels": {"team": "trading"},
    "selectors": ['cluster="tokyo: # 1"', 'environment=~"live|paper"'],
}
CHANGES = {"severity": "critical", "labels": {"a": "b"}, "for": "20m"}
EQUAL: list[tuple[Object, Object]] = [
    (
        {
            "alerts": {
                "rules": {
                    alert: {"thresholds": {name: float(n) + 0.5 for a, name, n in threshold_rows() if a == alert}}
                    for alert in THRESHOLDS
                }
            }
        },
        {
            "alerts": {
                alert: {"thresholds": {name: usual(each) + 0.5 for name, each in known.items()}}
                for alert, known in THRESHOLDS.items()
            }
        },
    ),
    (
        {
            "alerts": CHANGED
            | {
                "queueLength": 2300,
                "dashboardUrlPrefix": "https://grafana.example",
                "runbookUrlPrefix": "https://wiki.example/",
                "rules": {
                    "GinkgoWatchdog": {"enabled": False},
                    "GinkgoNodeDeaf": CHANGES | {"keepFiringFor": "3m"},
                    "GinkgoNodeStalled": {"thresholds": {"queueSize": 777}},
                },
            }
        },
        CHANGED
        | {
            "queue-length": 2300,
            "links": {
                "dashboards": "https://grafana.example",
                "runbooks": "https://wiki.example",
                "runbook-ending": ".md",
            },
            "alerts": {
                "GinkgoWatchdog": {"enabled": False},
                "GinkgoNodeDeaf": CHANGES | {"keep-firing-for": "3m"},
                "GinkgoNodeStalled": {"thresholds": {"queue-size": 777}},
            },
        },
    ),
    ({"externalUrl": "https://ginkgo.example/"}, {"links": {"runbooks": "https://ginkgo.example/runbooks"}}),
]
"""Values of the chart, and the settings of `ginkgo-exporter rules` that say the same."""


def test_the_chart_and_the_command_make_the_same_rules(tmp_path: Path) -> None:
    for values, tree in EQUAL:
        expected = rules_text(write(tmp_path / "settings.yml", {"scrape-interval": "15s"} | tree))
        assert groups(values) == yaml.safe_load(expected)["groups"], tree


def test_the_exporter_is_told_what_a_mass_loss_is_and_the_rules_do_not_define_it(tmp_path: Path) -> None:
    file = write(tmp_path / "config.yaml", {"mass-loss": config_of(render())["mass-loss"]})
    told, usual_one = (settings.load(flags).mass_loss for flags in ({"config.file": str(file)}, {}))
    assert (told.nodes, told.ratio, told.many) == (usual_one.nodes, usual_one.ratio, usual_one.many)
    for push in ({}, {"alertmanager": {"urls": ["http://a"]}}):
        changed = {"massLoss": {"nodes": 5, "ratio": 0.4, "many": 50}}
        assert config_of(render(changed | push))["mass-loss"] == changed["massLoss"]
    assert groups({"massLoss": {"nodes": 7, "ratio": 0.4}}) == SOURCE


# --- alerts that are pushed too --- ----------------------------------------------------------


def target_labels(made: list[Object]) -> dict[str, str]:
    """Return the labels that the Prometheus operator's configuration gives to the target.

    The source is https://prometheus-operator.dev/docs/developer/scrapeconfig/ and
    the operator's own relabelling. It adds namespace, pod, container and endpoint,
    for a ServiceMonitor the service, and the job from jobLabel. Then it applies the
    user's rules.
    """
    pod = one(made, "Deployment")["spec"]["template"]
    labels = {
        "namespace": one(made, "Deployment")["metadata"]["namespace"],
        "pod": "a-pod",
        "container": pod["spec"]["containers"][0]["name"],
        "instance": "10.0.0.1:19121",
    }
    for monitor in (o for o in made if o["kind"] in ("ServiceMonitor", "PodMonitor")):
        spec = monitor["spec"]
        (endpoint,) = spec.get("endpoints") or spec.get("podMetricsEndpoints")
        labels["endpoint"] = endpoint["port"]
        if monitor["kind"] == "ServiceMonitor":
            service = one(made, "Service")["metadata"]
            labels |= {"service": service["name"], "job": service["labels"][spec["jobLabel"]]}
        else:
            labels["job"] = pod["metadata"]["labels"][spec["jobLabel"]]
        for rule in endpoint.get("relabelings", []):
            assert rule.keys() <= {"action", "targetLabel", "replacement"}, "only constant labels are modelled"
            labels[rule["targetLabel"]] = rule["replacement"]
    return labels


def series(name: str, values: str, labels: dict[str, str]) -> Object:
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{pairs}}}", "values": values}


def pushed(made: list[Object], folder: Path, name: str, subject: str = "") -> Object:
    """Return an alert that the exporter pushes with the rendered configuration, in the form of promtool's tests."""
    config = config_of(made)["alertmanager"]
    assert config["rules-file"] == "/etc/ginkgo-exporter/config/rules.yaml"
    rules = folder / "pushed.yaml"
    rules.write_bytes(secret_of(made)["rules.yaml"])
    texts = AlertTexts(settings.load({"alertmanager.label": config["label"]}).alertmanager.labels, rules)
    alert = Alert(name, subject, 0.0, 0.0, 0.0)
    labels = texts.labels(alert)
    assert labels.pop("alertname") == name
    return {"exp_labels": labels, "exp_annotations": texts.annotations(alert)}


MONITORS: list[Object] = [
    {"serviceMonitor": {"enabled": True}},
    {"podMonitor": {"enabled": True, "relabelings": [{"targetLabel": "environment", "replacement": "production"}]}},
]
PUSH_CHANGES: list[Object] = [
    {},
    {"runbookUrlPrefix": "https://wiki.example.org", "dashboardUrlPrefix": "https://grafana.example.org"},
    {"pushed": {"severity": "warning", "labels": {"channel": "nodes", "team": "nodes"}}, "labels": {"team": "a"}},
]


def compared(monitor: Object, change: Object, folder: Path, extra: Object) -> str:
    """Return how pushed alerts differ from the alerts of the rules, by promtool; "" if they are the same."""
    relabelled = {r["targetLabel"]: r["replacement"] for m in monitor.values() for r in m.get("relabelings", [])}
    alertmanager = {"urls": ["http://alertmanager:9093"], "labels": {"cluster": "tokyo", **relabelled}}
    made = render(RULES | monitor | {"alertmanager": alertmanager, "alerts": copy.deepcopy(change)}, name="other")
    target = target_labels(made)
    assert target["job"] == "ginkgo-exporter"
    up = [series("ginkgo_redis_up", "1x40 0x20", target)]
    up += [series("ginkgo_node_up", "1x20 0x20 stale", target | {"node_id": str(n)}) for n in range(7)]
    up += [
        series("ginkgo_node_mass_lost", "_x20 1x20 stale", target | {"node_id": str(n), "loss": "4"})
        for n in range(4, 7)
    ]
    up.append(series("ginkgo_redis_writes_refused", "0x20 1x20 stale", target))
    expected = []
    for name, minutes, subjects in (
        ("GinkgoMassHeartbeatLoss", 6, ["4"]),
        ("GinkgoNodeOffline", 6, [str(number) for number in range(4)]),
        ("GinkgoRedisWritesRefused", 6, [""]),
        ("GinkgoRedisUnreachable", 15, [""]),
    ):
        exp_alerts = [pushed(made, folder, name, subject) for subject in subjects]
        for alert in exp_alerts:
            # Prometheus adds its external labels when it sends.
            assert alert["exp_labels"].pop("cluster") == "tokyo"
        expected.append({"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": exp_alerts})
    spec = copy.deepcopy(one(made, "PrometheusRule")["spec"])
    alerts(spec["groups"])["GinkgoRedisUnreachable"]["labels"] |= extra
    test = {
        "rule_files": [write(folder / "rules.yml", spec).name],
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": up, "alert_rule_test": expected}],
    }
    return promtool("test", "rules", write(folder / "test.yml", test))


def test_a_pushed_alert_and_its_rule_have_equal_labels_texts_and_links(tmp_path: Path) -> None:
    for monitor, change in itertools.product(MONITORS, PUSH_CHANGES):
        assert compared(monitor, change, tmp_path, {}) == "", (monitor, change)
    assert 'extra="label"' in compared(MONITORS[0], {}, tmp_path, {"extra": "label"})


def test_an_empty_label_removes_a_label_from_the_push() -> None:
    push = {"urls": ["http://a"], "labels": {"service": ""}}
    config = config_of(render({"serviceMonitor": {"enabled": True}, "alertmanager": push}))
    assert config["alertmanager"]["label"] == ["job=ginkgo-exporter", "namespace=trading"]


def test_the_chart_knows_which_alerts_are_pushed() -> None:
    helper = (CHART / "templates" / "_rules.tpl").read_text(encoding="utf-8")
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert "list " + " ".join(f'"{name}"' for name in PUSHED) in helper
    assert set(schema["properties"]["alerts"]["properties"]["rules"]["properties"]) == set(PUSHED)
