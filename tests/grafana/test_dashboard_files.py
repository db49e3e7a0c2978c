"""The written dashboards are up to date, and their panels, links and limits are right."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.proof.expressions import read
from grafana.source.__main__ import files, main
from grafana.source.palette import (
    BACKPRESSURE_FLOOR,
    BACKPRESSURE_SHARE,
    BACKPRESSURE_SPIKE,
    HEARTBEAT_LATE,
    QUEUE_FILLING,
    QUEUE_FULL,
)
from grafana.source.portfolios import STALLED

GRAFANA = Path(__file__).parents[2] / "grafana"
DASHBOARDS = [read(path) for path in sorted((GRAFANA / "dashboards").glob("*.json"))]
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["uid"])


def test_written_dashboards_are_up_to_date_with_their_code() -> None:
    assert main(["--check"]) == 0


def test_check_finds_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grafana.source.__main__.FOLDER", tmp_path)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "node.json").write_text("{}", encoding="utf-8")
    assert main(["--check"]) == 1


def test_dashboards_are_the_same_bytes_on_every_call() -> None:
    assert files() == files()


def test_dashboards_have_the_promised_names() -> None:
    assert {(dashboard["uid"], dashboard["title"]) for dashboard in DASHBOARDS} == {
        ("ginkgo-fleet", "Ginkgo / Fleet"),
        ("ginkgo-node", "Ginkgo / Node"),
        ("ginkgo-exporter", "Ginkgo / Exporter"),
    }


@every_dashboard
def test_panels_fill_the_grid_without_overlap(dashboard: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        covered = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert max(x for x, _ in covered) < 24, panel["title"]
        assert not covered & cells, panel["title"]
        cells |= covered
    depth = 1 + max(y for _, y in cells)
    holes = set(itertools.product(range(24), range(depth))) - cells
    assert not holes


@every_dashboard
def test_panels_are_numbered_once(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert ids == sorted(set(ids))


@every_dashboard
def test_dashboards_link_to_each_other_by_tag(dashboard: dict[str, Any]) -> None:
    (link,) = dashboard["links"]
    assert link["type"] == "dashboards"
    assert set(link["tags"]) <= set(dashboard["tags"])
    assert link["keepTime"] is True


def test_node_names_link_to_the_node() -> None:
    fleet = next(dashboard for dashboard in DASHBOARDS if dashboard["uid"] == "ginkgo-fleet")
    table = next(panel for panel in fleet["panels"] if panel["title"] == "Nodes")
    node = next(entry for entry in table["fieldConfig"]["overrides"] if entry["matcher"]["options"] == "Node")
    (links,) = [entry["value"] for entry in node["properties"] if entry["id"] == "links"]
    assert links[0]["url"].startswith("/d/ginkgo-node?")
    assert "var-node=${__value.raw:percentencode}" in links[0]["url"]


def test_limits_agree_with_the_alerts() -> None:
    rules = yaml.safe_load((GRAFANA.parent / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8"))
    alerts = {rule.get("alert") or rule["record"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    assert f"node:ginkgo_node_queue_size:fullest > {QUEUE_FILLING:.0f}" in alerts["GinkgoQueueGrowing"]
    assert f">= {QUEUE_FULL:.0f}" in alerts["GinkgoQueueGrowing"]
    assert f">= {STALLED}" in alerts["GinkgoSchedulerStalled"]
    late = alerts["node:ginkgo_node_heartbeat_ttl_seconds:late"]
    assert f"(ginkgo_node_heartbeat_ttl_seconds > 0) < {HEARTBEAT_LATE}\n" in late
    spike, high = alerts["GinkgoBackpressureSpike"], alerts["GinkgoBackpressureHigh"]
    assert f"[2m]) > {BACKPRESSURE_FLOOR})\n" in spike
    assert f"> {BACKPRESSURE_SPIKE} * node:ginkgo_node_backpressure:usual_rate5m" in spike
    assert f"ratio_rate5m > {BACKPRESSURE_SHARE}\n" in high


def test_alerts_link_to_dashboards_that_exist() -> None:
    rules = (GRAFANA.parent / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"dashboard_url: /d/([\w-]+)", rules)) <= {one["uid"] for one in DASHBOARDS}


def test_provisioning_reads_the_folder_and_names_a_prometheus() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/ginkgo.yaml").read_text(encoding="utf-8"))
    assert provider["providers"][0]["type"] == "file"
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["type"] == "prometheus"
    assert source["datasources"][0]["jsonData"]["timeInterval"] == "15s"
