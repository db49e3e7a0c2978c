"""The package, its chart and the changelog have one version."""

import re
import subprocess

import yaml
from texts import ROOT

from exporter import __version__

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (?!\[Unreleased\]$)(.+)$", CHANGELOG, re.MULTILINE)


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_changelog_begins_with_the_packages_version() -> None:
    dated = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", heading) for heading in HEADINGS]
    versions = [match[1] for match in dated if match]
    assert len(versions) == len(HEADINGS)
    assert versions[0] == __version__
    assert versions == sorted(versions, key=numbers, reverse=True)


def test_changelog_has_the_kinds_of_changes_in_their_order() -> None:
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for part in re.split(r"^## .+$", CHANGELOG, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found]


def test_notes_of_the_release_are_the_versions_part_of_the_changelog() -> None:
    command = ["make", "--no-print-directory", "notes", f"VERSION={__version__}"]
    notes = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "### Added" in notes
    assert "## [" not in notes


def test_chart_has_the_packages_version() -> None:
    chart = yaml.safe_load((ROOT / "helm" / "ginkgo-exporter" / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
