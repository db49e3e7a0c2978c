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


def test_tests_run_as_the_acl_user_of_the_documentation() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "source"))
    from rights import ACL_RIGHTS  # noqa: PLC0415 - the tests' own list

    lines = (ROOT / "docs" / "how-to" / "redis.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("ACL SETUSER ginkgo-exporter")]
    assert line.split(">PASSWORD resetkeys ")[1].split() == ACL_RIGHTS


CHINESE = {"README.md": "README.zh-CN.md", "docs/tutorial/first-page.md": "docs/tutorial/first-page.zh.md"}


@pytest.mark.parametrize(("english", "chinese"), CHINESE.items())
def test_chinese_document_has_the_same_sections_commands_figures_and_links(english: str, chinese: str) -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in (english, chinese)]
    for part in (r"^#+ ", r"^\|", r"```.*?```", r"`[^`\n]+`"):
        theirs, ours = (re.findall(part, text, re.MULTILINE | re.DOTALL) for text in texts)
        assert sorted(theirs) == sorted(ours)
    figures = [sorted(re.findall(r"\d+(?:[.,]\d+)*(?: (?:ms|s)\b)?", prose(text))) for text in texts]
    assert figures[0] == figures[1]
    links = [set(re.findall(r"\]\([^)]+\)", text)) for text in texts]
    tutorials = {"](docs/tutorial/first-page.md)", "](docs/tutorial/first-page.zh.md)"}
    other = {"](README.zh-CN.md)", "](README.md)"} | tutorials
    assert links[0] - other == links[1] - other


def prose(text: str) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_readme_is_short() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 150
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1200


FAULTS = ROOT / "docs" / "explanation" / "faults.md"


def tried_faults() -> list[tuple[str, str, str]]:
    """Return path, function and case of each test that the table of faults names."""
    text = FAULTS.read_text(encoding="utf-8")
    links = re.findall(r"\[([^]:]+)(?:: ([^]]+))?\]\(\.\./\.\./(tests/[^)]+\.py)\)", text)
    return [(path, f"test_{sentence.replace(' ', '_')}", case) for sentence, case, path in links]


def test_each_fault_names_tests_that_exist() -> None:
    named = tried_faults()
    assert len(named) > 30
    for path, test, case in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {test}(" in source
        assert not case or f'"{case}": (' in source, f"{path} has no {case}"


def test_each_fault_that_is_tested_is_in_the_table() -> None:
    named = tried_faults()
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
