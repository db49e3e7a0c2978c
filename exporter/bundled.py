"""Files that belong to the product and are no Python: alert rules, Alertmanager's example, dashboards."""

from importlib import resources
from pathlib import Path

import exporter


def bundled(name: str) -> Path:
    """Return the path of a bundled file, such as ``alerts/ginkgo.rules.yml``.

    An installed package carries them inside; a checkout has them beside it.

    Raises:
        FileNotFoundError: Neither is there.
    """
    package = Path(str(resources.files(exporter)))
    for folder in (package / "bundled", package.parent):
        path = folder / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name} is not part of this installation")
