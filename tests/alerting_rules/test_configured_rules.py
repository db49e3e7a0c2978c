"""The rules with an operator's settings: what each setting changes, that comments stay, and what promtool says."""

import re
from pathlib import Path

import pytest
import yaml
from rule_settings import EVERYTHING, Tree, promtool_says, rules_by_name, settings_of

from exporter.alerting_rules.configured import Parts, with_parts
from exporter.alerting_rules.model import RuleSettings
from exporter.alerting_rules.rule_file import rules_text
from exporter.alerting_rules.thresholds import THRESHOLDS
from exporter.bundled import RULES, bundled
from exporter.push.alerts import Alert, AlertTexts

SOURCE = bundled(RULES).read_text()
BEFORE = rules_by_name(SOURCE)


def changed(tree: Tree, folder: Path) -> dict[str, Tree]:
    """Return the rules that a setting changes, by name; {} for a rule that it leaves out."""
    made = rules_by_name(rules_text(settings_of(tree, folder)))
    assert made.keys() <= BEFORE.keys()
    return {name: made.get(name, {}) for name in BEFORE if made.get(name) != BEFORE[name]}


def test_without_settings_the_rule_file_comes_out_byte_for_byte() -> None:
    assert rules_text(RuleSettings()) == SOURCE


def test_settings_that_equal_the_defaults_change_nothing(tmp_path: Path) -> None:
    tree = {
        "job": "ginkgo-exporter",
        "heartbeat-ttl": "30s",
        "queue-length": 1000,
        "alerts": {
            alert: {"thresholds": {name: float(each.default) for name, each in thresholds.items()}}
            for alert, thresholds in THRESHOLDS.items()
        },
    }
    assert rules_text(settings_of(tree, tmp_path)) == SOURCE


def test_changed_rules_keep_all_comments_and_say_where_they_come_from(tmp_path: Path) -> None:
    def comments(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.lstrip().startswith("#")]

    tree = {**EVERYTHING, "alerts": {"GinkgoNodesMissing": {"for": "1h", "keep-firing-for": "2h"}}}
    first, *others = comments(rules_text(settings_of(tree, tmp_path)))
    assert first == "# Written by `ginkgo-exporter rules`: change its settings, and not this file."
    assert others == comments(SOURCE)


@pytest.mark.server("promtool")
@pytest.mark.parametrize(
    "tree",
    [
        pytest.param({"scrape-interval": "30s"}, id="as they are"),
        pytest.param(EVERYTHING, id="everything changed"),
    ],
)
def test_promtool_accepts_the_rules_and_their_own_unit_tests_pass(tree: Tree, tmp_path: Path) -> None:
    assert promtool_says(settings_of(tree, tmp_path), tmp_path) == ""


ALERTS = [name for name in BEFORE if "alert" in BEFORE[name]]


def rules_with_alerts_on(expr: str) -> str:
    """Return a rule file of all alerts with the same query, without recordings."""
    rules = [{**BEFORE[name], "expr": expr} for name in ALERTS]
    return yaml.safe_dump({"groups": [{"name": "alerts", "rules": rules}]})


@pytest.mark.server("promtool")
def test_the_unit_tests_notice_each_alert_that_cannot_fire(tmp_path: Path) -> None:
    settings = settings_of({"scrape-interval": "1m"}, tmp_path)
    said = promtool_says(settings, tmp_path, rules_with_alerts_on("vector(1) == 0"))
    assert [name for name in ALERTS if f'alertname=\\"{name}\\"' not in said] == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.server("promtool")
def test_the_unit_tests_notice_each_alert_that_fires_in_a_similar_example(tmp_path: Path) -> None:
    settings = settings_of({"scrape-interval": "1m"}, tmp_path)
    every_series = 'max by (example) ({__name__=~"ginkgo_.*|up"}) >= 0'
    said = promtool_says(settings, tmp_path, rules_with_alerts_on(every_series))
    assert [name for name in ALERTS if f'example=\\"{name}, nearly\\"' not in said] == ["GinkgoWatchdog"]


