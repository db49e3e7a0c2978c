"""The package, its chart and the changelog have one version, and the page on upgrades says what the program does."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from texts import ROOT

from exporter import __version__
from exporter.settings import load, renamed

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
UPGRADE = (ROOT / "docs" / "how-to" / "upgrade.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
OLD_NAMES = re.findall(r"^\| `--(alertmanager\.[a-z-]+)` \| (?:`(--[a-z.-]+)`|has no effect)", UPGRADE, re.MULTILINE)


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


def test_page_on_upgrades_begins_at_the_version_before() -> None:
    before = re.findall(r"\[(.+?)\]", HEADINGS[1])[0]
    assert UPGRADE.startswith(f"# Upgrade from {before}\n")


@pytest.mark.parametrize(("old", "new"), OLD_NAMES)
@pytest.mark.parametrize("place", ["flag", "variable", "file"])
def test_old_name_of_a_setting_works_with_a_warning(
    old: str, new: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"ratio": "0.4", "nodes": "7", "hold": "15s"}[old.rpartition("-")[2]]
    section, _, key = old.partition(".")
    given: dict[str, object] = {}
    if place == "flag":
        given = {old: value}
    elif place == "variable":
        monkeypatch.setenv("GINKGO_EXPORTER_" + re.sub(r"[.-]", "_", old).upper(), value)
    else:
        (tmp_path / "config.yml").write_text(f"{section}: {{{key}: {value}}}\n")
        given = {"config.file": str(tmp_path / "config.yml")}
    settings = load(given)
    (hint,) = renamed(settings)
    assert hint.startswith(f"--{old} ")
    if new:
        assert hint.endswith(f" {new}")
        assert str(getattr(settings.mass_loss, new.rpartition(".")[2])) == value


def test_every_old_name_is_on_the_page() -> None:
    assert [old for old, _ in OLD_NAMES] == [f"alertmanager.mass-loss-{key}" for key in ("nodes", "ratio", "hold")]
