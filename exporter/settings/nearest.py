"""The known name that is nearest to a mistyped one."""

from collections.abc import Iterable
from typing import Final

_LEAST: Final = 0.7
"""Smallest likeness of two names, of 1, at which one is taken for a mistyped form of the other."""


def nearest(name: str, known: Iterable[str], beginning: str = "") -> str:
    """Return the end of a message that names the nearest known name; empty if no name is near.

    Args:
        name: The mistyped name.
        known: The known names.
        beginning: What all these names begin with. It does not count towards their likeness.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    ends = [each.removeprefix(beginning) for each in known]
    near = get_close_matches(name.removeprefix(beginning), ends, 1, _LEAST)
    return f"; the nearest known name is {beginning}{near[0]}" if near else ""
