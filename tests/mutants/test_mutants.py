"""The tool that tests the tests: which faults it builds in, what it takes for noticed, and what it lists."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.servers import wait_for
from mutants.mutation import Key, mutants_of
from mutants.operators import CatchNothing, RemoveStatement, operators
from mutants.survivors import listed, written
from mutants.targets import targets
from mutants.tree import Outcome, Tree

ROOT = Path(__file__).parents[2]
TARGETS, SKIP = targets(ROOT)
LISTED = listed()


def changes(text: str) -> set[str]:
    return {mutant.key.becomes for mutant in mutants_of("m.py", text)}


@pytest.mark.parametrize(
    "example",
    [*RemoveStatement.examples(), *CatchNothing.examples()],
    ids=lambda example: example.pre_mutation_code,
)
def test_our_own_operators_do_what_their_examples_say(example: object) -> None:
    text, expected = example.pre_mutation_code, example.post_mutation_code  # type: ignore[attr-defined]
    assert expected in {mutant.text for mutant in mutants_of("m.py", text)}


@pytest.mark.parametrize("text", ['"""Says what it is."""\n', "a = f()\n", "def f():\n    return g()\n"])
def test_statement_that_only_says_or_names_stays(text: str) -> None:
    assert "pass" not in changes(text)


def test_each_kind_of_fault_is_cosmic_rays_but_two() -> None:
    ours = [name for name, each in operators().items() if not type(each).__module__.startswith("cosmic_ray")]
    assert ours == ["RemoveStatement", "CatchNothing"]


def test_mutants_say_where_they_are() -> None:
    text = "X = 1\n\n\nclass A:\n    def f(self, a, b):\n        return a and b\n"
    (found,) = (mutant for mutant in mutants_of("m.py", text) if mutant.operator == "ReplaceAndWithOr")
    assert found.key == Key("m.py", "A.f", "return a and b", "return a or b")
    assert (found.number, found.text) == (6, text.replace("and", "or"))


def test_mutants_that_do_the_same_come_once() -> None:
    assert changes("def f(a):\n    if a is None:\n        g()\n") == {"pass", "if a is not None:"}


def test_lines_may_be_left_alone() -> None:
    assert not list(mutants_of("m.py", "X = 1\n", ["^X = "]))


def test_sample_is_the_same_when_another_line_changes() -> None:
    draws = [
        {mutant.key.draw for mutant in mutants_of("m.py", f"{other}\ndef f(a):\n    return a == 1\n")}
        for other in ("", "import os\n")
    ]
    assert draws[0] == draws[1] != set()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A module that waits for a program, and its test."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    (root / "code.txt").write_text("")
    (root / "waits.py").write_text("import subprocess\nRIGHT = True\ndef wait():\n    return 'quick'\n")
    (root / "test_waits.py").write_text(
        "import waits\ndef test_it_waits():\n    assert waits.RIGHT\n    assert waits.wait()\n"
    )
    return root


def test_tests_run_against_the_mutant(project: Path, tmp_path: Path) -> None:
    text = (project / "waits.py").read_text()
    tree = Tree(project, tmp_path / "copy")
    for changed, outcome in [
        (text, Outcome.SURVIVED),
        (text.replace("True ", "False"), Outcome.SURVIVED),
        (text.replace("True", "None"), Outcome.CAUGHT),  # as long as the module itself: no bytecode of it is taken
        (text, Outcome.SURVIVED),
    ]:
        assert tree.run("waits.py", changed, ["test_waits.py"], 60) is outcome
    assert (project / "waits.py").read_text() == text


def test_endless_mutant_is_stopped_with_all_that_it_started(project: Path, tmp_path: Path) -> None:
    marker = f"sleep-{tmp_path.name}"
    endless = (
        f"import subprocess\nRIGHT = True\ndef wait():\n    subprocess.run(['sh', '-c', 'sleep 600; : {marker}'])\n"
    )
    assert Tree(project, tmp_path / "copy").run("waits.py", endless, ["test_waits.py"], 3) is Outcome.ENDLESS

    def ended() -> bool:
        return not any(marker in " ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))

    wait_for(ended, "for what the mutant started")


def test_survivors_are_printed_as_the_file_has_them(tmp_path: Path) -> None:
    keys = {Key("m.py", "f", "a = 'x'", r'b = "\n"'), Key("m.py", "f", "c", "d"), Key("n.py", "", "e", "f")}
    file = tmp_path / "survivors.toml"
    file.write_text(written(keys).replace('reason = ""', 'reason = "equal"'))
    assert listed(file) == dict.fromkeys(keys, "equal")


def test_survivor_needs_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "survivors.toml"
    file.write_text(written({Key("m.py", "f", "a", "b")}))
    with pytest.raises(ValueError, match=r"m\.py: f: the reason is missing"):
        listed(file)


@pytest.mark.parametrize("module", sorted({key.module for key in LISTED}))
def test_listed_survivor_is_still_a_mutant(module: str) -> None:
    assert module in {target.module for target in TARGETS}
    today = {mutant.key for mutant in mutants_of(module, (ROOT / module).read_text(encoding="utf-8"), SKIP)}
    assert {key for key in LISTED if key.module == module} - today == set()