@pytest.mark.slow
@pytest.mark.server("promtool")
@pytest.mark.parametrize("interval", ["5s", "10s", "15s", "45s"])
def test_the_unit_tests_pass_at_other_scrape_intervals(interval: str, tmp_path: Path) -> None:
    assert promtool_says(settings_of({"scrape-interval": interval}, tmp_path), tmp_path) == ""


def test_links_lead_to_the_exporters_runbooks_and_to_grafana(tmp_path: Path) -> None:
    links = {"runbooks": "https://exporter.example/runbooks/", "dashboards": "https://grafana.example/sub/"}
    made = changed({"links": links}, tmp_path)
    assert made.keys() == {name for name in BEFORE if "alert" in BEFORE[name]}
    texts = made["GinkgoNodeDeaf"]["annotations"]
    assert texts["runbook_url"] == (
        "https://exporter.example/runbooks/GinkgoNodeDeaf?node_id={{ $labels.node_id | urlquery }}"
    )
    assert made["GinkgoNoNodes"]["annotations"]["runbook_url"] == "https://exporter.example/runbooks/GinkgoNoNodes"
    assert texts["dashboard_url"].startswith("https://grafana.example/sub/d/ginkgo-node?var-node={{")


def test_the_exporter_can_push_with_rules_that_link_to_its_runbooks(tmp_path: Path) -> None:
    text = rules_text(settings_of({"links": {"runbooks": "https://exporter.example/runbooks"}}, tmp_path))
    (tmp_path / "ginkgo.rules.yml").write_text(text)
    pushed = AlertTexts({}, tmp_path / "ginkgo.rules.yml").annotations(Alert("GinkgoNodeOffline", "n1", began=0.0))
    assert pushed["runbook_url"] == "https://exporter.example/runbooks/GinkgoNodeOffline?node_id=n1"


def test_links_to_a_wiki_may_have_an_ending(tmp_path: Path) -> None:
    made = changed({"links": {"runbooks": "https://wiki.example", "runbook-ending": ".md"}}, tmp_path)
    assert made["GinkgoNoNodes"]["annotations"]["runbook_url"] == "https://wiki.example/GinkgoNoNodes.md"


def test_links_to_dashboards_name_the_label_that_tells_installations_apart(tmp_path: Path) -> None:
    made = changed({"links": {"installation-label": "environment"}}, tmp_path)
    links = {rule["annotations"]["dashboard_url"] for rule in made.values()}
    assert made.keys() >= {name for name in BEFORE if "$labels.cluster" in str(BEFORE[name])}
    assert all("$labels.environment $externalLabels.environment " in link and ".cluster" not in link for link in links)


def test_labels_reach_every_alert_and_those_of_one_alert_win(tmp_path: Path) -> None:
    tree = {"labels": {"team": "trading", "a": "yes"}, "alerts": {"GinkgoNoNodes": {"labels": {"team": "platform"}}}}
    made = changed(tree, tmp_path)
    assert {rule["labels"]["team"] for name, rule in made.items() if name != "GinkgoNoNodes"} == {"trading"}
    assert made["GinkgoNoNodes"]["labels"]["team"] == "platform"
    assert {rule["labels"]["a"] for rule in made.values()} == {"yes"}


def test_an_alert_that_is_left_out_is_gone_with_its_comments_and_nothing_else(tmp_path: Path) -> None:
    settings = settings_of({"alerts": {"GinkgoNodeDeaf": {"enabled": False}}}, tmp_path)
    text = rules_text(settings)
    assert "A node that has portfolios and took no event in five minutes" not in text
    assert rules_by_name(text) == {name: rule for name, rule in BEFORE.items() if name != "GinkgoNodeDeaf"}


def test_a_group_without_rules_is_left_out(tmp_path: Path) -> None:
    text = rules_text(settings_of({"alerts": {"GinkgoWatchdog": {"enabled": False}}}, tmp_path))
    assert "ginkgo.watchdog" not in text
    assert rules_by_name(text).keys() == BEFORE.keys() - {"GinkgoWatchdog"}


