"""Which modules are mutated, with which tests: read from ``targets.toml``."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("targets.toml")


@dataclass(frozen=True, slots=True)
class Target:
    """A module and the tests that must notice its mutants.

    Attributes:
        module: The module's path below the root.
        tests: Paths of tests below the root.
        quick: Whether the tests take a few seconds only.
    """

    module: str
    tests: tuple[str, ...]
    quick: bool = False


def targets(root: Path, file: Path = FILE) -> tuple[Sequence[Target], Sequence[str]]:
    """Return all targets in the file's order, and the regular expressions of lines that are left alone.

    Raises:
        ValueError: An entry of the file fits no module, or names a test that does not exist.
    """
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    found: dict[str, Target] = {}
    for entry in content["target"]:
        for pattern in entry["modules"]:
            paths = sorted(path for path in root.glob(pattern) if path.read_text(encoding="utf-8").strip())
            if not paths:
                raise ValueError(f"{file.name}: {pattern} fits no module")
            for path in paths:
                module = str(path.relative_to(root))
                found.setdefault(module, Target(module, tuple(entry["tests"]), entry.get("quick", False)))
        for test in entry["tests"]:
            if not (root / test).exists():
                raise ValueError(f"{file.name}: {test} does not exist")
    return list(found.values()), content["skip"]
