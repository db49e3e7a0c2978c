"""The written dashboards, their queries, and the syntax trees of these."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql

from grafana.proof.expressions import Expression, expressions, fill, read

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"
DASHBOARDS = [read(path) for path in sorted(FOLDER.glob("*.json"))]
EXPRESSIONS = [found for dashboard in DASHBOARDS for found in expressions(dashboard)]

# A parser needs numbers for durations. The variables of matchers stay as they are.
KEPT = {name: f"${name}" for name in ("cluster", "job", "instance", "node")}


def parse(expression: str) -> Any:
    """Return the tree of an expression, with its variables of time filled in."""
    return promql.parse(fill(expression, **KEPT))


def walk(node: Any, parents: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield each node of a tree with the nodes above it."""
    yield node, parents
    below = []
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None:
            below.append(child)
    below.extend(getattr(node, "args", None) or ())
    for child in below:
        yield from walk(child, (*parents, node))


def selectors(expression: str) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return all selectors of an expression, each with the nodes above it."""
    return [pair for pair in walk(parse(expression)) if isinstance(pair[0], promql.VectorSelector)]


def matchers(selector: Any) -> dict[str, tuple[bool, str]]:
    """Return for each label of a selector whether a regular expression is matched, and the value."""
    return {matcher.name: (matcher.op == promql.MatchOp.Re, matcher.value) for matcher in selector.matchers.matchers}


def promql_of(expression: Expression) -> str:
    """Return the PromQL of an expression: a variable's query has it inside of `label_values()`."""
    inside = re.fullmatch(r"label_values\((.+), \w+\)", expression.text)
    return inside[1] if inside else expression.text
