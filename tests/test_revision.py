"""``--version`` and ``ginkgo_exporter_build_info`` name the commit of a build."""

import subprocess
import sys
from pathlib import Path

from exporter import __revision__, __version__

ROOT = Path(__file__).parent.parent


def test_version_says_the_revision_of_a_build_and_that_a_checkout_knows_none(tmp_path: Path) -> None:
    assert __revision__ == "unknown"
    package = tmp_path / "exporter"
    package.mkdir()
    (package / "__init__.py").write_text((ROOT / "exporter" / "__init__.py").read_text())
    (package / "REVISION").write_text("0123abc\n")
    asked = "import exporter; print(exporter.__revision__)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "0123abc\n"
    command = [sys.executable, "-m", "exporter", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"ginkgo-exporter {__version__} (unknown)\n"
