"""An id in commands that people paste into a shell: pasting it can run nothing."""

import re
import shlex
from typing import Final

PLACEHOLDER: Final = re.compile(r"\bNODE\b")
"""What stands for the node in the commands of runbooks."""
_ESCAPED: Final = {ord("'"): r"\'", ord("\\"): r"\\", ord("!"): r"\041"}


def assignment(node_id: str) -> str:
    r"""Return a line that gives the variable ``NODE`` this value, whatever characters it has.

    The line holds no control character: a terminal may obey one even inside of quotes. An id with such
    characters is written as bash, zsh and ksh read it: ``$'a\012b'``.
    """
    if node_id.isprintable():
        return f"NODE={shlex.quote(node_id)}"
    texts = (
        _ESCAPED.get(ord(char), char)
        if char.isprintable()
        else "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in node_id
    )
    return f"NODE=$'{''.join(texts)}'"


def with_node(commands: str, node_id: str) -> str:
    """Return commands that name the node by a variable, after the line that sets it.

    Args:
        commands: Lines of a shell, with ``NODE`` outside of quotes where the id belongs.
        node_id: The id.
    """
    if not PLACEHOLDER.search(commands):
        return commands
    return f"{assignment(node_id)}\n{PLACEHOLDER.sub(lambda _: VARIABLE, commands)}"


VARIABLE: Final = '"$NODE"'
"""How commands name the node."""


def in_promql(query: str, node_id: str) -> str:
    """Return a query with the id in place of ``NODE``, which stands inside of double quotes."""
    texts = (
        {'"': '\\"', "\\": "\\\\"}.get(char, char) if char.isprintable() else _promql_escape(char) for char in node_id
    )
    text = "".join(texts)
    return PLACEHOLDER.sub(lambda _: text, query)


def _promql_escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"  # noqa: PLR2004 - Go's escapes
