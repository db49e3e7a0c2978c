"""Ways to break a rule: each yields it with one thing wrong that its unit tests have to notice."""

import re
from collections.abc import Iterator

from alert_rules import Rule

_OPPOSITE = {"==": "!=", "!=": "==", ">": "<", "<": ">", ">=": "<", "<=": ">"}
_COMPARISON = re.compile(r"(?<![=!~<>])(==|!=|>=|<=|>|<)(?![=~])")
_NUMBER = re.compile(r"(?<![\w.:\[])(\d+(?:\.\d+)?)(?![\w.:\]])")
_DURATION = re.compile(r"(?<=[\[ ])(\d+)(s|m|h)\b")
_SET_OPERATOR = re.compile(r"\b(and|unless)\b")
_INSTANCE = "instance, pod, container, endpoint"
_FACTOR = 4


def mutants(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Yield a rule broken in one way at a time, each with what was done to it."""
    for what, expr in _broken(rule["expr"]):
        if expr != rule["expr"]:
            yield what, {**rule, "expr": expr}
    for field in ("for", "keep_firing_for"):
        if field in rule and rule[field] != "0s":
            yield f"{field} left out", {key: value for key, value in rule.items() if key != field}
            yield f"{field} times {_FACTOR}", {**rule, field: _scaled(rule[field])}


def _broken(expr: str) -> Iterator[tuple[str, str]]:
    for at in _COMPARISON.finditer(expr):
        yield f"{at[0]} turned at {at.start()}", _replaced(expr, at, _OPPOSITE[at[0]])
    for at in _COMPARISON.finditer(expr):
        if at[0] == ">=":
            yield f">= made > at {at.start()}", _replaced(expr, at, ">")
    for at in _NUMBER.finditer(expr):
        if float(at[0]):
            yield f"{at[0]} times {_FACTOR} at {at.start()}", _replaced(expr, at, f"{float(at[0]) * _FACTOR:g}")
            yield f"{at[0]} by {_FACTOR} at {at.start()}", _replaced(expr, at, f"{float(at[0]) / _FACTOR:g}")
    for at in _DURATION.finditer(expr):
        yield f"{at[0]} times {_FACTOR} at {at.start()}", _replaced(expr, at, f"{int(at[1]) * _FACTOR}{at[2]}")
        yield f"{at[0]} by {_FACTOR} at {at.start()}", _replaced(expr, at, _shortened(at))
    for at in _SET_OPERATOR.finditer(expr):
        other = "unless" if at[0] == "and" else "and"
        yield f"{at[0]} made {other} at {at.start()}", _replaced(expr, at, other)
    yield from _without_a_clause(expr)
    for at in re.finditer(_INSTANCE, expr):
        yield f"instance kept at {at.start()}", _replaced(expr, at, "pod, container, endpoint")
    yield "instance kept", expr.replace(_INSTANCE, "pod, container, endpoint")
    yield "installations merged", re.sub(rf"without \({_INSTANCE}(, \w+)*\)", "by (node_id)", expr)
    yield "matched on node_id alone", re.sub(r"ignoring \([^)]*\)", "on ()", expr)


def _without_a_clause(expr: str) -> Iterator[tuple[str, str]]:
    """Leave out an operand of and, or, unless: they begin a line, and end at the next one of their depth."""
    lines = expr.splitlines()
    for start, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if not re.match(r"(and|or|unless)\b", line.lstrip()):
            continue
        end = next(
            (
                later
                for later in range(start + 1, len(lines))
                if len(lines[later]) - len(lines[later].lstrip()) <= depth
                and re.match(r"(and|or|unless)\b|\)", lines[later].lstrip())
                and not (line.rstrip().endswith("(") and lines[later].strip().startswith(")"))
            ),
            len(lines),
        )
        yield f"no '{line.strip()}' in line {start + 1}", "\n".join(lines[:start] + lines[end:])


def _replaced(text: str, at: re.Match[str], new: str) -> str:
    return text[: at.start()] + new + text[at.end() :]


def _scaled(duration: str) -> str:
    return re.sub(r"\d+", lambda number: str(int(number[0]) * _FACTOR), duration)


def _shortened(at: re.Match[str]) -> str:
    seconds = int(at[1]) * {"s": 1, "m": 60, "h": 3600}[at[2]] // _FACTOR
    return f"{seconds}s"
