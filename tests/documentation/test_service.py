"""systemd accepts the unit, and finds it locked down."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from exporter.commands.exit_codes import ExitCode
from lab.servers import binary
from packages import ROOT

UNIT = ROOT / "docs" / "how-to" / "ginkgo-exporter.service"
LOOSE = 1.5
"""systemd calls an exposure below 2 safe; a server on the network that runs on the host's root has 1.1."""

pytestmark = pytest.mark.server("systemd-analyze")


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [binary("systemd-analyze"), "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is on this machine, since systemd looks for it."""
    path = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    path.write_text(text.replace("/opt/ginkgo-exporter/bin/ginkgo-exporter", "/bin/true"), encoding="utf-8")
    return path


def test_systemd_accepts_the_unit(unit: Path) -> None:
    checked = analyze("verify", unit)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_systemd_notices_a_misspelt_directive(unit: Path) -> None:
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome", "ProtectHmoe"), encoding="utf-8")

    assert "ProtectHmoe" in analyze("verify", unit).stderr


def test_the_unit_is_locked_down(unit: Path) -> None:
    checked = analyze("security", "--offline=true", f"--threshold={int(LOOSE * 10)}", "--json=short", unit)
    loose = {one["name"]: float(one["exposure"]) for one in json.loads(checked.stdout) if one["exposure"]}

    assert checked.returncode == 0, loose
    assert max(loose.values()) <= 0.5  # the host's network


def test_a_wrong_setting_ends_the_service_for_good() -> None:
    text = UNIT.read_text(encoding="utf-8")

    assert re.findall(r"^RestartPreventExitStatus=(.+)$", text, re.MULTILINE) == [str(int(ExitCode.USAGE))]
