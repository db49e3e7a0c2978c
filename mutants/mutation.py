"""The mutants of a module's text."""

import re
import warnings
from collections.abc import Hashable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, takewhile
from types import CodeType

import parso
from cosmic_ray.ast import ast_nodes  # type: ignore[import-untyped]
from parso.python.tree import Class, Function, Lambda
from parso.tree import NodeOrLeaf
from parso.utils import split_lines

from mutants.operators import operators


@dataclass(frozen=True, order=True, slots=True)
class Key:
    """What identifies a mutant, whatever line it is on.

    Attributes:
        module: The module's path.
        place: The function or class, such as ``Judge.look``; empty at the top of the module.
        line: The changed lines as they are, blanks collapsed.
        becomes: The same lines in the mutant.
    """

    module: str
    place: str
    line: str
    becomes: str

    @property
    def draw(self) -> str:
        """A number that decides which mutants a sample takes, so that a change elsewhere changes no sample."""
        return sha256(repr(self).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one fault.

    Attributes:
        key: What identifies it.
        number: The line's number.
        operator: The kind of the fault.
        text: The whole module with the fault.
    """

    key: Key
    number: int
    operator: str
    text: str


def mutants_of(module: str, text: str, skip: Sequence[str] = ()) -> Iterator[Mutant]:
    """Yield each different mutant of a module that is valid Python.

    Args:
        module: The module's path.
        text: The module's text.
        skip: Regular expressions of lines that are left alone.
    """
    left_alone = re.compile("|".join(skip) or r"\Z.")
    seen = {_essence(text)}
    for node, operator, changed in _mutations(text):
        essence = _essence(changed)
        if essence is None or essence in seen:
            continue
        seen.add(essence)
        before, line, becomes = _difference(text.splitlines(), changed.splitlines())
        if not left_alone.search(line):
            yield Mutant(Key(module, _place(node), line, becomes), before + 1, operator, changed)


def _mutations(text: str) -> Iterator[tuple[NodeOrLeaf, str, str]]:
    """Yield each mutation of a text: the node, the operator's name and the changed text."""
    tree = parso.parse(text)
    lines = [0, *accumulate(map(len, split_lines(text, keepends=True)))]
    for name, operator in operators().items():
        for node in ast_nodes(tree):
            for index, _ in enumerate(operator.mutation_positions(node)):
                # The operator changes the node itself. So it gets a copy, which has the same parent.
                changed = operator.mutate(deepcopy(node, {id(node.parent): node.parent}), index)
                row, column = node.get_start_pos_of_prefix()
                start = lines[row - 1] + column
                end = start + len(node.get_code())
                yield node, name, text[:start] + (changed.get_code() if changed else "") + text[end:]


def _essence(text: str) -> Hashable | None:
    """Return what a module's text does, the same for texts that compile alike; None if it is not valid Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return _essence_of(compile(text, "mutant", "exec", optimize=2))
    except SyntaxError:
        return None


def _essence_of(code: CodeType) -> Hashable:
    constants = (
        _essence_of(constant) if isinstance(constant, CodeType) else (type(constant), repr(constant))
        for constant in code.co_consts
    )
    return code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames, tuple(constants)


def _difference(old: Sequence[str], new: Sequence[str]) -> tuple[int, str, str]:
    """Return how many lines are alike before the difference, and the lines that differ, joined."""
    before = _alike(old, new)
    after = min(_alike(old[::-1], new[::-1]), len(old) - before, len(new) - before)
    return before, _joined(old[before : len(old) - after]), _joined(new[before : len(new) - after])


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _joined(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())


def _place(node: NodeOrLeaf) -> str:
    names: list[str] = []
    parent: NodeOrLeaf | None = node
    while parent is not None:
        if isinstance(parent, Class | Function) and not isinstance(parent, Lambda):
            names.insert(0, parent.name.value)
        parent = parent.parent
    return ".".join(names)
