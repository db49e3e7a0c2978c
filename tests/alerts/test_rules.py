"""The rule file is valid, linted, unit-tested and documented, and has the promised labels and links."""

import json
import re
from pathlib import Path

import pytest
import yaml
from alert_rules import (
    ALERTS,
    RULES,
    RUNBOOKS,
    UNIT_TESTS,
    alerts,
    cut_down_to,
    failure,
    name_of,
    needed_by,
    promtool,
    recordings,
    rules,
    severities,
)
from runbook_files import all_blocks

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


def told(*arguments: str | Path) -> str:
    """Run promtool and return "", or what it says if it fails."""
    run = promtool(*arguments)
    return run.stdout + run.stderr if run.returncode else ""


@pytest.mark.server("promtool")
def test_promtool_finds_nothing_to_lint_and_the_unit_tests_pass(tmp_path: Path) -> None:
    assert told("check", "rules", "--lint=all", "--lint-fatal", RULES) == ""
    # The tests run with their own rules alone, because promtool evaluates all loaded rules at each step.
    tested = []
    for tests in sorted(UNIT_TESTS.iterdir()):
        name = tests.name.partition(".")[0]
        needed = set(recordings()) if name == "recordings" else {name} | needed_by(alerts()[name])
        tested.append((tests.read_text(), cut_down_to(needed)))
    assert failure(tmp_path, *tested) == ""


def test_alerts_and_severities_match_the_contract_and_the_readme() -> None:
    assert {name: " or ".join(severities(name)) for name in alerts()} == CONTRACT
    readme = (ALERTS / "README.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| ([\w ]+) \| (\w*) ?\| (\w*) ?\|$", readme, re.MULTILINE)
    assert rows == [
        (name, " or ".join(severities(name)), rule.get("for", "").removeprefix("0s"), rule.get("keep_firing_for", ""))
        for name, rule in alerts().items()
    ]


def test_names_are_unique_and_recordings_say_level_metric_operations() -> None:
    names = [name_of(rule) for rule in rules()]
    assert len(names) == len(set(names))
    assert [name for name in recordings() if not re.fullmatch(r"(node|installation):\w+:[a-z0-9_]+", name)] == []


def test_annotations_are_complete_and_links_lead_somewhere() -> None:
    chosen = r"{{ with or $labels.cluster $externalLabels.cluster }}SIGNvar-cluster={{ . | urlquery }}{{ end }}"
    node = "?var-node={{ $labels.node_id | urlquery }}"
    for name, rule in alerts().items():
        annotations = rule["annotations"]
        assert list(annotations) == ["summary", "description", "runbook_url", "dashboard_url"], name
        assert annotations["runbook_url"] == f"{RUNBOOK_URL}{name}.md"
        address, _, choice = annotations["dashboard_url"].partition("{{ with")
        of_a_node = address.startswith("/d/ginkgo-node")
        assert address.removeprefix("/d/").removesuffix(node) in DASHBOARDS, name
        assert address.endswith(node) is of_a_node, name
        wanted = "" if name in {*PUSHED, "GinkgoWatchdog"} else chosen.replace("SIGN", "&" if of_a_node else "?")
        assert "{{ with" * bool(choice) + choice == wanted, name
    assert {page.stem for page in RUNBOOKS.iterdir()} == {*alerts(), "GinkgoTestPage", "README"}
    for page in (ALERTS / "README.md", *RUNBOOKS.iterdir()):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def firing(name: str, annotations: dict[str, str], labels: dict[str, str], series: dict[str, str]) -> dict[str, object]:
    """Return a test in which an alert fires after half an hour with these texts."""
    expected = {"exp_labels": labels | {"job": "ginkgo-exporter"}, "exp_annotations": annotations}
    told = alerts()[name]["annotations"]
    expected["exp_annotations"] = {**told, "dashboard_url": "/d/ginkgo-fleet?var-cluster=live+tokyo", **annotations}
    return {
        "interval": "15s",
        "external_labels": {"cluster": "live tokyo"},
        "input_series": [{"series": series_name, "values": values} for series_name, values in series.items()],
        "alert_rule_test": [{"eval_time": "30m", "alertname": name, "exp_alerts": [expected]}],
    }


