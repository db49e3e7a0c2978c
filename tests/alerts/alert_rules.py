"""The rule file for the tests: parsed, reduced to one alert, and run through promtool."""

import json
import re
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from exporter.settings import parse_duration
from lab.servers import binary

ALERTS = Path(__file__).parents[2] / "alerts"
RULES = ALERTS / "ginkgo.rules.yml"
UNIT_TESTS = ALERTS / "tests"
RUNBOOKS = ALERTS / "runbooks"


Rule = dict[str, Any]
Groups = list[dict[str, Any]]
"""Files of unit tests: each file's content by its name."""


@cache
def groups() -> Groups:
    """Return the groups of the rule file; the caller must not change them."""
    loaded: Groups = yaml.safe_load(RULES.read_text())["groups"]
    return loaded


def rules() -> Iterator[Rule]:
    """Yield all rules in the order of the file."""
    for group in groups():
        yield from group["rules"]


def alerts() -> dict[str, Rule]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def severities(name: str) -> list[str]:
    """Return the severities that an alert may have: a single one, or all that its template can give."""
    label: str = alerts()[name]["labels"]["severity"]
    return re.findall(r"}}(\w+){{", label) or [label]


def recordings() -> dict[str, Rule]:
    """Return the recording rules by name."""
    return {rule["record"]: rule for rule in rules() if "record" in rule}


def name_of(rule: Rule) -> str:
    """Return the name of an alert or of a recording rule."""
    name: str = rule.get("alert") or rule["record"]
    return name


def needed_by(rule: Rule) -> set[str]:
    """Return the names of all recordings that a rule reads, directly or through other recordings."""
    known = recordings()
    found: set[str] = set()
    todo = [rule]
    while todo:
        for name in set(re.findall(r"\w+(?::\w+)+", todo.pop()["expr"])) & known.keys() - found:
            found.add(name)
            todo.append(known[name])
    return found


def cut_down_to(names: set[str]) -> Groups:
    """Return the groups with only the named rules."""
    kept = []
    for group in groups():
        rules = [deepcopy(rule) for rule in group["rules"] if name_of(rule) in names]
        kept += [{**group, "rules": rules}] if rules else []
    return kept


def left_open(tested: Groups) -> Groups:
    """Return the rules so that a Prometheus 2 evaluates them as a Prometheus 3.

    A range of Prometheus 3 leaves out a sample that lies exactly at its left end. Samples of unit tests do, because
    scrapes and evaluations are in step. A range that is a millisecond shorter leaves out the same samples.
    """
    shortened = deepcopy(tested)
    for group in shortened:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"(?<=\[)\w+(?=\])", lambda range_: _shorter(range_[0]), rule["expr"])
    return shortened


def _shorter(duration: str) -> str:
    return f"{round(parse_duration(duration) * 1000) - 1}ms"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool and return its exit code and output."""
    return subprocess.run([binary("promtool"), *arguments], capture_output=True, text=True, check=False)


def failure(folder: Path, *tested: tuple[str, Groups]) -> str:
    """Run files of unit tests, each on its rules; return promtool's output, or "" if all tests pass."""
    paths = [folder / f"{number}" / "tests" / "test.yml" for number in range(len(tested))]
    for path, (tests, groups) in zip(paths, tested, strict=True):
        path.parent.mkdir(parents=True)
        (path.parents[1] / RULES.name).write_text(json.dumps({"groups": groups}))  # JSON is YAML, and much faster
        path.write_text(tests)
    run = promtool("test", "rules", *paths)
    return run.stdout + run.stderr if run.returncode else ""
