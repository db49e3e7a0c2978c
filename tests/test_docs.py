"""The documents say what the code does."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from tables import filled_in  # noqa: E402 - docs/ is no package


@pytest.mark.parametrize("name", ["README.md"])
def test_tables_of_metrics_and_flags_are_those_of_the_code(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == filled_in(text), "make docs writes the tables anew"


def test_acl_user_of_the_readme_is_the_one_that_the_tests_run_as() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "source"))
    from test_connection import ACL_RIGHTS  # noqa: PLC0415 - the tests' own list

    (line,) = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("ACL SETUSER")]
    assert line.split(">PASSWORD resetkeys ")[1].split() == ACL_RIGHTS
