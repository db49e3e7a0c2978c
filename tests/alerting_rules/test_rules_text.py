"""The rules with an operator's settings: what each setting changes, which are refused, and what promtool says."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from exporter.alerting_rules.rules import TEMPLATE, rules_text, template
from exporter.bundled import RULES, bundled
from exporter.errors import SettingsError
from exporter.push.alerts import Alert, AlertTexts
from lab.servers import binary

Tree = dict[str, Any]

SOURCE = bundled(RULES).read_text()
EVERYTHING: Tree = {
    "links": {"runbooks": "https://exporter.example/runbooks/", "dashboards": "https://grafana.example"},
    "labels": {"team": "trading"},
    "selectors": ['cluster="tokyo, #1: \\"live\\""', 'environment=~"live|paper"', 'stage!="test"', 'zone!~"x.*"'],
    "job": "ginkgo 东京",
    "scrape-interval": "1m",
    "heartbeat-ttl": "1m",
    "queue-length": 20_000,
    "alerts": {
        "GinkgoWatchdog": {"enabled": False},
        "GinkgoNodeDeaf": {"enabled": "off"},
        "GinkgoNodePaused": {"for": "20m", "keep-firing-for": "4m", "severity": "critical", "labels": {"a": "b: c"}},
        "GinkgoNodeStalled": {"thresholds": {"queue-size": 7}},
    },
}
"""Each setting, changed."""


def rules(text: str) -> Tree:
    """Return the rules of a rule file by their names."""
    groups = yaml.safe_load(text)["groups"]
    found = {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}
    assert len(found) == sum(len(group["rules"]) for group in groups)
    return found


BEFORE = rules(SOURCE)


def printed(tree: Tree, folder: Path) -> str:
    """Return the rule file that is printed with these settings."""
    (folder / "rules.yml").write_text(yaml.safe_dump(tree))
    return rules_text(folder / "rules.yml")


def changed(tree: Tree, folder: Path) -> Tree:
    """Return the rules that settings change, by name; {} for a rule that is left out."""
    made = rules(printed(tree, folder))
    assert made.keys() <= BEFORE.keys()
    return {name: made.get(name, {}) for name in BEFORE if made.get(name) != BEFORE[name]}


def test_settings_that_equal_the_defaults_change_nothing(tmp_path: Path) -> None:
    assert changed({"job": "ginkgo-exporter", "heartbeat-ttl": "30s", "queue-length": 1000}, tmp_path) == {}
    assert rules_text(None) == SOURCE


@pytest.mark.server("promtool")
def test_promtool_takes_the_rules_with_each_setting_changed_and_each_query_has_the_selectors(tmp_path: Path) -> None:
    text = printed(EVERYTHING, tmp_path)
    (tmp_path / "made.yml").write_text(text)
    run = subprocess.run(
        [binary("promtool"), "check", "rules", tmp_path / "made.yml"], capture_output=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert ("«" in text, 'job="ginkgo 东京"' in text) == (False, True)
    wanted = ('cluster="tokyo, #1: \\"live\\""', 'environment=~"live|paper"', 'stage!="test"', 'zone!~"x.*"')
    for name, rule in rules(text).items():
        query = promql_parser.parse(rule["expr"]).prettify()
        # Without strings and braces, what is followed by no bracket and is no label is a metric without selectors.
        bare = re.sub(r"\w+(?::\w+)*\{[^{}]*\}|(?:without|by|on|ignoring) \([^()]*\)", "", query)
        assert not re.search(r"\b(?:ginkgo_|up\b|node:|installation:)", re.sub(r'"[^"]*"', "", bare)), name
        assert [query.count(each) for each in wanted] == [query.count("{")] * len(wanted), name


def test_each_threshold_changes_its_number_and_nothing_else(tmp_path: Path) -> None:
    known = {(alert, name) for alert, thresholds in template()["thresholds"].items() for name in thresholds}
    assert set(re.findall(r"«(Ginkgo\w+)\.([a-z-]+)»", bundled(TEMPLATE).read_text())) == known
    for alert, name in known:
        made = changed({"alerts": {alert: {"thresholds": {name: 123.5}}}}, tmp_path)
        assert made, (alert, name)
        for rule, text in made.items():
            pattern = re.escape(json.dumps(text)).replace(re.escape("123.5"), "[0-9.]+")
            assert re.fullmatch(pattern, json.dumps(BEFORE[rule])), (alert, name, rule)


def test_settings_change_what_they_say(tmp_path: Path) -> None:
    made = rules(printed(EVERYTHING, tmp_path))
    assert BEFORE.keys() - made.keys() == {"GinkgoWatchdog", "GinkgoNodeDeaf"}
    assert {rule["labels"]["team"] for rule in made.values() if "alert" in rule} == {"trading"}
    paused = made["GinkgoNodePaused"]
    assert (paused["for"], paused["keep_firing_for"]) == ("20m", "4m")
    assert paused["labels"] == {"severity": "critical", "team": "trading", "a": "b: c"}
    assert "for 20m" in paused["annotations"]["description"]
    assert paused["annotations"]["runbook_url"] == (
        "https://exporter.example/runbooks/GinkgoNodePaused?node_id={{ $labels.node_id | urlquery }}"
    )
    assert paused["annotations"]["dashboard_url"].startswith("https://grafana.example/d/ginkgo-node?var-node={{")
    assert made["GinkgoNoNodes"]["annotations"]["runbook_url"] == "https://exporter.example/runbooks/GinkgoNoNodes"
    growing = made["GinkgoQueueGrowing"]
    assert "> 14000" in growing["expr"]
    assert ">= 19000" in growing["expr"]
    assert "20,000 events" in growing["annotations"]["description"]
    assert ">= 7\n" in made["GinkgoNodeStalled"]["expr"]
    assert made["node:ginkgo_node_heartbeat_ttl_seconds:late"]["expr"].strip().endswith("< 30")
    jobs = {name for name, rule in made.items() if 'job="ginkgo 东京"' in rule["expr"]}
    assert jobs == {name for name, rule in BEFORE.items() if 'job="' in rule["expr"]} != set()


def test_links_may_have_an_ending_and_another_label_of_the_installation(tmp_path: Path) -> None:
    links = {"runbooks": "https://wiki.example", "runbook-ending": ".md", "installation-label": "environment"}
    texts = [rule["annotations"] for rule in changed({"links": links}, tmp_path).values()]
    assert {text["runbook_url"] for text in texts} == {
        f"https://wiki.example/{name}.md" for name, rule in BEFORE.items() if "alert" in rule
    }
    chosen = [text["dashboard_url"] for text in texts if "{{ with" in text["dashboard_url"]]
    assert chosen
    assert all("$labels.environment $externalLabels.environment " in link and ".cluster" not in link for link in chosen)


def test_the_exporter_can_push_with_rules_that_link_to_its_runbooks(tmp_path: Path) -> None:
    text = printed({"links": {"runbooks": "https://exporter.example/runbooks"}}, tmp_path)
    (tmp_path / "made.yml").write_text(text)
    pushed = AlertTexts({}, tmp_path / "made.yml").annotations(Alert("GinkgoNodeOffline", "n1", 0.0, 0.0, 0.0))
    assert pushed["runbook_url"] == "https://exporter.example/runbooks/GinkgoNodeOffline?node_id=n1"


def test_a_scrape_interval_sets_the_groups_and_stretches_short_times_only_if_it_is_long(tmp_path: Path) -> None:
    for interval, keeps, rate in (("15s", "2m30s", "[2m]"), ("30s", "2m30s", "[2m]"), ("1m", "5m", "[4m]")):
        text = printed({"scrape-interval": interval}, tmp_path)
        intervals = {group["name"]: group["interval"] for group in yaml.safe_load(text)["groups"]}
        assert intervals.pop("ginkgo.baseline") == "1m"
        assert set(intervals.values()) == {interval}
        made = rules(text)
        assert made["GinkgoNodeOffline"]["keep_firing_for"] == keeps
        assert rate in made["GinkgoBackpressureSpike"]["expr"]
        assert "[5m]" in made["node:ginkgo_node_events:rate5m"]["expr"]


WRONG = {
    "links: {runbook: https://a}": "links.runbook: unknown setting; the nearest known name is runbooks",
    "links: {dashboards: grafana}": "links.dashboards: not an address such as https://grafana.example.org",
    "alerts: {GinkgoNodeMissing: {for: 3m}}": (
        "alerts.GinkgoNodeMissing: unknown setting; the nearest known name is GinkgoNodesMissing"
    ),
    "alerts: {GinkgoQueueGrowing: {thresholds: {queueSize: 1}}}": (
        "alerts.GinkgoQueueGrowing.thresholds.queueSize: unknown setting; the nearest known name is queue-size"
    ),
    "alerts: {GinkgoNoNodes: {thresholds: {nodes: 1}}}": "alerts.GinkgoNoNodes.thresholds.nodes: unknown setting",
    "alerts: {GinkgoNoNodes: {for: ten}}": "alerts.GinkgoNoNodes.for: not a duration such as 500ms, 10s or 1h30m",
    "alerts: {GinkgoNoNodes: {enabled: 3}}": "alerts.GinkgoNoNodes.enabled: must be on or off",
    "alerts: {GinkgoNoNodes: {severity: page}}": (
        "alerts.GinkgoNoNodes.severity: must be critical, warning, info or none"
    ),
    "alerts: {GinkgoNoNodes: 3}": "alerts.GinkgoNoNodes: not a mapping",
    **{
        f"alerts: {{GinkgoNodeDeaf: {{thresholds: {{share: {wrong}}}}}}}": (
            "alerts.GinkgoNodeDeaf.thresholds.share: must be a number of at least 0"
        )
        for wrong in ("true", "-1", ".inf")
    },
    **dict.fromkeys(
        ("selectors: [cluster=tokyo]", "selectors: ['instance=\"a\"']", "selectors: ['job=\"a\"']"),
        'selectors: not selectors such as cluster="tokyo" or environment=~"live|paper", of labels that all series of an'
        " installation have; job is a setting of its own",
    ),
    **dict.fromkeys(
        ("labels: {severity: page}", "labels: {a-b: page}", "labels: {team: }", "labels: {team: [a]}"),
        "labels: not labels with a text each; alertname, severity, node_id and loss cannot be set here",
    ),
    "job: {a: b}": "job: must be a text, or a list or a mapping where the documentation says so",
    "queue-length: 0": "queue-length: must be a whole number of at least 1",
    "scrape-interval: 2m": "scrape-interval: must be between 1s and 1m: with rarer scrapes the rules see too little",
    "label: {}\njob: ''": "label: unknown setting; the nearest known name is labels\njob: not the name of a scrape job",
    "- a": "--config.file: not a mapping",
}
"""Files with mistakes, and a line for each mistake."""


def test_each_mistake_is_one_line_with_its_place_and_what_would_be_right(tmp_path: Path) -> None:
    path, failures = tmp_path / "rules.yml", []
    for text, expected in WRONG.items():
        path.write_text(text)
        with pytest.raises(SettingsError) as raised:
            rules_text(path)
        if (said := str(raised.value).replace(f"{path}: ", "")) != expected:
            failures.append((text, said))
    assert failures == []


def test_the_command_prints_the_rules_and_refuses_a_file_with_an_error(tmp_path: Path) -> None:
    def run(text: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "rules.yml").write_text(text)
        command = [sys.executable, "-m", "exporter", "rules", "--config.file", str(tmp_path / "rules.yml")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert rules(run("# nothing\n").stdout) == BEFORE
    refused = run("lables: {team: trading}\n")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the nearest known name is labels" in refused.stderr
