"""The notes after an installation name objects that exist, and a scrape that Prometheus accepts."""

import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest

from lab.servers import binary

Object = dict[str, Any]
Render = Callable[..., list[Object]]
Notes = Callable[[Object], str]


@pytest.fixture(scope="module")
def notes(chart: helm_python.Chart) -> Notes:
    def text(values: Object) -> str:
        values = {"redis": {"url": "redis://redis:6379/0"}} | values
        made = chart.render(values, name="other", namespace="trading")
        return next(text for path, text in made.items() if path.endswith("NOTES.txt"))

    return text


def test_the_notes_name_objects_that_exist(notes: Notes, render: Render, ci_values: Object) -> None:
    names = {f"{o['kind'].lower()}/{o['metadata']['name']}" for o in render(ci_values, name="other")}
    named = set(re.findall(r"\b(?:deployment|service)/\S+", notes(ci_values)))

    assert len(named) == 2
    assert named <= names


@pytest.mark.server("promtool")
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"replicaCount": 2},
        {"web": {"existingSecret": "web", "scheme": "https"}, "config": {"web": {"telemetry-path": "/scrape"}}},
    ],
)
def test_prometheus_accepts_the_scrape_that_the_notes_propose(notes: Notes, values: Object, tmp_path: Path) -> None:
    block = re.search(r"^ +scrape_configs:\n(?: {6,}.*\n)+", notes(values), re.MULTILINE)
    assert block
    config = tmp_path / "prometheus.yml"
    config.write_text(textwrap.dedent(block[0]), encoding="utf-8")

    checked = subprocess.run(
        [binary("promtool"), "check", "config", config], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
    assert "job_name: ginkgo-exporter" in config.read_text(encoding="utf-8")


def test_the_notes_do_not_propose_a_value_that_is_already_set(notes: Notes) -> None:
    everything = {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "alertmanager": {"urls": ["http://a"]},
    }

    assert "--set" not in notes(everything)
    assert "alertmanager.urls" not in notes(everything)
    assert "prometheusRule.enabled" in notes({})
    assert "alertmanager.urls" in notes({"prometheusRule": {"enabled": True}})


def test_the_notes_name_the_external_address_and_the_test_of_the_release(notes: Notes) -> None:
    text = notes({"externalUrl": "https://ginkgo.example.org", "namespaceOverride": "elsewhere"})

    assert "People find the nodes on https://ginkgo.example.org/ ." in text
    # Helm looks for a release in the release's namespace, kubectl for the objects in theirs.
    assert "helm test other --namespace trading --logs" in text
    assert "kubectl -n elsewhere rollout status" in text
    assert "People" not in notes({})
    assert "helm test" not in notes({"tests": {"enabled": False}})


def test_the_notes_warn_of_the_old_place_of_a_mass_loss(notes: Notes) -> None:
    old = {"alerts": {"pushed": {"massLoss": {"ratio": 0.5, "hold": "20s"}}}}

    assert "WARNING" not in notes({"massLoss": {"ratio": 0.5}})
    warning = notes(old).partition("WARNING: ")[2]
    assert "alerts.pushed.massLoss is now massLoss" in warning
    assert "hold has no effect" in warning
    assert "hold" not in notes({"alerts": {"pushed": {"massLoss": {"ratio": 0.5}}}})
