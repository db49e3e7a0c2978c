"""The documents say what the code does."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from tables import filled_in  # noqa: E402 - docs/ is no package


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_tables_of_metrics_and_flags_are_those_of_the_code(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == filled_in(text), "make docs writes the tables anew"


def test_acl_user_of_the_readme_is_the_one_that_the_tests_run_as() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "source"))
    from test_connection import ACL_RIGHTS  # noqa: PLC0415 - the tests' own list

    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("ACL SETUSER ginkgo-exporter")]
    assert line.split(">PASSWORD resetkeys ")[1].split() == ACL_RIGHTS


def test_chinese_readme_has_the_same_sections_and_commands() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    for part in (r"^#+ ", r"```.*?```", r"\]\([^)]+\)"):
        flags = re.MULTILINE | re.DOTALL
        theirs, ours = re.findall(part, english, flags), re.findall(part, chinese, flags)
        if part.startswith(r"\]"):
            theirs, ours = sorted(set(theirs) - {"](README.zh-CN.md)"}), sorted(set(ours) - {"](README.md)"})
        assert theirs == ours


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_no_link_into_the_repository_is_dead(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_each_fault_names_tests_that_exist_in_both_languages() -> None:
    named = [
        re.findall(r"`(tests/[^`]+?)::(\w+)(?:\[([^`]+)\])?`", (ROOT / "docs" / name).read_text(encoding="utf-8"))
        for name in ("faults.md", "faults.zh-CN.md")
    ]
    assert named[0] == named[1]
    assert len(named[0]) > 30
    for path, test, case in named[0]:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {test}(" in source
        assert not case or f'"{case}": (' in source, f"{path} has no {case}"


def test_each_fault_that_is_tested_is_in_the_table() -> None:
    table = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    for path in ("faults/test_redis_faults.py", "push/test_push_faults.py"):
        source = (ROOT / "tests" / path).read_text(encoding="utf-8")
        for case in re.findall(r'^    "([a-z, ]+)": \(', source, re.MULTILINE):
            assert re.search(rf"`tests/{path}::\w+\[{case}\]`", table), case
    for path in ("faults/test_redis_faults.py", "faults/test_machine_faults.py", "web/test_pressure.py"):
        source = (ROOT / "tests" / path).read_text(encoding="utf-8")
        for test in re.findall(r"^def (test_\w+)", source, re.MULTILINE):
            assert f"`tests/{path}::{test}" in table
