"""Text that others wrote, made safe to show: on a terminal, in a log line, in JSON, in a spreadsheet."""

import json
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@")


def printable(text: str) -> str:
    r"""Return a text with everything escaped that a terminal would obey or hide: ``\x1b``, ``\n``, ``\u202e``.

    Those are Unicode's control, format, separating and unassigned characters,
    but not the space. A hostile id can then neither move the cursor nor feign a line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_json(value: object, **options: Any) -> str:
    """Return one line of JSON that means the same and that no terminal obeys; letters of all scripts stay."""
    text = json.dumps(value, ensure_ascii=False, **options)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def cell(text: str) -> str:
    """Return a text as a CSV cell that no spreadsheet takes for a formula.

    See https://owasp.org/www-community/attacks/CSV_Injection.
    """
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
