"""Settings of the rules for the tests: written to a file, loaded, and turned into rules and unit tests."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from exporter.alerting_rules.loading import load
from exporter.alerting_rules.model import RuleSettings
from exporter.alerting_rules.rule_file import rules_text
from exporter.alerting_rules.unit_tests import FILE, unit_tests
from lab.servers import binary

Tree = dict[str, Any]

PROMTOOL = os.environ.get("PROMTOOL", "promtool")
"""The promtool that runs the tests: that of another version of Prometheus, if the variable names one."""

EVERYTHING: Tree = {
    "links": {"runbooks": "https://exporter.example/runbooks", "dashboards": "https://grafana.example"},
    "labels": {"team": "trading"},
    "selectors": ['cluster="tokyo, #1: \\"live\\""', 'environment=~"live|paper"', 'stage!="test"', 'zone!~"x.*"'],
    "job": "ginkgo tokyo",
    "scrape-interval": "1m",
    "heartbeat-ttl": "1m",
    "queue-length": 20_000,
    "alerts": {
        "GinkgoPortfolioImbalance": {"enabled": False},
        "GinkgoWatchdog": {"enabled": False},
        "GinkgoNodesMissing": {"for": "10m", "keep-firing-for": "4m", "severity": "critical"},
        "GinkgoNodeOffline": {"for": "1m", "labels": {"pager": "nodes"}},
        "GinkgoNoNodes": {"severity": "warning"},
        "GinkgoNodesDisappeared": {"thresholds": {"share": 0.9, "nodes": 5}},
        "GinkgoNodeFlapping": {"thresholds": {"changes": 7, "restarts": 4}},
        "GinkgoHeartbeatLate": {"thresholds": {"share": 0.5, "ttl-seconds": 20}},
        "GinkgoBackpressureSpike": {"thresholds": {"factor": 5, "per-second": 1}},
        "GinkgoBackpressureHigh": {"thresholds": {"ratio": 0.5, "per-second": 0.4}},
        "GinkgoRedisMemoryHigh": {"thresholds": {"ratio": 0.8}},
        "GinkgoQueueGrowing": {"thresholds": {"queue-size": 12_000}},
        "GinkgoNodeDeaf": {"thresholds": {"share": 0.8}},
        "GinkgoSchedulerStalled": {"thresholds": {"seconds": 200}},
        "GinkgoPlanFlapping": {"thresholds": {"changes": 8}},
    },
}
"""Each setting, changed."""


def settings_of(tree: Tree, folder: Path) -> RuleSettings:
    """Return the settings that a file with this tree means."""
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return load(path)


def rules_by_name(text: str) -> dict[str, Tree]:
    """Return the rules of a rule file by their names."""
    groups = yaml.safe_load(text)["groups"]
    return {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}


def promtool_says(settings: RuleSettings, folder: Path, rules: str | None = None) -> str:
    """Check rules and run the unit tests that belong to the settings; return "" or promtool's complaints."""
    (folder / FILE).write_text(rules or rules_text(settings), encoding="utf-8")
    (folder / "tests.yml").write_text(unit_tests(settings), encoding="utf-8")
    for command in (("check", "rules", FILE), ("test", "rules", "tests.yml")):
        run = subprocess.run(
            [binary(PROMTOOL), *command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if run.returncode:
            return run.stdout + run.stderr
    return ""
