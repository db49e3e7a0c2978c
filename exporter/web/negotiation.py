"""Reads a scrape's headers: the format, the compression and the time limit."""

import math
from collections.abc import Iterator, Mapping

from exporter.exposition.text import Format

CONTENT_TYPES: Mapping[Format, str] = {
    Format.TEXT: "text/plain; version=0.0.4; charset=utf-8",
    Format.OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
_SCRAPE_MARGIN = 0.5
"""Seconds that are left of a scrape's timeout for the way back."""


def choose_format(accept: str) -> Format:
    """Return the supported format that an ``Accept`` header prefers; text 0.0.4 if it names neither.

    OpenMetrics is chosen only if the header names its version 1.0.0 or no version.
    """
    weights = {Format.TEXT: 0.0, Format.OPENMETRICS: 0.0}
    for media_type, parameters in _weighed(accept):
        if media_type == "application/openmetrics-text" and parameters.get("version", "1.0.0") == "1.0.0":
            form = Format.OPENMETRICS
        elif media_type in ("text/plain", "text/*", "*/*"):
            form = Format.TEXT
        else:
            continue
        weights[form] = max(weights[form], _weight(parameters))
    return Format.OPENMETRICS if weights[Format.OPENMETRICS] > weights[Format.TEXT] else Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an ``Accept-Encoding`` header allows gzip."""
    weights = {coding: _weight(parameters) for coding, parameters in _weighed(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def time_limit(header: str, longest: float) -> float:
    """Return the seconds that a scrape may take: the scraper's timeout less half a second for the way back.

    Args:
        header: Value of ``X-Prometheus-Scrape-Timeout-Seconds``; empty if the scraper does not send it.
        longest: Maximum in seconds. It is the limit when the header is empty or invalid.
    """
    try:
        seconds = float(header)
    except ValueError:
        return longest
    if not math.isfinite(seconds) or seconds <= 0:
        return longest
    return min(longest, max(seconds - _SCRAPE_MARGIN, seconds / 2))


def _weighed(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name and the parameters of each item of a header (RFC 9110, section 12.4.2)."""
    for item in header.split(","):
        name, *rest = (part.strip().lower() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        yield name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _weight(parameters: Mapping[str, str]) -> float:
    try:
        weight = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
