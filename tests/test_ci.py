"""CI runs a failed test once more, and prints its name. The workflows are pinned, and call what exists."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci" / "run"
WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}
FAILED = ["tests/test_a.py::test_one[with spaces]", 'tests/test_b.py::test_two["quoted"]']
MAKE = """#!/bin/sh
case "$*" in
    *" {broken}") echo "make: {broken} failed"; exit 3 ;;
    *last-failed*) echo "make: second run"; exit {second} ;;
    *{tier}) exit {first} ;;
esac
"""


def run_ci(  # noqa: PLR0913
    folder: Path, *, first: int, second: int, steps: Sequence[str] = (), broken: str = "nothing", tier: str = "test"
) -> subprocess.CompletedProcess[str]:
    """Run CI's script with a fake `make`, whose tests end with the given exit codes, and one of whose targets fails."""
    for name, text in {
        ".ci/run": CI.read_text(),
        ".ci/demo": "",
        "bin/make": MAKE.format(first=first, second=second, broken=broken, tier=tier),
        ".pytest_cache/v/cache/lastfailed": json.dumps(dict.fromkeys(FAILED, True)),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (folder / ".venv/bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv/bin/python").unlink(missing_ok=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    environment = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    command = ["bash", ".ci/run", *steps]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=30)


def test_failed_tests_of_either_tier_are_named_and_run_once_more(tmp_path: Path) -> None:
    for tier in ("test", "test-rest"):
        for second in (0, 1):
            done = run_ci(tmp_path, first=1, second=second, tier=tier)
            again = [*(f"needed a second run: {name}" for name in FAILED), "make: second run"]
            assert done.stdout.splitlines()[-3:] == again
            assert (tmp_path / "build/flaky.txt").read_text().splitlines() == FAILED
            assert done.returncode == second
        done = run_ci(tmp_path, first=0, second=1, tier=tier)
        assert "second run" not in done.stdout
        assert ((tmp_path / "build/flaky.txt").read_text(), done.returncode) == ("", 0)


def test_a_check_that_fails_beside_the_others_fails_ci_and_only_the_asked_steps_run(tmp_path: Path) -> None:
    for broken in ("lint", "package"):
        done = run_ci(tmp_path, first=0, second=0, broken=broken)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (3, f"make: {broken} failed")
    done = run_ci(tmp_path, first=0, second=1, steps=("lint", "site"))
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == ["== lint", "== site"]


def test_every_action_is_pinned_by_one_digest_and_every_called_target_exists() -> None:
    uses = set(re.findall(r"uses: (.+)", "\n".join(WORKFLOWS.values())))
    assert [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []
    assert len({action.partition("@")[2] for action in uses}) <= len({action.partition("@")[0] for action in uses})
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = re.findall(r"\bmake --no-print-directory ([a-z-]+)", "\n".join((*WORKFLOWS.values(), CI.read_text())))
    assert set(called) <= targets


def test_each_file_of_tests_has_a_name_of_its_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == [], "pytest -n 0 cannot collect both"
