"""CI runs a failed test once more, and prints its name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci" / "run"
FAILED = ["tests/test_a.py::test_one[with spaces]", 'tests/test_b.py::test_two["quoted"]']
MAKE = """#!/bin/sh
case "$*" in
    *last-failed*) echo "make: second run"; exit {second} ;;
    *test) exit {first} ;;
esac
"""


def run_ci(folder: Path, *, first: int, second: int) -> subprocess.CompletedProcess[str]:
    """Run CI's script with a fake `make`, whose tests end with the given exit codes."""
    for name, text in {
        ".ci/run": CI.read_text(),
        ".ci/demo": "",
        "bin/make": MAKE.format(first=first, second=second),
        ".pytest_cache/v/cache/lastfailed": json.dumps(dict.fromkeys(FAILED, True)),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    environment = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", ".ci/run"], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize("second", [0, 1])
def test_failed_tests_are_named_and_run_once_more(tmp_path: Path, second: int) -> None:
    done = run_ci(tmp_path, first=1, second=second)
    lines = done.stdout.splitlines()
    assert lines[-3:] == [*(f"needed a second run: {name}" for name in FAILED), "make: second run"]
    assert (tmp_path / "build/flaky.txt").read_text().splitlines() == FAILED
    assert done.returncode == second


def test_without_a_failed_test_there_is_no_second_run(tmp_path: Path) -> None:
    done = run_ci(tmp_path, first=0, second=1)
    assert "second run" not in done.stdout
    assert (tmp_path / "build/flaky.txt").read_text() == ""
    assert done.returncode == 0
