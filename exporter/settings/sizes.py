"""Sizes as Prometheus writes them: ``512KB``, ``10MB``, ``1GB``; each unit is 1,024 times the one before."""

import re
from typing import Final

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")
_SIZE: Final = re.compile(rf"([0-9]+)({'|'.join(_UNITS)})")
_KIBI: Final = 1024


def parse_size(text: str) -> int:
    """Return the bytes that a size names.

    Raises:
        ValueError: The text is not such a size.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError("not a size such as 512KB, 10MB or 1GB")
    size = int(match[1])
    for _ in range(_UNITS.index(match[2])):
        size *= _KIBI
    return size


def format_size(size: int) -> str:
    """Return a size in its largest unit without a fraction; the inverse of ``parse_size``."""
    unit = 0
    while size and size % _KIBI == 0 and unit < len(_UNITS) - 1:
        size //= _KIBI
        unit += 1
    return f"{size}{_UNITS[unit]}"
