"""The documents agree with the code."""

import re
import sys
from pathlib import Path

import pytest

from docs.source import __main__ as generator
from docs.source.__main__ import TABLES, filled_in, pages

ROOT = Path(__file__).parent.parent


def test_generated_tables_match_the_code() -> None:
    assert [path.name for path in pages() if (text := path.read_text(encoding="utf-8")) != filled_in(text)] == [], (
        "make docs writes the tables"
    )


def test_every_table_has_a_place_in_the_reference() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in pages())
    assert [name for name in TABLES if f"<!-- {name} -->" not in texts] == []


def test_command_that_compares_the_tables_names_a_page_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "reference" / "exit-codes.md"
    page.parent.mkdir(parents=True)
    page.write_text("<!-- exits -->\nold\n<!-- /exits -->\n", encoding="utf-8")
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    assert generator.main(["--check"]) == 1
    assert "docs/reference/exit-codes.md differs" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert "| 130 |" in page.read_text(encoding="utf-8")
    assert generator.main(["--check"]) == 0


def test_tests_run_as_the_acl_user_of_the_readme() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "source"))
    from rights import ACL_RIGHTS  # noqa: PLC0415 - the tests' own list

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


def tried_faults(name: str) -> list[tuple[str, str, str]]:
    """Return path, function and case of each test that a README's table of faults names."""
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\[([^]:]+)(?:: ([^]]+))?\]\((tests/[^)]+\.py)\)", text)
    return [(path, f"test_{sentence.replace(' ', '_')}", case) for sentence, case, path in links]


def test_each_fault_names_tests_that_exist_in_both_languages() -> None:
    named = tried_faults("README.md")
    assert named == tried_faults("README.zh-CN.md")
    assert len(named) > 30
    for path, test, case in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {test}(" in source
        assert not case or f'"{case}": (' in source, f"{path} has no {case}"


def test_each_fault_that_is_tested_is_in_the_table() -> None:
    named = tried_faults("README.md")
    for path in ("tests/faults/test_redis_faults.py", "tests/push/test_push_faults.py"):
        source = (ROOT / path).read_text(encoding="utf-8")
        cases = re.findall(r'^    "([a-z, ]+)": \(', source, re.MULTILINE)
        assert set(cases) <= {case for of, _, case in named if of == path}
    for path in (
        "tests/faults/test_redis_faults.py",
        "tests/faults/test_machine_faults.py",
        "tests/push/test_push_redis_faults.py",
        "tests/web/test_pressure.py",
    ):
        source = (ROOT / path).read_text(encoding="utf-8")
        tests = re.findall(r"^def (test_\w+)", source, re.MULTILINE)
        assert set(tests) <= {test for of, test, _ in named if of == path}
