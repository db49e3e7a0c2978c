"""Configurations and commands of the texts beside README and docs/: of the alerts, the chart and the dashboards."""

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from reader import Block, blocks

from lab.servers import binary
from packages import ROOT

ALERTS, CHART_PAGE = "alerts/README.md", "helm/ginkgo-exporter/README.md"
CHART = ROOT / "helm" / "ginkgo-exporter"
REDIS = {"redis": {"url": "redis://redis:6379/0"}}
VALUES = [block for block in blocks(CHART_PAGE) if block.language == "yaml"]
CLUSTER = re.compile(r"kubectl |helm (test|uninstall|rollback|get|list) |… ")
"""Commands that need a cluster, or that go on with the reader's own words."""


def commands(page: str) -> list[str]:
    """Return the commands of a page's shell blocks, also of indented ones, with their continued lines joined."""
    text = re.sub(r"\s*\\\n\s*", " ", (ROOT / page).read_text(encoding="utf-8"))
    found = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.splitlines()]


def settings(command: list[str]) -> dict[str, Any]:
    """Return the values of a command's ``--set`` as a tree."""
    values: dict[str, Any] = {}
    for flag, setting in pairwise(command):
        if flag in {"--set", "--set-string"}:
            path, _, value = setting.partition("=")
            *sections, key = path.split(".")
            branch = values
            for section in sections:
                branch = branch.setdefault(section, {})
            branch[key] = yaml.safe_load(value)
    return values


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    helm_python.lint(CHART, values=values, strict=True)
    with helm_python.Chart.load(CHART) as chart:
        made = chart.render(values, name="ginkgo", namespace="trading")
    return [
        found for path, text in made.items() if path.endswith(".yaml") for found in yaml.safe_load_all(text) if found
    ]


@pytest.mark.parametrize("block", VALUES, ids=lambda block: block.text.splitlines()[0])
def test_yaml_of_the_charts_page_is_values_or_an_object_of_kubernetes(block: Block) -> None:
    known = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for document in yaml.safe_load_all(block.text):
        if "apiVersion" in document:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        else:
            assert document.keys() <= known.keys()
            assert render(REDIS | document)


def test_helm_commands_of_the_charts_page_are_taken() -> None:
    tried = [line for line in commands(CHART_PAGE) if not CLUSTER.search(line)]
    assert any("install" in line for line in tried)
    for line in tried:
        program, *words = shlex.split(line)
        assert program == "helm", line
        assert render(REDIS | settings(words))


@pytest.mark.server("promtool")
def test_prometheus_takes_the_configuration_of_the_alerts_page(tmp_path: Path) -> None:
    (config,) = (block for block in blocks(ALERTS) if block.language == "yaml")
    (tmp_path / "ginkgo.rules.yml").symlink_to(ROOT / "alerts" / "ginkgo.rules.yml")
    (tmp_path / "prometheus.yml").write_text(config.text)
    subprocess.run([binary("promtool"), "check", "config", tmp_path / "prometheus.yml"], check=True)


@pytest.mark.server("promtool")
def test_commands_of_the_alerts_page_change_every_link(tmp_path: Path) -> None:
    for command in commands(ALERTS):
        if command.startswith("sed "):
            made = subprocess.run(shlex.split(command), cwd=ROOT / "alerts", capture_output=True, text=True, check=True)
            links = re.findall(r"(?:runbook|dashboard)_url: (\S+)", made.stdout)
            assert {link.split("/")[2] for link in links} == {"wiki.example.org", "grafana.example.org"}
            (tmp_path / "rules.yml").write_text(made.stdout)
            subprocess.run([binary("promtool"), "check", "rules", "--lint=none", tmp_path / "rules.yml"], check=True)


def test_dashboards_page_names_the_folder_of_the_dashboards() -> None:
    folders = re.findall(r"--from-file=(\S+)", "\n".join(commands("grafana/README.md")))
    assert folders
    assert all(list((ROOT / folder).glob("*.json")) for folder in folders)
