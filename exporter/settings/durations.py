"""Durations in Prometheus's form: ``500ms``, ``10s``, ``1h30m``."""

import re
from typing import Final

_UNITS: Final = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
LONGEST: Final = 100.0 * _UNITS["y"]
"""Seconds of the longest duration: no timer takes an unlimited one."""
_MOST_DIGITS: Final = 15
_TOO_LONG: Final = "longer than 100y"
_DURATION: Final = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _UNITS))


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in Prometheus's form.

    The grammar is that of Prometheus's configuration: whole numbers, each with a unit, the larger units
    first. ``0`` needs no unit.

    Raises:
        ValueError: The text is not such a duration, or it is longer than ``LONGEST``.
    """
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0.0
    if not text or not match:
        raise ValueError("not a duration such as 500ms, 10s or 1h30m")
    counts = {unit: count.lstrip("0") for unit, count in match.groupdict().items() if count}
    if any(len(count) > _MOST_DIGITS for count in counts.values()):
        raise ValueError(_TOO_LONG)
    seconds = float(sum(int(count or 0) * _UNITS[unit] for unit, count in counts.items()))
    if seconds > LONGEST:
        raise ValueError(_TOO_LONG)
    return seconds


def format_duration(seconds: float) -> str:
    """Return a duration in Prometheus's form; the inverse of ``parse_duration`` to the millisecond."""
    left = round(seconds * 1000)
    parts = []
    for unit, size in _UNITS.items():
        count, left = divmod(left, round(size * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
