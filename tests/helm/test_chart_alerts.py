"""The chart's rules are those of alerts/, changed as values say, and pushed alerts have the same labels."""

import base64
import copy
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import settings
from exporter.alerting_rules.chart import camel
from exporter.alerting_rules.loading import load as load_rule_settings
from exporter.alerting_rules.rule_file import rules_text
from exporter.alerting_rules.thresholds import THRESHOLDS
from exporter.push.alerts import PUSHED, Alert, AlertTexts

Object = dict[str, Any]
Render = Callable[..., list[Object]]

RULES = {"prometheusRule": {"enabled": True}}

pytestmark = pytest.mark.server("promtool")


@pytest.fixture(scope="session")
def source(root: Path) -> list[Object]:
    files = sorted((root / "alerts").glob("*.rules.yml"))
    assert files
    groups = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    # The chart has rules evaluated every 15 s, unless their group has an interval of its own.
    return [{"interval": "15s"} | group for group in groups]


@pytest.fixture(scope="session")
def groups(render: Render, one: Callable[..., Object]) -> Callable[..., list[Object]]:
    def made(values: Object | None = None) -> list[Object]:
        found: list[Object] = one(render(RULES | (values or {})), "PrometheusRule")["spec"]["groups"]
        return found

    return made


def alerts(groups: list[Object]) -> dict[str, Object]:
    return {r["alert"]: r for g in groups for r in g["rules"] if "alert" in r}


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240)


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_without_changes_the_rules_are_those_of_the_project(
    groups: Callable[..., list[Object]], source: list[Object]
) -> None:
    assert groups() == source


def test_an_empty_interval_leaves_the_evaluation_to_prometheus(
    groups: Callable[..., list[Object]], source: list[Object]
) -> None:
    own = {group["name"]: group["interval"] for group in source if group["interval"] != "15s"}
    made = groups({"prometheusRule": {"enabled": True, "interval": ""}})

    assert own
    assert {group["name"]: group["interval"] for group in made if "interval" in group} == own
    assert {group["interval"] for group in groups({"prometheusRule": {"enabled": True, "interval": "10s"}})} == {
        *("10s", *own.values())
    }


def test_templates_of_alerts_survive_helm(groups: Callable[..., list[Object]]) -> None:
    offline = alerts(groups())["GinkgoNodeOffline"]

    assert "{{ $labels.node_id }}" in offline["annotations"]["summary"]


def test_promtool_accepts_the_rules(
    render: Render, one: Callable[..., Object], ci_values: Object, tmp_path: Path
) -> None:
    made = render(ci_values | RULES if "soleWriter" not in ci_values.get("alertmanager", {}) else RULES)
    checked = promtool("check", "rules", write(tmp_path / "rules.yml", one(made, "PrometheusRule")["spec"]))

    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout


@pytest.mark.timeout(300)
def test_the_rules_pass_the_unit_tests_of_the_project(
    groups: Callable[..., list[Object]], root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "alerts"
    shutil.copytree(root / "alerts", folder)
    write(folder / "ginkgo.rules.yml", {"groups": groups()})
    # The long forms run on the source alone. The test above checks that the source and the chart are equal.
    tests = [t for t in sorted((folder / "tests").glob("*.test.yml")) if ".long." not in t.name]
    assert tests

    checked = promtool("test", "rules", *tests)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_an_alert_can_be_switched_off(groups: Callable[..., list[Object]], source: list[Object]) -> None:
    made = alerts(groups({"alerts": {"rules": {"GinkgoNoNodes": {"enabled": False}}}}))

    assert set(alerts(source)) - set(made) == {"GinkgoNoNodes"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"severity": "info"}, {"labels": {"severity": "info"}}),
        ({"for": "7m"}, {"for": "7m"}),
        ({"keepFiringFor": "9m"}, {"keep_firing_for": "9m"}),
        ({"expr": "vector(0) == 1"}, {"expr": "vector(0) == 1"}),
        ({"labels": {"channel": "queues"}}, {"labels": {"severity": "warning", "channel": "queues"}}),
    ],
)
def test_a_change_reaches_its_alert_and_no_other(
    groups: Callable[..., list[Object]], source: list[Object], change: Object, expected: Object
) -> None:
    made = alerts(groups({"alerts": {"rules": {"GinkgoQueueGrowing": change}}}))
    before = alerts(source)

    assert made.pop("GinkgoQueueGrowing") == before.pop("GinkgoQueueGrowing") | expected
    assert made == before


