"""What the chart says of itself agrees with the project, and Artifact Hub can read it."""

import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

# https://artifacthub.io/docs/topics/annotations/helm/
CATEGORIES = {"monitoring-logging", "database", "integration-delivery", "networking", "security", "storage"}


@pytest.fixture(scope="module")
def about(chart_folder: Path) -> Object:
    found: Object = yaml.safe_load((chart_folder / "Chart.yaml").read_text(encoding="utf-8"))
    return found


def test_home_and_sources_are_the_project_s(about: Object, root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert about["home"] == project["urls"]["Repository"]
    assert about["sources"] == [project["urls"]["Repository"]]
    assert all(maintainer["url"].startswith("https://") for maintainer in about["maintainers"])


def test_the_icon_is_a_picture_of_this_repository(about: Object, root: Path) -> None:
    place = about["icon"].partition("/main/")[2]
    picture = root / place

    assert about["icon"] == f"{about['home'].replace('github.com', 'raw.githubusercontent.com')}/main/{place}"
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own file
    assert picture.stat().st_size < 5_000


def test_artifact_hub_can_read_the_annotations(about: Object, root: Path) -> None:
    notes = about["annotations"]
    license_text = (root / "LICENSE").read_text(encoding="utf-8")
    links = yaml.safe_load(notes["artifacthub.io/links"])
    (image,) = yaml.safe_load(notes["artifacthub.io/images"])
    (recommended,) = yaml.safe_load(notes["artifacthub.io/recommendations"])

    assert all(isinstance(text, str) for text in notes.values())
    assert notes["artifacthub.io/category"] in CATEGORIES
    assert license_text.startswith(f"{notes['artifacthub.io/license']} License")
    assert image["image"] == f"ghcr.io/ginkgo-trading/ginkgo-exporter:{about['appVersion']}"
    assert recommended["url"].startswith("https://artifacthub.io/packages/helm/")
    for link in links:
        place = link["url"].removeprefix(about["home"]).removeprefix("/tree/main").removeprefix("/blob/main")
        assert place == "/issues" or (root / place.lstrip("/")).exists(), link


def test_the_release_pushes_the_image_that_the_chart_names(about: Object, root: Path) -> None:
    (image,) = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    release = (root / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")

    assert "image=ghcr.io/${GITHUB_REPOSITORY,,}" in release
    assert "--platform " + ",".join(image["platforms"]) in release
