"""Finds the product's files that are not Python: alert rules, Alertmanager's example, dashboards."""

from importlib import resources
from pathlib import Path

import exporter


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
