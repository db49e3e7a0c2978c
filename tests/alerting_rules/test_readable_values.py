"""The values in alerts' texts are such as people read: 23.41%, 4m 10s, 1,024, and no long fractions."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from rule_settings import rules_by_name

from exporter.bundled import RULES, bundled
from lab.servers import binary

SOURCE = bundled(RULES)
WHOLE = {
    "GinkgoNodeOffline",
    "GinkgoNodeFlapping",
    "GinkgoTaskTimerTwice",
    "GinkgoNodePaused",
    "GinkgoPortfolioImbalance",
}
"""Alerts whose values are small whole numbers: portfolios of a node, restarts, task timers."""
LARGE = {
    "GinkgoNodesUndecided": ('ginkgo_nodes{state="undecided"}', "1024", "Nodes that may be dead or alive: 1,024"),
    "GinkgoPortfoliosMisplaced": ('ginkgo_portfolios{state="misplaced"}', "999999", "than planned: 999,999"),
    "GinkgoPortfoliosUnplanned": ('ginkgo_portfolios{state="unplanned"}', "12", "without being planned: 12"),
    "GinkgoSchedulerStalled": ("ginkgo_plan_idle_seconds", "250", "for 4m 10s"),
    "GinkgoRedisMemoryHigh": ("ginkgo_redis_memory_used_ratio", "0.93412", "uses 93.41% of its memory"),
    "GinkgoQueueGrowing": ('ginkgo_node_queue_size_max{node_id="n1"}', "1024", "holds 1,024 of 1,000 events"),
    "GinkgoEventsDropped": ('ginkgo_node_dropped_events_total{node_id="n1"}', "_x50 1234567", "it started: 1,234,567."),
}
"""For each alert a series, its last value, and what a text says about the value."""


def test_each_value_has_a_form_unless_it_is_a_small_whole_number() -> None:
    bare = {
        name
        for name, rule in rules_by_name(SOURCE.read_text()).items()
        if re.search(r"\{\{ \$value \}\}", str(rule.get("annotations", "")))
    }
    assert bare == WHOLE


@pytest.mark.server("promtool")
def test_large_numbers_shares_and_times_are_readable(tmp_path: Path) -> None:
    series = [{"series": name, "values": _held(value)} for name, value, _ in LARGE.values()]
    series += [
        {"series": 'ginkgo_node_up{node_id="n1"}', "values": "1x100"},
        {"series": 'ginkgo_node_events_total{node_id="n1"}', "values": "1x100"},
        {"series": "ginkgo_redis_up", "values": "1x100"},
    ]
    # A test that expects no alert shows the texts of the alert that fires.
    expected = [{"eval_time": "20m", "alertname": name, "exp_alerts": []} for name in LARGE]
    test = {"interval": "15s", "input_series": series, "alert_rule_test": expected}
    document = {"rule_files": [str(SOURCE)], "evaluation_interval": "15s", "tests": [test]}
    (tmp_path / "tests.yml").write_text(json.dumps(document))
    command = [binary("promtool"), "test", "rules", "tests.yml"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [text for _, _, text in LARGE.values() if text not in run.stdout + run.stderr] == []


def _held(values: str) -> str:
    *before, last = values.split()
    return " ".join([*before, f"{last}x100"])
