"""An id in commands that people paste into a shell: pasting it can run nothing."""

import re
import shlex
from typing import Final

PLACEHOLDER: Final = re.compile(r"\bNODE\b")
"""What stands for the node in the commands of runbooks."""
_STRING: Final = re.compile(r'\\"NODE\\"')
_ESCAPED: Final = {ord("'"): r"\'", ord("\\"): r"\\", ord("!"): r"\041"}


def assignment(value: str, variable: str = "NODE") -> str:
    r"""Return a line that gives a variable this value, whatever characters the value has.

    The line holds no control character: a terminal may obey one even inside of quotes. A value with such
    characters is written as bash, zsh and ksh read it: ``$'a\012b'``.

    Args:
        value: The variable's value, such as a node's id.
        variable: The variable's name.
    """
    if value.isprintable():
        return f"{variable}={shlex.quote(value)}"
    texts = (
        _ESCAPED.get(ord(char), char)
        if char.isprintable()
        else "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in value
    )
    return f"{variable}=$'{''.join(texts)}'"


def with_node(commands: str, node_id: str) -> str:
    r"""Return commands that name the node by variables, after the lines that set them.

    Args:
        commands: Lines of a shell, with ``NODE`` outside of quotes where the id belongs, and ``\"NODE\"`` where a
            matcher of Alertmanager needs the id as a string.
        node_id: The id; empty if it is not known, so that the reader sets the variable.
    """
    lines = []
    if node_id and _STRING.search(commands):
        lines.append(assignment(_matched(node_id), "MATCHED"))
        commands = _STRING.sub(lambda _: '"$MATCHED"', commands)
    if PLACEHOLDER.search(commands):
        lines.insert(0, assignment(node_id) if node_id else "NODE=")
        commands = PLACEHOLDER.sub(lambda _: VARIABLE, commands)
    return "\n".join([*lines, commands])


VARIABLE: Final = '"$NODE"'
"""How commands name the node."""


def in_promql(query: str, node_id: str) -> str:
    """Return a query with the id in place of ``NODE``, which stands inside of double quotes."""
    texts = (
        {'"': '\\"', "\\": "\\\\"}.get(char, char) if char.isprintable() else _promql_escape(char) for char in node_id
    )
    text = "".join(texts)
    return PLACEHOLDER.sub(lambda _: text, query)


def _matched(node_id: str) -> str:
    """Return the id as a string of Alertmanager's matchers, which know these three escapes and no others."""
    return '"' + "".join({'"': '\\"', "\\": "\\\\", "\n": "\\n"}.get(char, char) for char in node_id) + '"'


def _promql_escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"  # noqa: PLR2004 - Go's escapes
