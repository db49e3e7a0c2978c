"""Makes untrusted text safe to show: on a terminal, in a log line, in JSON, in a spreadsheet."""

import json
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@")


def printable(text: str) -> str:
    r"""Return a text with all characters escaped that a terminal would obey or hide: ``\x1b``, ``\n``, ``\u202e``.

    These are Unicode's control, format, separator and unassigned characters, except the space. A
    hostile id can then neither move the cursor nor fake a line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_json(value: object, **options: Any) -> str:
    """Return a value as one line of JSON in which characters that a terminal would obey are escaped."""
    text = json.dumps(value, ensure_ascii=False, **options)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def cell(text: str) -> str:
    """Return a text as a CSV cell that no spreadsheet reads as a formula.

    See https://owasp.org/www-community/attacks/CSV_Injection.
    """
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