def test_an_alert_takes_another_severity_wait_and_end(tmp_path: Path) -> None:
    change = {"for": "20m", "keep-firing-for": "4m", "severity": "critical"}
    ((name, made),) = changed({"alerts": {"GinkgoNodePaused": change}}, tmp_path).items()
    assert name == "GinkgoNodePaused"
    assert (made["for"], made["keep_firing_for"], made["labels"]) == ("20m", "4m", {"severity": "critical"})


@pytest.mark.parametrize(
    ("alert", "name"), [(alert, name) for alert, thresholds in THRESHOLDS.items() for name in thresholds]
)
def test_a_threshold_changes_its_number_and_nothing_else(alert: str, name: str) -> None:
    threshold = THRESHOLDS[alert][name]
    made = {rule: with_parts(BEFORE[rule], Parts({(alert, name): "123.5"}, "1,000", ())) for rule in BEFORE}
    touched = [rule for rule in BEFORE if made[rule] != BEFORE[rule]]
    assert set(touched) == {place.rule or alert for place in threshold.places}
    for place in threshold.places:
        assert place.number == threshold.default
        assert str(made[place.rule or alert]).count(place.with_number("123.5")) == 1
    assert [str(made[rule]).replace("123.5", threshold.default) for rule in touched] == [
        str(BEFORE[rule]) for rule in touched
    ]


def test_a_queue_of_another_length_changes_its_thresholds_and_the_text(tmp_path: Path) -> None:
    made = changed({"queue-length": 20_000}, tmp_path)
    assert made.keys() == {"GinkgoQueueGrowing", "GinkgoNodeStalled"}
    assert "> 14000" in made["GinkgoQueueGrowing"]["expr"]
    assert ">= 19000" in made["GinkgoQueueGrowing"]["expr"]
    assert ">= 19000" in made["GinkgoNodeStalled"]["expr"]
    assert "of 20,000 events" in made["GinkgoQueueGrowing"]["annotations"]["description"]


def test_a_threshold_that_is_set_wins_over_the_length_of_the_queue(tmp_path: Path) -> None:
    tree = {"queue-length": 2000, "alerts": {"GinkgoNodeStalled": {"thresholds": {"queue-size": 7}}}}
    assert ">= 7\n" in changed(tree, tmp_path)["GinkgoNodeStalled"]["expr"]


def test_another_ttl_of_heartbeats_changes_when_they_are_late(tmp_path: Path) -> None:
    made = changed({"heartbeat-ttl": "1m"}, tmp_path)
    assert made["node:ginkgo_node_heartbeat_ttl_seconds:late"]["expr"].endswith("< 30\n")


def test_another_job_is_looked_for_by_the_alerts_on_exporters(tmp_path: Path) -> None:
    made = changed({"job": "ginkgo tokyo"}, tmp_path)
    assert made.keys() == {"GinkgoExporterDown", "GinkgoExporterDegraded"}
    assert set(re.findall(r'job="([^"]*)"', str(made).replace("\\", ""))) == {"ginkgo tokyo"}


def test_a_scrape_interval_sets_the_groups_and_stretches_short_times_only_if_it_is_long(tmp_path: Path) -> None:
    for interval, keeps, rate in (("15s", "2m30s", "[2m]"), ("30s", "2m30s", "[2m]"), ("1m", "5m", "[4m]")):
        text = rules_text(settings_of({"scrape-interval": interval}, tmp_path))
        intervals = {group["name"]: group["interval"] for group in yaml.safe_load(text)["groups"]}
        assert intervals.pop("ginkgo.baseline") == "1m"
        assert set(intervals.values()) == {interval}
        assert rules_by_name(text)["GinkgoNodeOffline"]["keep_firing_for"] == keeps
        assert rate in rules_by_name(text)["GinkgoBackpressureSpike"]["expr"]
        assert "[5m]" in rules_by_name(text)["node:ginkgo_node_events:rate5m"]["expr"]
