"""The table of alerts, from the rules and the runbooks."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent.parent
ALERTS: Final = ROOT / "alerts"

_SEVERITY: Final = re.compile(r"\b(?:critical|warning|info|none)\b")
_SHORT: Final = 60
"""Characters up to which a first sentence needs the second one to be understood."""


def alerts_table() -> str:
    """Return all alerts as a Markdown table, in the order of the rules."""
    lines = ["| alert | severity | for | keeps firing for | meaning |", "|---|---|---|---|---|"]
    for name, rules in _alerts().items():
        severities = " or ".join(
            dict.fromkeys(_SEVERITY.findall(" ".join(rule["labels"]["severity"] for rule in rules)))
        )
        times = [
            " or ".join(dict.fromkeys(str(rule[key]) for rule in rules if key in rule))
            for key in ("for", "keep_firing_for")
        ]
        link = f"[{name}](../../alerts/runbooks/{name}.md)"
        lines.append(f"| {link} | {severities} | {' | '.join(times)} | {_meaning(name)} |")
    return "\n".join(lines)


@cache
def alert_names() -> frozenset[str]:
    """Return the names of all alerts."""
    return frozenset(_alerts())


def _alerts() -> dict[str, list[dict[str, Any]]]:
    """Return the rules of each alert; an alert with two severities has two rules."""
    alerts: dict[str, list[dict[str, Any]]] = {}
    for rule in _rules():
        if "alert" in rule:
            alerts.setdefault(rule["alert"], []).append(rule)
    return alerts


def _rules() -> Iterator[dict[str, Any]]:
    for path in sorted(ALERTS.glob("*.rules.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def _meaning(name: str) -> str:
    """Return the first sentence of an alert's runbook; two sentences if the first one is short."""
    text = (ALERTS / "runbooks" / f"{name}.md").read_text(encoding="utf-8")
    section = text.partition("## What it means\n")[2].strip()
    paragraph = " ".join(section.split("\n\n")[0].split())
    first, *others = re.split(r"(?<=\.) (?=[A-Z`])", paragraph)
    return " ".join([first, *others[: len(first) < _SHORT]]).replace("|", r"\|")
