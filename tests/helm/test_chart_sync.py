"""The chart's copies equal their sources, and the command that copies notices a difference."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def sync(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "helm" / "sync.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    for name in ("alerts", "grafana/dashboards", "helm", "exporter"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (root / name).is_dir() else shutil.copy)(root / name, target)
    return tmp_path


def test_the_chart_s_copies_are_up_to_date(root: Path) -> None:
    checked = sync(root, "--check")

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("alerts/ginkgo.rules.yml", "\n# another\n"),
        ("grafana/dashboards/more.json", "{}\n"),
        ("helm/ginkgo-exporter/files/rules/old.rules.yml", "groups: []\n"),
        ("helm/ginkgo-exporter/values.yaml", "# -- Another\nanother: 1\n"),
        ("helm/ginkgo-exporter/files/thresholds.yml", "Another: {size: '> {1}'}\n"),
        ("exporter/__init__.py", '__version__ = "9.9.9"\n'),
    ],
)
def test_a_difference_is_noticed_and_repaired(copied: Path, path: str, line: str) -> None:
    changed = copied / path
    text = changed.read_text(encoding="utf-8") if changed.exists() else ""
    changed.write_text(line if path.endswith("__init__.py") else text + line, encoding="utf-8")

    noticed = sync(copied, "--check")
    repaired = sync(copied)

    assert noticed.returncode == 1
    assert "differs" in noticed.stdout
    assert repaired.returncode == 0
    assert sync(copied, "--check").returncode == 0


def test_a_value_without_a_description_is_an_error(copied: Path) -> None:
    with (copied / "helm/ginkgo-exporter/values.yaml").open("a", encoding="utf-8") as values:
        values.write("undocumented: 1\n")

    checked = sync(copied, "--check")

    assert checked.returncode != 0
    assert "undocumented has no comment" in checked.stderr


def test_an_empty_source_is_an_error_and_removes_no_copy(copied: Path, tmp_path: Path) -> None:
    checked = sync(copied, "--dashboards", str(tmp_path / "nowhere"))

    assert checked.returncode != 0
    assert list((copied / "helm/ginkgo-exporter/files/dashboards").glob("*.json"))
