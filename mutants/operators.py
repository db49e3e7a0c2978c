"""The kinds of faults: Cosmic Ray's, less those that every test notices or that repeat another, and two of our own."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cosmic_ray.operators.operator import Example, Operator  # type: ignore[import-untyped]
from cosmic_ray.plugins import get_operator  # type: ignore[import-untyped]
from parso.python.tree import Keyword, PythonNode
from parso.tree import NodeOrLeaf

_COSMIC_RAY: Final = (
    "NumberReplacer",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Div_Mul",
    "ReplaceBinaryOperator_FloorDiv_Mul",
    "ReplaceBinaryOperator_Mod_FloorDiv",
    "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBreakWithContinue",
    "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_IsNot_Is",
    "ReplaceComparisonOperator_Is_IsNot",
    "ReplaceComparisonOperator_LtE_Lt",
    "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceContinueWithBreak",
    "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_USub_UAdd",
    "ZeroIterationForLoop",
    "AddNot",  # the last: of two mutants that do the same, the first counts, and `not a is b` reads badly
)
_CALLS: Final = ("power", "atom_expr", "await_expr")  # the last child of such a statement calls, or is a docstring
_DROPPED: Final = ("del_stmt", "raise_stmt")


class RemoveStatement(Operator):  # type: ignore[misc]
    """Replaces a statement that acts on something else by ``pass``: a call, ``raise``, ``del``, a set attribute."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield the position of the statement if the node is a removable statement."""
        if isinstance(node, PythonNode) and node.type == "simple_stmt" and _acts(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: PythonNode, _index: int) -> PythonNode:
        """Return the statement's line with ``pass`` in place of the statement."""
        old = node.children[0]
        node.children[0] = Keyword("pass", old.start_pos, old.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return examples, which the tests of this operator check."""
        return (
            Example("def f():\n    g()\n", "def f():\n    pass\n"),
            Example("def f():\n    a.b += 1\n", "def f():\n    pass\n"),
            Example("def f():\n    a[0] = 1\n", "def f():\n    pass\n"),
            Example("def f():\n    raise E('x') from None\n", "def f():\n    pass\n"),
            Example("def f():\n    a.pop(1, None)\n", "def f():\n    pass\n"),
        )


class CatchNothing(Operator):  # type: ignore[misc]
    """Replaces the exceptions that a clause catches by none; Cosmic Ray's own operator fails on dotted names."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield the position of the exceptions if the node is a clause that names some."""
        if isinstance(node, PythonNode) and node.type == "except_clause":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: PythonNode, _index: int) -> PythonNode:
        """Return the clause with an empty tuple of exceptions."""
        node.children[1] = Keyword("()", node.children[1].start_pos, " ")
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return examples, which the tests of this operator check."""
        return (
            Example("try:\n    f()\nexcept E:\n    g()\n", "try:\n    f()\nexcept ():\n    g()\n"),
            Example("try:\n    f()\nexcept (a.E, F) as e:\n    g()\n", "try:\n    f()\nexcept () as e:\n    g()\n"),
        )


def _acts(statement: NodeOrLeaf) -> bool:
    if statement.type in _DROPPED:
        return True
    if statement.type == "keyword" and getattr(statement, "value", "") == "raise":
        return True
    if statement.type in _CALLS:
        return bool(statement.get_last_leaf().get_code(include_prefix=False) == ")")
    if statement.type == "expr_stmt":
        target = getattr(statement, "children", [statement])[0]
        return target.type in _CALLS
    return False


def operators() -> Mapping[str, Any]:
    """Return all operators by the name that a report shows."""
    ours = {operator.__name__: operator() for operator in (RemoveStatement, CatchNothing)}
    return ours | {name: get_operator(f"core/{name}")() for name in _COSMIC_RAY}
