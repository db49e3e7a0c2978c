"""The rule file is valid, linted, unit-tested and documented, and has the promised labels and links."""

import json
import re
from itertools import chain
from pathlib import Path

import pytest
import yaml
from alert_rules import (
    ALERTS,
    RULES,
    RUNBOOKS,
    UNIT_TESTS,
    Rule,
    alerts,
    cut_down_to,
    first_failure,
    name_of,
    needed_by,
    promtool,
    recordings,
    rules,
    severities,
    unit_tests,
)
from mutations import mutants

CONTRACT = {
    "GinkgoNodeOffline": "critical",
    "GinkgoAllNodesOffline": "critical",
    "GinkgoNodesDisappeared": "warning",
    "GinkgoNodesUndecided": "critical",
    "GinkgoNodesMissing": "warning",
    "GinkgoNoNodes": "critical or warning",
    "GinkgoNodeFlapping": "warning",
    "GinkgoHeartbeatLate": "info",
    "GinkgoNodeZombie": "warning",
    "GinkgoBackpressureSpike": "warning",
    "GinkgoBackpressureHigh": "warning",
    "GinkgoEventsDropped": "critical",
    "GinkgoQueueGrowing": "warning",
    "GinkgoNodeStalled": "warning",
    "GinkgoPortfolioImbalance": "info",
    "GinkgoRedisUnreachable": "critical",
    "GinkgoRedisWritesRefused": "critical",
    "GinkgoRedisMemoryHigh": "warning",
    "GinkgoExporterDegraded": "warning",
    "GinkgoExporterDown": "critical",
    "GinkgoMassHeartbeatLoss": "critical",
    "GinkgoPortfoliosUntraded": "critical",
    "GinkgoPortfolioDuplicated": "critical",
    "GinkgoPlanLost": "critical",
    "GinkgoSchedulerStalled": "critical",
    "GinkgoPortfoliosUnplanned": "warning",
    "GinkgoPortfoliosMisplaced": "warning",
    "GinkgoPlanFlapping": "warning",
    "GinkgoTaskTimerDown": "critical",
    "GinkgoTaskTimerTwice": "warning",
    "GinkgoWorkersGone": "warning",
    "GinkgoNodePaused": "warning",
    "GinkgoNodeDeaf": "warning",
    "GinkgoPushFailing": "warning",
    "GinkgoWatchdog": "none",
}
PUSHED = ("GinkgoNodeOffline", "GinkgoMassHeartbeatLoss", "GinkgoRedisUnreachable", "GinkgoRedisWritesRefused")
RUNBOOK_URL = "https://github.com/ginkgo-trading/ginkgo-exporter/blob/main/alerts/runbooks/"
DASHBOARDS = ("ginkgo-fleet", "ginkgo-node", "ginkgo-exporter")
EVERY_ALERT = pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in alerts().items()])


@pytest.mark.server("promtool")
def test_promtool_finds_nothing_to_lint() -> None:
    run = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.server("promtool")
@pytest.mark.parametrize("name", sorted({path.name.partition(".")[0] for path in UNIT_TESTS.iterdir()}))
def test_unit_tests_pass(name: str, tmp_path: Path) -> None:
    # The tests run with their own rules alone, because promtool evaluates all loaded rules at each step.
    needed = set(recordings()) if name == "recordings" else {name} | needed_by(alerts()[name])
    assert first_failure(unit_tests(name), cut_down_to(needed), tmp_path) == ""


@pytest.mark.slow
@pytest.mark.server("promtool")
def test_unit_tests_pass_on_the_whole_file() -> None:
    run = promtool("test", "rules", *UNIT_TESTS.glob("*.test.yml"))
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.server("promtool")
@pytest.mark.parametrize("name", [name for name in recordings() if ":rate5m" in name or "node_portfolios:" in name])
def test_a_recording_broken_in_one_way_of_each_kind_is_noticed(name: str, tmp_path: Path) -> None:
    broken = {mutant.kind: mutant for mutant in mutants(recordings()[name])}
    for kind, mutant in broken.items():
        tested = cut_down_to(set(recordings()), mutant.rule)
        assert first_failure(unit_tests("recordings"), tested, tmp_path / kind), mutant.title


def test_alerts_and_severities_match_the_contract() -> None:
    assert {name: " or ".join(severities(name)) for name in alerts()} == CONTRACT


def test_names_are_unique_and_recordings_say_level_metric_operations() -> None:
    names = [name_of(rule) for rule in rules()]
    assert len(names) == len(set(names))
    assert [name for name in recordings() if not re.fullmatch(r"(node|installation):\w+:[a-z0-9_]+", name)] == []