def test_an_annotation_keeps_its_template(groups: Callable[..., list[Object]]) -> None:
    summary = "{{ $labels.node_id }} is filling up"
    made = alerts(groups({"alerts": {"rules": {"GinkgoQueueGrowing": {"annotations": {"summary": summary}}}}}))

    assert made["GinkgoQueueGrowing"]["annotations"]["summary"] == summary
    assert "runbook_url" in made["GinkgoQueueGrowing"]["annotations"]


def test_labels_reach_every_alert(groups: Callable[..., list[Object]]) -> None:
    made = alerts(groups({"alerts": {"labels": {"team": "trading"}}}))

    assert {a["labels"]["team"] for a in made.values()} == {"trading"}


def test_links_lead_to_the_reader_s_own_grafana_and_runbooks(
    groups: Callable[..., list[Object]],
) -> None:
    made = alerts(
        groups(
            {
                "alerts": {
                    "runbookUrlPrefix": "https://wiki.example.org/runbooks/",
                    "dashboardUrlPrefix": "https://grafana.example.org/",
                }
            }
        )
    )
    annotations = made["GinkgoNodeOffline"]["annotations"]

    assert annotations["runbook_url"] == "https://wiki.example.org/runbooks/GinkgoNodeOffline.md"
    assert {a["annotations"]["dashboard_url"].partition("/d/")[0] for a in made.values()} == {
        "https://grafana.example.org"
    }


def all_thresholds(number: Callable[[str], float]) -> tuple[Object, Object]:
    """Return changes of all thresholds, for the chart and for the command."""
    chart: Object = {}
    command: Object = {}
    for alert, named in THRESHOLDS.items():
        numbers = {name: number(each.default) for name, each in named.items()}
        chart[alert] = {"thresholds": {camel(name): value for name, value in numbers.items()}}
        command[alert] = {"thresholds": numbers}
    return chart, command


EQUAL: list[tuple[Object, Object]] = [
    (
        {"rules": all_thresholds(lambda default: float(default) + 0.5)[0]},
        {"scrape-interval": "15s", "alerts": all_thresholds(lambda default: float(default) + 0.5)[1]},
    ),
    (
        {
            "labels": {"team": "trading"},
            "selectors": ['cluster="tokyo: # 1"', 'environment=~"live|paper"'],
            "queueLength": 2300,
            "dashboardUrlPrefix": "https://grafana.example",
            "runbookUrlPrefix": "https://wiki.example",
            "rules": {
                "GinkgoNoNodes": {"enabled": False},
                "GinkgoWatchdog": {"enabled": False},
                "GinkgoNodeDeaf": {"for": "20m", "keepFiringFor": "3m", "severity": "critical", "labels": {"a": "b"}},
                "GinkgoNodeStalled": {"thresholds": {"queueSize": 777}},
            },
        },
        {
            "scrape-interval": "15s",
            "labels": {"team": "trading"},
            "selectors": ['cluster="tokyo: # 1"', 'environment=~"live|paper"'],
            "queue-length": 2300,
            "links": {
                "dashboards": "https://grafana.example",
                "runbooks": "https://wiki.example",
                "runbook-ending": ".md",
            },
            "alerts": {
                "GinkgoNoNodes": {"enabled": False},
                "GinkgoWatchdog": {"enabled": False},
                "GinkgoNodeDeaf": {
                    "for": "20m",
                    "keep-firing-for": "3m",
                    "severity": "critical",
                    "labels": {"a": "b"},
                },
                "GinkgoNodeStalled": {"thresholds": {"queue-size": 777}},
            },
        },
    ),
]
"""Values of the chart, and the settings of `ginkgo-exporter rules` that say the same."""


@pytest.mark.parametrize(("values", "tree"), EQUAL, ids=["each threshold", "two installations"])
def test_the_chart_and_the_command_make_the_same_rules(
    groups: Callable[..., list[Object]], values: Object, tree: Object, tmp_path: Path
) -> None:
    expected = yaml.safe_load(rules_text(load_rule_settings(write(tmp_path / "settings.yml", tree))))

    assert groups({"alerts": values}) == expected["groups"]


