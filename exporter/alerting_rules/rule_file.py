"""The rule file as text: rules are changed line by line, so that all comments stay."""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import yaml

from exporter.alerting_rules.configured import Parts, Rule, configured
from exporter.alerting_rules.model import RuleSettings
from exporter.bundled import RULES, bundled

_NOTE: Final = "# Written by `ginkgo-exporter rules`: change its settings, and not this file.\n"
_WIDTH: Final = 120
_TEXT_INDENT: Final = 2

Edit = tuple[int, int, list[str]]
"""First line, line after the last one, and the lines in their place."""


def rules_text(settings: RuleSettings) -> str:
    """Return the rule file with the settings in it; the bundled file itself if they change nothing."""
    text = bundled(RULES).read_text(encoding="utf-8")
    parts = Parts.of(settings)
    changed = edited(text, lambda rule: configured(rule, settings, parts), settings.scrape_interval)
    return text if changed == text else _NOTE + changed


def edited(text: str, change: Callable[[Rule], Rule | None], interval: str | None = None) -> str:
    """Return a rule file with changed rules.

    Args:
        text: The file.
        change: Returns a rule as it should be; None to leave it out.
        interval: Time between two evaluations of groups that do not set it; None for Prometheus's own.
    """
    lines = text.splitlines(keepends=True)
    edits: list[Edit] = []
    for group, rules in _groups(text):
        kept = [(node, rule, made) for node, rule in rules if (made := change(rule)) is not None]
        removed = {node.start_mark.line for node, _ in rules} - {node.start_mark.line for node, _, _ in kept}
        if not kept:
            edits.append(_removal(lines, group.start_mark.line))
            continue
        edits += [_removal(lines, line) for line in sorted(removed)]
        first = group.start_mark.line
        if interval and "interval" not in (key.value for key, _ in group.value):
            indent = " " * group.start_mark.column
            edits.append((first + 1, first + 1, [f"{indent}interval: {interval}\n"]))
        for node, rule, made in kept:
            edits += _edits(lines, node, rule, made)
    for start, end, new in sorted(edits, reverse=True):
        lines[start:end] = new
    return "".join(lines)


def _groups(text: str) -> Iterator[tuple[yaml.MappingNode, list[tuple[yaml.MappingNode, Rule]]]]:
    """Yield each group with its rules, as nodes with their places and as values."""
    root = yaml.compose(text, yaml.SafeLoader)
    groups = _child(root, "groups")
    for group, loaded in zip(groups.value, yaml.safe_load(text)["groups"], strict=True):
        yield group, list(zip(_child(group, "rules").value, loaded["rules"], strict=True))


def _child(node: Any, name: str) -> Any:
    return next(value for key, value in node.value if key.value == name)


def _removal(lines: list[str], first: int) -> Edit:
    """Return the edit that removes an item of a list, with the comments above it."""
    depth = _depth(lines[first].replace("-", " ", 1)) - _TEXT_INDENT
    end = _end(lines, first, depth)
    while lines[first - 1].lstrip().startswith("#") and _depth(lines[first - 1]) == depth:
        first -= 1
    return first, end, []


def _edits(lines: list[str], node: yaml.MappingNode, old: Rule, new: Rule) -> Iterator[Edit]:
    """Yield the edits that change a rule. New keys of the rule come before its labels, new labels after the others."""
    keys = {key.value: (key, value) for key, value in node.value}
    for name in new:
        if name in ("labels", "annotations"):
            yield from _map_edits(lines, keys[name][1], old[name], new[name])
        elif name not in keys:
            labels = keys["labels"][0].start_mark
            yield labels.line, labels.line, [f"{' ' * labels.column}{name}: {_scalar(new[name])}\n"]
        elif new[name] != old[name]:
            yield _edit(lines, *keys[name], new[name])


def _map_edits(
    lines: list[str], node: yaml.MappingNode, old: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[Edit]:
    for key, value in node.value:
        if new[key.value] != old[key.value]:
            yield _edit(lines, key, value, new[key.value])
    last, _ = node.value[-1]
    after = _end(lines, last.start_mark.line, last.start_mark.column)
    indent = " " * last.start_mark.column
    added = [f"{indent}{name}: {_scalar(text)}\n" for name, text in new.items() if name not in old]
    if added:
        yield after, after, added


def _edit(lines: list[str], key: yaml.Node, value: yaml.Node, text: str) -> Edit:
    """Return the edit that gives a key another text, in the style of the old one."""
    first, column = key.start_mark.line, key.start_mark.column
    begin = lines[first][:column] + str(key.value)
    indent = " " * (column + _TEXT_INDENT)
    style = value.style if isinstance(value, yaml.ScalarNode) else None
    if style == "|":
        new = [f"{begin}: |\n", *(f"{indent}{line}\n" for line in text.splitlines())]
    elif style == ">":
        wrapped = textwrap.wrap(text, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
        new = [f"{begin}: >-\n", *(f"{indent}{line}\n" for line in wrapped)]
    else:
        new = [f"{begin}: {_scalar(text)}\n"]
    return first, _end(lines, first, column), new


def _end(lines: list[str], first: int, depth: int) -> int:
    """Return the line after a key or an item of a list that begins in a line, without comments and empty lines."""
    end = first + 1
    for number in range(first + 1, len(lines)):
        if lines[number].strip() and _depth(lines[number]) <= depth:
            break
        if lines[number].strip():
            end = number + 1
    return end


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _scalar(text: str) -> str:
    try:
        plain = yaml.safe_load(f"key: {text}") == {"key": text}
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
