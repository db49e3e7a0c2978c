"""The rules on VictoriaMetrics: each alert fires in its example and is silent in a similar one, as on Prometheus.

vmalert-tool is in Debian's package victoria-metrics. It reads promtool's tests with another name. It shows results
one evaluation later than promtool, so the stories, which count evaluations, are not run here.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_rules import RULES, UNIT_TESTS

from exporter.alerting_rules.loading import load
from exporter.alerting_rules.rule_file import rules_text
from exporter.alerting_rules.unit_tests import FILE, unit_tests
from lab.servers import binary


def converted(text: str) -> dict[str, Any]:
    """Return a file of promtool's tests in the form that vmalert-tool reads."""
    document: dict[str, Any] = yaml.safe_load(text)
    for test in document["tests"]:
        test["metricsql_expr_test"] = test.pop("promql_expr_test", [])
        for query in test["metricsql_expr_test"]:
            for sample in query["exp_samples"]:
                sample.setdefault("labels", "{}")
    return document


def vmalert_tool(document: dict[str, Any], folder: Path) -> str:
    """Run converted tests; return "" or the complaints."""
    (folder / "tests.json").write_text(json.dumps(document))
    # The label alertgroup, which vmalert adds to alerts, is left out.
    command = [binary("vmalert-tool"), "unittest", "--disableAlertgroupLabel", "--files", "tests.json"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    return run.stdout + run.stderr if run.returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.server("vmalert-tool")
@pytest.mark.parametrize("interval", ["15s", "30s", "1m"])
def test_each_alert_fires_in_its_example_on_victoria_metrics_too(interval: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yml").write_text(f"scrape-interval: {interval}\nselectors: ['cluster=\"tokyo\"']\n")
    settings = load(tmp_path / "settings.yml")
    (tmp_path / FILE).write_text(rules_text(settings))
    assert vmalert_tool(converted(unit_tests(settings)), tmp_path) == ""


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.server("vmalert-tool")
@pytest.mark.parametrize("name", sorted(path.name for path in UNIT_TESTS.iterdir()))
def test_hand_written_unit_tests_pass_on_victoria_metrics_too(name: str, tmp_path: Path) -> None:
    document = converted((UNIT_TESTS / name).read_text())
    document["rule_files"] = [str(RULES)]
    assert vmalert_tool(document, tmp_path) == ""