def test_with_an_external_url_the_alerts_link_to_the_exporters_runbooks_with_the_node(
    groups: Callable[..., list[Object]], tmp_path: Path
) -> None:
    tree = {"scrape-interval": "15s", "links": {"runbooks": "https://ginkgo.example/runbooks"}}
    expected = yaml.safe_load(rules_text(load_rule_settings(write(tmp_path / "settings.yml", tree))))
    made = groups({"externalUrl": "https://ginkgo.example/"})

    assert made == expected["groups"]
    links = {name: rule["annotations"]["runbook_url"] for name, rule in alerts(made).items()}
    assert links["GinkgoNoNodes"] == "https://ginkgo.example/runbooks/GinkgoNoNodes"
    assert links["GinkgoNodeDeaf"].endswith("/GinkgoNodeDeaf?node_id={{ $labels.node_id | urlquery }}")
    assert links["GinkgoNodeOffline"].endswith("/GinkgoNodeOffline?node_id={{ $labels.node_id }}")


def test_promtool_accepts_the_rules_with_all_thresholds_changed(
    groups: Callable[..., list[Object]], tmp_path: Path
) -> None:
    made = groups({"alerts": EQUAL[0][0]})

    assert promtool("check", "rules", write(tmp_path / "rules.yml", {"groups": made})).returncode == 0


OLD_MASS_LOSS = {"pushed": {"massLoss": {"ratio": 0.5, "nodes": 7, "hold": "20s"}}}


@pytest.mark.parametrize("push", [{}, {"alertmanager": {"urls": ["http://a"]}}], ids=["rules alone", "with push"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"nodes": 3, "ratio": 0.25, "many": 10}),
        ({"massLoss": {"nodes": 5, "ratio": 0.4, "many": 50}}, {"nodes": 5, "ratio": 0.4, "many": 50}),
        ({"massLoss": {"nodes": 5}, "alerts": OLD_MASS_LOSS}, {"nodes": 7, "ratio": 0.5, "many": 10}),
        ({"massLoss": None, "alerts": OLD_MASS_LOSS}, {"nodes": 7, "ratio": 0.5}),
        ({"alerts": {"pushed": {"massLoss": None}}}, {"nodes": 3, "ratio": 0.25, "many": 10}),
    ],
    ids=["by default", "by massLoss", "by the value of 0.1", "by values of 0.1 alone", "without the value of 0.1"],
)
def test_the_exporter_is_told_what_a_mass_loss_is(
    render: Render, one: Callable[..., Object], values: Object, push: Object, expected: Object
) -> None:
    config = yaml.safe_load(base64.b64decode(one(render(values | push), "Secret")["data"]["config.yaml"]))

    assert config["mass-loss"] == expected
    assert not [name for name in config.get("alertmanager", {}) if name.startswith("mass-loss")]


def test_the_exporters_defaults_of_a_mass_loss_are_the_charts(render: Render, one: Callable[..., Object]) -> None:
    config = yaml.safe_load(base64.b64decode(one(render(), "Secret")["data"]["config.yaml"]))

    defaults = settings.load({}).mass_loss
    assert config["mass-loss"] == {name: getattr(defaults, name) for name in ("nodes", "ratio", "many")}


def test_the_rules_do_not_define_a_mass_loss_themselves(
    groups: Callable[..., list[Object]], source: list[Object]
) -> None:
    assert groups({"massLoss": {"nodes": 7, "ratio": 0.4}, "alerts": OLD_MASS_LOSS}) == source


# --- alerts that are pushed too --- ----------------------------------------------------------


def target_labels(made: list[Object], one: Callable[..., Object]) -> dict[str, str]:
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


def pushed(made: list[Object], one: Callable[..., Object], folder: Path, name: str, node_id: str = "") -> Object:
    """Return an alert that the exporter pushes with the rendered configuration, in the form of promtool's tests."""
    secret = one(made, "Secret")["data"]
    config = yaml.safe_load(base64.b64decode(secret["config.yaml"]))["alertmanager"]
    assert config["rules-file"] == "/etc/ginkgo-exporter/config/rules.yaml"
    rules = folder / "pushed.yaml"
    rules.write_bytes(base64.b64decode(secret["rules.yaml"]))
    texts = AlertTexts(settings.load({"alertmanager.label": config["label"]}).alertmanager.labels, rules)
    alert = Alert(name, node_id, began=0.0)
    labels = texts.labels(alert)
    assert labels.pop("alertname") == name
    return {"exp_labels": labels, "exp_annotations": texts.annotations(alert)}


MONITORS: list[Object] = [
    {"serviceMonitor": {"enabled": True}},
    {"podMonitor": {"enabled": True}},
    {
        "podMonitor": {
            "enabled": True,
            "relabelings": [{"targetLabel": "environment", "replacement": "production"}],
        }
    },
]
CHANGES: list[Object] = [
    {},
    {"runbookUrlPrefix": "https://wiki.example.org", "dashboardUrlPrefix": "https://grafana.example.org"},
    {"labels": {"team": "trading"}},
    {
        "pushed": {"severity": "warning", "labels": {"channel": "nodes", "team": "nodes"}},
        "labels": {"team": "a"},
    },
]


