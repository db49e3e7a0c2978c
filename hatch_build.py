"""A build in a checkout writes the commit into the package, so that ``ginkgo-exporter --version`` can name it."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RevisionHook(BuildHookInterface[Any]):
    """Adds ``exporter/REVISION``. An editable installation gets none, because its checkout moves on."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Ask git for the commit, unless the sources name one already or are no checkout."""
        if (
            version == "editable"
            or Path(self.root, "exporter", "REVISION").exists()
            or not Path(self.root, ".git").exists()
        ):
            return
        try:
            asked = ("git", "-C", self.root, "rev-parse", "HEAD")
            commit = subprocess.run(asked, check=True, capture_output=True, text=True).stdout  # noqa: S603 - fixed words
        except (OSError, subprocess.CalledProcessError):
            self.app.display_warning("git does not tell the commit, so --version will call the revision unknown")
            return
        self._folder = TemporaryDirectory()
        file = Path(self._folder.name, "REVISION")
        file.write_text(commit, encoding="utf-8")
        build_data["force_include"][str(file)] = "exporter/REVISION"
