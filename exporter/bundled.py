"""Finds the product's files that are not Python: alert rules, Alertmanager's example, dashboards."""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

import yaml

import exporter

RULES: Final = "alerts/ginkgo.rules.yml"
"""The Prometheus rules of all alerts."""


def bundled(name: str) -> Path:
    """Return the path of a bundled file, such as ``alerts/ginkgo.rules.yml``.

    An installed package contains these files. In a checkout they are beside the package.

    Raises:
        FileNotFoundError: The file is in neither place.
    """
    package = Path(str(resources.files(exporter)))
    for folder in (package / "bundled", package.parent):
        path = folder / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name} is not part of this installation")


@cache
def alert_severities() -> dict[str, str]:
    """Return the severity of each alert, sorted by name: those of the bundled rules, and the page for a test."""
    groups = yaml.safe_load(bundled(RULES).read_text(encoding="utf-8"))["groups"]
    rules = (rule for group in groups for rule in group["rules"] if "alert" in rule)
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in rules} | {"GinkgoTestPage": "critical"}
    return dict(sorted(severities.items()))
