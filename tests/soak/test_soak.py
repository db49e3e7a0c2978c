"""The soak's short form: a minute of faults and of nodes that come and go, in which the exporter is never wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.soak.alertmanager import alertmanager_binary


@pytest.mark.timeout(400)
def test_exporter_is_never_wrong_through_a_minute_of_faults() -> None:
    soak = subprocess.run(
        [sys.executable, "-m", "lab.soak", "--minutes", "1", "--seed", "5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert re.search(r"^wrong +0$", soak.stdout, re.MULTILINE), soak.stdout
    for line in ("states seen", "ledgers judged", "agreement checks"):
        assert re.search(rf"^{line} +(\S+.* )?[1-9]", soak.stdout, re.MULTILINE), soak.stdout
    always = ("faults", "node events", "looks of the scheduler", "portfolios")
    for table in (*always, "deaths", "pages") if alertmanager_binary() else always:
        assert re.search(rf"^{table}\n  .* [1-9]", soak.stdout, re.MULTILINE), soak.stdout
