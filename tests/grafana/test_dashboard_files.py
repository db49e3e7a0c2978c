"""The written dashboards are up to date, and their panels, links and limits are right."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.settings import Heartbeat
from grafana.pictures.__main__ import STATES
from grafana.proof.expressions import read
from grafana.source import limits
from grafana.source.__main__ import files, main
from grafana.source.palette import STATE_COLOURS

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


def test_limits_are_those_of_the_rules() -> None:
    assert (limits.QUEUE_FILLING, limits.QUEUE_FULL, limits.HEARTBEAT_LATE, limits.STALLED) == (700, 950, 15, 120)
    assert (limits.BACKPRESSURE_FLOOR, limits.BACKPRESSURE_SHARE, limits.BACKPRESSURE_SPIKE) == (0.1, 0.1, 3)
    assert Heartbeat().ttl == limits.HEARTBEAT_TTL


def test_limit_that_is_not_in_the_rules_is_an_error() -> None:
    with pytest.raises(LookupError, match="GinkgoQueueGrowing"):
        limits.limit("GinkgoQueueGrowing", "< {}")


@every_dashboard
def test_present_values_are_the_last_ones_and_not_the_last_known_ones(dashboard: dict[str, Any]) -> None:
    assert "lastNotNull" not in json.dumps(dashboard)


@every_dashboard
def test_no_panel_has_the_classic_palette(dashboard: dict[str, Any]) -> None:
    assert "palette-classic" not in json.dumps(dashboard)


@every_dashboard
def test_every_state_has_one_colour(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        config = panel.get("fieldConfig", {"defaults": {}})
        maps = list(config["defaults"].get("mappings", ()))
        for override in config.get("overrides", ()):
            shown = {entry["id"]: entry["value"] for entry in override["properties"]}
            maps += shown.get("mappings", ())
            name = re.sub(r"\W", "", override["matcher"]["options"].removesuffix(r"\b/"))
            if name in STATE_COLOURS:
                assert shown["color"]["fixedColor"] == STATE_COLOURS[name], panel["title"]
        for meaning in (entry for one in maps for entry in one["options"].values()):
            state = meaning["text"].lower()
            assert meaning["color"] == STATE_COLOURS.get(state, meaning["color"]), panel["title"]


def test_alerts_link_to_dashboards_that_exist() -> None:
    rules = (GRAFANA.parent / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"dashboard_url: /d/([\w-]+)", rules)) <= {one["uid"] for one in DASHBOARDS}


def test_provisioning_reads_the_folder_and_names_a_prometheus() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/ginkgo.yaml").read_text(encoding="utf-8"))
    assert provider["providers"][0]["type"] == "file"
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["type"] == "prometheus"
    assert source["datasources"][0]["jsonData"]["timeInterval"] == "15s"


@pytest.mark.parametrize("dashboard", ["fleet", "node", "exporter"])
@pytest.mark.parametrize("state", STATES)
def test_each_state_of_each_dashboard_has_a_small_picture(state: str, dashboard: str) -> None:
    picture = (GRAFANA.parent / "docs" / "pictures" / f"{dashboard}-{state}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) <= 150 * 1024
