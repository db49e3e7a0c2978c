"""Moments as people and programs write them: Unix seconds, or ISO 8601."""

import math
from datetime import UTC, datetime
from typing import Final

_LATEST: Final = 253_402_300_800.0
"""Unix time of the end of the year 9999."""


def parse_time(text: str) -> float:
    """Return the Unix time of ``1767702645``, ``1767702645.5`` or ``2026-01-06T12:30:45Z``; without a zone it is UTC.

    Raises:
        ValueError: The text is not such a moment.
    """
    try:
        unix = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
            unix = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            unix = math.nan
    if not 0 <= unix < _LATEST:
        raise ValueError("not a time such as 2026-01-06T12:30:45Z or 1767702645")
    return unix
