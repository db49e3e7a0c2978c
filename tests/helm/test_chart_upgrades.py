"""An upgrade from version 0.1.0 changes no field that must stay, and a new version of the chart restarts no pod."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

Object = dict[str, Any]
Render = Callable[..., list[Object]]
One = Callable[..., Object]

FIRST_RELEASE = Path(__file__).with_name("first-release")
INSTALLATIONS: dict[str, Object] = yaml.safe_load((FIRST_RELEASE / "installations.yaml").read_text(encoding="utf-8"))


def key(found: Object) -> str:
    metadata = found["metadata"]
    return f"{found['apiVersion']} {found['kind']} {metadata.get('namespace', '')}/{metadata['name']}"


def kept(found: Object) -> Object:
    """Return the fields that Kubernetes lets nobody change, and the fields that find the pods."""
    spec = found.get("spec", {})
    fields: dict[str, Object] = {
        "Deployment": {"selector": spec.get("selector", {}).get("matchLabels")},
        "PodDisruptionBudget": {"selector": spec.get("selector", {}).get("matchLabels")},
        "NetworkPolicy": {"selector": spec.get("podSelector", {}).get("matchLabels")},
        "Service": {"selector": spec.get("selector"), "type": spec.get("type")},
        "Secret": {"type": found.get("type")},
    }
    return fields.get(found["kind"], {})


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_an_upgrade_from_the_first_release_keeps_all_objects(render: Render, installation: str) -> None:
    """Kubernetes refuses to change some fields, and takes another name for another object."""
    first = INSTALLATIONS[installation]
    now = {key(found): kept(found) for found in render(first["values"], name=first["release"])}

    assert {name: now.get(name) for name in first["objects"]} == first["objects"]


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_an_upgrade_that_reuses_the_values_of_the_first_release_keeps_all_objects(
    chart_with: Callable[..., helm_python.Chart], installation: str
) -> None:
    """`helm upgrade --reuse-values` gives the new templates the old defaults, so each newer value is missing."""
    chart = chart_with(values=(FIRST_RELEASE / "values.yaml").read_text(encoding="utf-8"))
    first = INSTALLATIONS[installation]
    made = chart.render(first["values"], name=first["release"], namespace="trading")
    texts = [text for path, text in made.items() if path.endswith(".yaml")]
    now = {key(found): kept(found) for text in texts for found in yaml.safe_load_all(text) if found}

    assert now == first["objects"]


def test_a_new_version_of_the_chart_alone_restarts_no_pod(
    chart_with: Callable[..., helm_python.Chart], render: Render, one: One
) -> None:
    values = {"redis": {"url": "redis://redis:6379/0"}, "alertmanager": {"urls": ["http://a"]}}
    made = chart_with(version="9.9.9").render(values, name="ginkgo", namespace="trading")
    newer = one([yaml.safe_load(text) for path, text in made.items() if path.endswith("deployment.yaml")], "Deployment")
    now = one(render(values), "Deployment")

    assert newer["spec"]["template"] == now["spec"]["template"]
    assert newer["metadata"]["labels"]["helm.sh/chart"] == "ginkgo-exporter-9.9.9"
    assert "helm.sh/chart" not in json.dumps(now["spec"])


@pytest.fixture(scope="module")
def chart_with(chart_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., helm_python.Chart]:
    """Return a function that loads the chart with other defaults or another version, once for each."""
    loaded: dict[tuple[str | None, str | None], helm_python.Chart] = {}

    def changed(values: str | None = None, version: str | None = None) -> helm_python.Chart:
        if (values, version) not in loaded:
            folder = tmp_path_factory.mktemp("chart") / chart_folder.name
            shutil.copytree(chart_folder, folder)
            if values is not None:
                (folder / "values.yaml").write_text(values, encoding="utf-8")
            if version is not None:
                about = yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8")) | {"version": version}
                (folder / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
            loaded[values, version] = helm_python.Chart.load(folder)
        return loaded[values, version]

    return changed
