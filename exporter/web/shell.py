"""An id in commands that people paste into a shell: pasting it can run nothing."""

import json
import re
import shlex
from typing import Final

PLACEHOLDER: Final = re.compile(r"\bNODE\b")
"""What stands for the node in the commands of runbooks."""
VARIABLE: Final = '"$NODE"'
"""How commands name the node."""
_STRING: Final = r"\"NODE\""
_ESCAPES: Final = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n"})
"""The escapes of Alertmanager's matchers, which know no others."""


def assignment(value: str, variable: str = "NODE") -> str:
    r"""Return a line that gives a variable this value, whatever characters the value has.

    The line holds no control character: a terminal may obey one even inside of quotes. A value with such
    characters is written as bash, zsh and ksh read it: ``$'\141\012'``.

    Args:
        value: The variable's value, such as a node's id.
        variable: The variable's name.
    """
    if value.isprintable():
        return f"{variable}={shlex.quote(value)}"
    return f"{variable}=$'" + "".join(f"\\{byte:03o}" for byte in value.encode("utf-8", "surrogateescape")) + "'"


def with_node(commands: str, node_id: str) -> str:
    r"""Return commands that name the node by variables, after the lines that set them.

    Args:
        commands: Lines of a shell, with ``NODE`` outside of quotes where the id belongs, and ``\"NODE\"`` where a
            matcher of Alertmanager needs the id as a string.
        node_id: The id; empty if it is not known, so that the reader sets the variable.
    """
    lines = []
    if node_id and _STRING in commands:
        lines.append(assignment(f'"{node_id.translate(_ESCAPES)}"', "MATCHED"))
        commands = commands.replace(_STRING, '"$MATCHED"')
    if PLACEHOLDER.search(commands):
        lines.insert(0, assignment(node_id) if node_id else "NODE=")
        commands = PLACEHOLDER.sub(lambda _: VARIABLE, commands)
    return "\n".join([*lines, commands])


def in_promql(query: str, node_id: str) -> str:
    """Return a query with the id in place of ``NODE``, which stands inside of double quotes."""
    return PLACEHOLDER.sub(lambda _: json.dumps(node_id, ensure_ascii=False)[1:-1], query)
