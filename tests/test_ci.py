"""CI runs a failed test once more, and prints its name. The workflows are pinned, and call what exists."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci" / "run"
FAILED = ["tests/test_a.py::test_one[with spaces]", 'tests/test_b.py::test_two["quoted"]']
MAKE = """#!/bin/sh
case "$*" in
    *" {broken}") echo "make: {broken} failed"; exit 3 ;;
    *last-failed*) echo "make: second run"; exit {second} ;;
    *test) exit {first} ;;
esac
"""


def run_ci(
    folder: Path, *, first: int, second: int, steps: Sequence[str] = (), broken: str = "nothing"
) -> subprocess.CompletedProcess[str]:
    """Run CI's script with a fake `make`, whose tests end with the given exit codes, and one of whose targets fails."""
    for name, text in {
        ".ci/run": CI.read_text(),
        ".ci/demo": "",
        "bin/make": MAKE.format(first=first, second=second, broken=broken),
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
        ["bash", ".ci/run", *steps],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
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


@pytest.mark.parametrize("broken", ["lint", "package"])
def test_a_check_that_fails_beside_the_others_fails_ci_and_is_shown(tmp_path: Path, broken: str) -> None:
    done = run_ci(tmp_path, first=0, second=0, broken=broken)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (3, f"make: {broken} failed")


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_a_digest_and_says_its_version(path: Path) -> None:
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert uses
    assert [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_one_action_has_one_digest_everywhere() -> None:
    digests: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, digest in re.findall(r"uses: ([\w-]+/[\w-]+)\S*@(\S+ # \S+)", path.read_text(encoding="utf-8")):
            digests.setdefault(action, set()).add(digest)
    assert {action for action, pinned in digests.items() if len(pinned) > 1} == set()


def test_workflows_and_ci_call_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in (*WORKFLOWS, CI):
        called = re.findall(r"\bmake --no-print-directory ([a-z-]+)", path.read_text(encoding="utf-8"))
        assert set(called) <= targets


def test_ci_runs_only_the_steps_that_are_asked_for(tmp_path: Path) -> None:
    done = run_ci(tmp_path, first=0, second=1, steps=("lint", "site"))
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == ["== lint", "== site"]


def test_each_file_of_tests_has_a_name_of_its_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == [], "pytest -n 0 cannot collect both"