@EVERY_ALERT
def test_annotations_are_complete_and_links_lead_somewhere(rule: Rule) -> None:
    annotations = rule["annotations"]
    assert list(annotations) == ["summary", "description", "runbook_url", "dashboard_url"]
    runbook = annotations["runbook_url"].removeprefix(RUNBOOK_URL)
    assert runbook == f"{rule['alert']}.md"
    assert (RUNBOOKS / runbook).is_file()
    chosen = r"{{ with or $labels.cluster $externalLabels.cluster }}SIGNvar-cluster={{ . | urlquery }}{{ end }}"
    node = "?var-node={{ $labels.node_id | urlquery }}"
    address, _, choice = annotations["dashboard_url"].partition("{{ with")
    of_a_node = address.startswith("/d/ginkgo-node")
    assert address.removeprefix("/d/").removesuffix(node) in DASHBOARDS
    assert address.endswith(node) is of_a_node
    wanted = "" if rule["alert"] in {*PUSHED, "GinkgoWatchdog"} else chosen.replace("SIGN", "&" if of_a_node else "?")
    assert "{{ with" * bool(choice) + choice == wanted


@pytest.mark.server("promtool")
def test_a_link_chooses_the_installation_by_an_external_label_too(tmp_path: Path) -> None:
    # vmalert adds such a label to the alert itself, so this is no hand-written test for both.
    told = alerts()["GinkgoPushFailing"]["annotations"]
    link = "/d/ginkgo-exporter?var-cluster=live+tokyo"
    firing = {
        "exp_labels": {"severity": "warning", "job": "ginkgo-exporter"},
        "exp_annotations": {**told, "dashboard_url": link},
    }
    test = {
        "interval": "15s",
        "external_labels": {"cluster": "live tokyo"},
        "input_series": [{"series": 'ginkgo_bridge_active{job="ginkgo-exporter"}', "values": "0x40"}],
        "alert_rule_test": [{"eval_time": "5m", "alertname": "GinkgoPushFailing", "exp_alerts": [firing]}],
    }
    file = tmp_path / "test.json"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [test]}))
    run = promtool("test", "rules", file)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", PUSHED)
def test_a_pushed_alert_holds_only_text_and_labels(name: str) -> None:
    rule = alerts()[name]
    assert list(rule["labels"]) == ["severity"]
    count = r"\{\{- if gt \$value 0\.0 \}\}[^{]*\{\{ \$value \}\}[^{]*\{\{ end \}\}"
    allowed = rf"\{{\{{ \$labels\.node_id \}}\}}|{count}" if name == "GinkgoNodeOffline" else r"(?!)"
    assert "{{" not in re.sub(allowed, "", str(rule["annotations"]))


def test_an_offline_node_pages_at_once_and_survives_a_restart_of_the_exporter() -> None:
    rule = alerts()["GinkgoNodeOffline"]
    assert rule["for"] == "0s"
    assert rule["keep_firing_for"] == "2m30s"


def test_the_rules_of_an_offline_node_and_of_a_mass_loss_only_read_the_exporters_decision() -> None:
    assert alerts()["GinkgoMassHeartbeatLoss"]["expr"].count("ginkgo_") == 1
    read = re.findall(r"ginkgo_\w+", alerts()["GinkgoNodeOffline"]["expr"])
    # The number of planned portfolios is the alert's value, and does not decide whether it fires.
    assert set(read) == {"ginkgo_node_up", "ginkgo_node_mass_lost", "ginkgo_node_planned_portfolios"}


def test_no_runbook_is_without_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.iterdir()} == {*alerts(), "README"}


def test_relative_links_in_the_documentation_have_a_target() -> None:
    for page in (ALERTS / "README.md", *RUNBOOKS.iterdir()):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.server("promtool")
def test_queries_in_runbooks_parse_and_read_only_existing_series(tmp_path: Path) -> None:
    blocks = (
        re.findall(r"^ *```promql\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE) for page in RUNBOOKS.iterdir()
    )
    queries = [line.strip() for block in chain.from_iterable(blocks) for line in block.strip().splitlines()]
    assert len(queries) > len(CONTRACT)
    checked = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": checked}]}))
    run = promtool("check", "rules", "--lint=none", tmp_path / "queries.yml")
    assert run.returncode == 0, run.stdout + run.stderr
    read = set(re.findall(r"\b(?:node|installation):\w+:\w+", " ".join(queries)))
    assert read <= recordings().keys()


def test_the_table_in_the_readme_matches_the_rules() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| ([\w ]+) \| (\w*) ?\| (\w*) ?\|$", _readme(), re.MULTILINE)
    assert rows == [
        (name, " or ".join(severities(name)), rule.get("for", "").removeprefix("0s"), rule.get("keep_firing_for", ""))
        for name, rule in alerts().items()
    ]


def _readme() -> str:
    return (ALERTS / "README.md").read_text()