@pytest.mark.parametrize("monitor_and_change", list(itertools.product(MONITORS, CHANGES)))
def test_a_pushed_alert_and_its_rule_have_equal_labels_texts_and_links(
    render: Render,
    one: Callable[..., Object],
    monitor_and_change: tuple[Object, Object],
    tmp_path: Path,
) -> None:
    monitor, change = monitor_and_change
    relabelled = {r["targetLabel"]: r["replacement"] for m in monitor.values() for r in m.get("relabelings", [])}
    alertmanager = {"urls": ["http://alertmanager:9093"], "labels": {"cluster": "tokyo", **relabelled}}
    made = render(RULES | monitor | {"alertmanager": alertmanager, "alerts": copy.deepcopy(change)}, name="other")
    spec = one(made, "PrometheusRule")["spec"]
    target = target_labels(made, one)
    assert target["job"] == "ginkgo-exporter"
    up = [series("ginkgo_redis_up", "1x40 0x20", target)]
    up += [series("ginkgo_node_up", "1x20 0x20 stale", target | {"node_id": str(n)}) for n in range(7)]
    up += [series("ginkgo_node_mass_lost", "_x20 1x20 stale", target | {"node_id": str(n)}) for n in range(4, 7)]
    up.append(series("ginkgo_redis_writes_refused", "0x20 1x20 stale", target))
    expected = []
    for name, minutes, nodes in (
        ("GinkgoMassHeartbeatLoss", 6, [""]),
        ("GinkgoNodeOffline", 6, [str(number) for number in range(4)]),
        ("GinkgoRedisWritesRefused", 6, [""]),
        ("GinkgoRedisUnreachable", 15, [""]),
    ):
        exp_alerts = [pushed(made, one, tmp_path, name, node_id) for node_id in nodes]
        for alert in exp_alerts:
            # Prometheus adds its external labels when it sends.
            assert alert["exp_labels"].pop("cluster") == "tokyo"
        expected.append({"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": exp_alerts})
    rules = write(tmp_path / "rules.yml", spec)
    test = {
        "rule_files": [rules.name],
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": up, "alert_rule_test": expected}],
    }

    checked = promtool("test", "rules", write(tmp_path / "test.yml", test))

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_labels_that_differ_are_noticed(render: Render, one: Callable[..., Object], tmp_path: Path) -> None:
    """The test above can fail: a rule may have a label that the push lacks."""
    made = render(RULES | {"serviceMonitor": {"enabled": True}, "alertmanager": {"urls": ["http://a"]}})
    spec = copy.deepcopy(one(made, "PrometheusRule")["spec"])
    rule = alerts(spec["groups"])["GinkgoRedisUnreachable"]
    rule["labels"]["extra"] = "label"
    write(tmp_path / "rules.yml", spec)
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [series("ginkgo_redis_up", "0x40", target_labels(made, one))],
                "alert_rule_test": [
                    {
                        "eval_time": "5m",
                        "alertname": "GinkgoRedisUnreachable",
                        "exp_alerts": [pushed(made, one, tmp_path, "GinkgoRedisUnreachable")],
                    }
                ],
            }
        ],
    }

    checked = promtool("test", "rules", write(tmp_path / "test.yml", test))

    assert checked.returncode != 0
    assert 'extra="label"' in checked.stdout + checked.stderr


def test_an_empty_label_removes_a_label_from_the_push(render: Render, one: Callable[..., Object]) -> None:
    values = {
        "serviceMonitor": {"enabled": True},
        "alertmanager": {"urls": ["http://a"], "labels": {"service": ""}},
    }
    config = yaml.safe_load(base64.b64decode(one(render(values), "Secret")["data"]["config.yaml"]))

    assert config["alertmanager"]["label"] == ["job=ginkgo-exporter", "namespace=trading"]


def test_the_chart_knows_which_alerts_are_pushed(chart_folder: Path) -> None:
    helper = (chart_folder / "templates" / "_rules.tpl").read_text(encoding="utf-8")
    schema = json.loads((chart_folder / "values.schema.json").read_text(encoding="utf-8"))

    assert "list " + " ".join(f'"{name}"' for name in PUSHED) in helper
    assert set(schema["properties"]["alerts"]["properties"]["rules"]["properties"]) == set(PUSHED)
