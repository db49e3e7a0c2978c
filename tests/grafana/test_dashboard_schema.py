"""The dashboards' JSON is valid by Grafana's own types, of the oldest and the newest supported Grafana."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCHEMA = Path(__file__).parent / "schema"
DASHBOARDS = sorted((Path(__file__).parents[2] / "grafana" / "dashboards").glob("*.json"))

pytestmark = [pytest.mark.server("node"), pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def checker() -> Path:
    for binary in ("node", "npm"):
        if shutil.which(binary) is None:
            pytest.skip(f"{binary} is not installed")
    lock, installed = SCHEMA / "package-lock.json", SCHEMA / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=SCHEMA, check=True, capture_output=True)
    return SCHEMA / "check.mjs"


@pytest.mark.parametrize("version", ["10.4", "11.6"])
def test_dashboards_are_valid_by_grafanas_types(version: str, checker: Path, tmp_path: Path) -> None:
    misspelt = json.loads(DASHBOARDS[0].read_text(encoding="utf-8"))
    misspelt["panels"][0]["options"]["colourMode"] = "value"
    mistyped = json.loads(DASHBOARDS[0].read_text(encoding="utf-8"))
    mistyped["panels"][0]["gridPos"]["w"] = "wide"
    wrong = {tmp_path / "misspelt.json": misspelt, tmp_path / "mistyped.json": mistyped}
    for path, dashboard in wrong.items():
        path.write_text(json.dumps(dashboard), encoding="utf-8")
    done = subprocess.run(
        ["node", str(checker), version, *map(str, (*DASHBOARDS, *wrong))],
        capture_output=True,
        text=True,
        check=False,
    )
    found = done.stdout.splitlines()
    assert len(found) == len(wrong), done.stdout + done.stderr
    assert "colourMode" in found[0]
    assert "gridPos/w must be number" in found[1]
