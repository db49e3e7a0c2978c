"""The syntax trees of the dashboards' queries."""

from collections.abc import Iterator
from typing import Any

import promql_parser as promql

from grafana.proof.expressions import fill

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
