"""systemd accepts the unit, and finds it locked down."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from exporter.commands.command_line import ExitCode
from lab.servers import binary

UNIT = Path(__file__).parents[2] / "docs" / "how-to" / "ginkgo-exporter.service"
LOOSE = 1.5
"""systemd calls an exposure below 2 safe; a server on the network that runs on the host's root has 1.1."""


@pytest.mark.server("systemd-analyze")
def test_systemd_accepts_the_unit_which_is_locked_down_and_ends_for_good_at_a_wrong_setting(tmp_path: Path) -> None:
    unit, text = tmp_path / UNIT.name, UNIT.read_text(encoding="utf-8")
    # systemd looks for the program.
    unit.write_text(text.replace("/opt/ginkgo-exporter/bin/ginkgo-exporter", "/bin/true"), encoding="utf-8")

    def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [binary("systemd-analyze"), "--no-pager", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    checked = analyze("verify", unit)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    checked = analyze("security", "--offline=true", f"--threshold={int(LOOSE * 10)}", "--json=short", unit)
    loose = {one["name"]: float(one["exposure"]) for one in json.loads(checked.stdout) if one["exposure"]}
    assert checked.returncode == 0, loose
    assert max(loose.values()) <= 0.5  # the host's network
    assert re.findall(r"^RestartPreventExitStatus=(.+)$", text, re.MULTILINE) == [str(int(ExitCode.USAGE))]