@pytest.mark.server("promtool")
def test_texts_tell_large_numbers_positions_and_an_installation_that_an_external_label_names(tmp_path: Path) -> None:
    here = 'job="ginkgo-exporter", instance="a:1"'
    untraded = {
        f'ginkgo_portfolios{{{here}, state="untraded"}}': "1x120",
        f'ginkgo_portfolio_fault_since_timestamp_seconds{{{here}, portfolio_id="p", state="untraded"}}': "5x120",
        f"ginkgo_portfolios_untraded_positions{{{here}}}": "14x120",
        'ginkgo_portfolios_untraded_positions{job="another", instance="b:1"}': "99x120",
    }
    misplaced = {f'ginkgo_portfolios{{{here}, state="misplaced"}}': "999999x120"}
    tests = [
        firing(
            "GinkgoPortfoliosUntraded",
            {
                "summary": "1 portfolio with 14 open positions was not traded",
                "description": "No online node had loaded this portfolio, and at least one of them was untraded for"
                " more than 2m. A failover would have moved it by then.",
            },
            {"severity": "critical"},
            untraded,
        ),
        firing(
            "GinkgoPortfoliosMisplaced",
            {
                "summary": "999,999 portfolios ran on another node than planned",
                "description": alerts()["GinkgoPortfoliosMisplaced"]["annotations"]["description"],
            },
            {"severity": "warning"},
            misplaced,
        ),
    ]
    document = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}
    (tmp_path / "test.json").write_text(json.dumps(document))
    assert told("test", "rules", tmp_path / "test.json") == ""


def test_a_pushed_alert_holds_only_text_and_labels_and_reads_only_the_exporters_decision() -> None:
    count = r"\{\{- if gt \$value 0\.0 \}\}[^{]*\{\{ \$value \}\}[^{]*\{\{ end \}\}"
    for name in PUSHED:
        rule = alerts()[name]
        assert list(rule["labels"]) == ["severity"], name
        allowed = rf"\{{\{{ \$labels\.(?:node_id|loss) \}}\}}|{count}"
        assert "{{" not in re.sub(allowed, "", str(rule["annotations"])), name
    offline = alerts()["GinkgoNodeOffline"]
    assert (offline["for"], offline["keep_firing_for"]) == ("0s", "2m30s")
    assert alerts()["GinkgoMassHeartbeatLoss"]["expr"].count("ginkgo_") == 1
    # The number of planned portfolios is the alert's value, and does not decide whether it fires.
    read = set(re.findall(r"ginkgo_\w+", offline["expr"]))
    assert read == {"ginkgo_node_up", "ginkgo_node_mass_lost", "ginkgo_node_planned_portfolios"}


@pytest.mark.server("promtool")
def test_a_second_mass_loss_is_an_alert_of_its_own_and_members_of_both_are_silent(tmp_path: Path) -> None:
    lost = {
        (node, loss): at for loss, at in (("n1", 20), ("n4", 60)) for node in (f"n{int(loss[1]) + n}" for n in range(3))
    }
    series = [
        {
            "series": f'ginkgo_node_mass_lost{{job="j", instance="{exporter}", node_id="{node}", loss="{loss}"}}',
            "values": f"_x{at} 1x60",
        }
        for (node, loss), at in lost.items()
        for exporter in ("a", "b")
    ]
    series += [
        {"series": f'ginkgo_node_up{{job="j", instance="a", node_id="{node}"}}', "values": f"1x{at} 0x60"}
        for (node, _), at in lost.items()
    ]
    count = 'count(ALERTS{alertname="GinkgoMassHeartbeatLoss", alertstate="firing"})'
    queries = [{"expr": count, "eval_time": "10m", "exp_samples": [{"value": 1}]}]
    queries.append({"expr": count, "eval_time": "18m", "exp_samples": [{"value": 2}]})
    queries.append({"expr": 'ALERTS{alertname="GinkgoNodeOffline"}', "eval_time": "18m", "exp_samples": []})
    test = {"interval": "15s", "input_series": series, "promql_expr_test": queries}
    document = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [test]}
    (tmp_path / "test.json").write_text(json.dumps(document))
    assert told("test", "rules", tmp_path / "test.json") == ""


@pytest.mark.server("promtool")
def test_queries_in_runbooks_parse_and_read_only_existing_series(tmp_path: Path) -> None:
    queries = [line.strip() for block in all_blocks() if block.form == "promql" for line in block.text.splitlines()]
    assert len(queries) > len(CONTRACT)
    checked = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": checked}]}))
    assert told("check", "rules", "--lint=none", tmp_path / "queries.yml") == ""
    assert set(re.findall(r"\b(?:node|installation):\w+:\w+", " ".join(queries))) <= recordings().keys()
