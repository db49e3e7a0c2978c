"""Parses columns of texts from Redis into columns of texts that Prometheus can parse.

An invalid value becomes None. Most columns are checked as a whole, and a value that was parsed before is not parsed
again: see docs/explanation/performance.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Final

from prometheus_client.utils import floatToGoString

from exporter.contract import STATUSES, Metric, parse_number

_MAX_LENGTH: Final = 64
"""Bytes. A longer text is no number here: it is neither exported nor kept in memory."""
_LENGTHS: Final = frozenset(range(1, _MAX_LENGTH + 1))
_MEMO_ITEMS: Final = 65_536
_STATUSES: Final = frozenset(status.encode() for status in STATUSES)
_DIGITS: Final = bytes.maketrans(b"0123456789", b"0" * 10)

_END: Final = b"\xff"
"""The end of each value in a column that is one text. UTF-8 has no such byte."""

Values = Sequence[bytes | None]
"""A column: each node's value as text, None if the node has no value. In a parsed column no text is empty."""


def replaced(texts: Values, others: Mapping[int, bytes | None]) -> Values:
    """Return the column with other texts at some positions; None removes a text."""
    changed = [*texts]
    for position, text in others.items():
        changed[position] = text
    return changed


def packed(columns: Mapping[str, Values]) -> dict[str, bytes]:
    """Return each column as one text.

    Thousands of small texts that outlive their part would slow down the next parts, since memory far away is slow.
    """
    return {
        name: _END.join([*(texts if all(texts) else [text or b"" for text in texts]), b""])  # type: ignore[list-item]
        for name, texts in columns.items()
    }


def unpacked(column: bytes) -> Sequence[bytes]:
    """Return a column that was made one text; the text of a node without a value is empty."""
    return column.split(_END)[:-1]


def format_number(number: float) -> bytes:
    """Return a number in the form that prometheus_client writes."""
    return str(floatToGoString(number)).encode()


def known_statuses(raw: Values) -> Values:
    """Return the statuses that a node may have, None for others."""
    return [status if status in _STATUSES else None for status in raw]


class Memo(dict[Any, bytes | None]):
    """The results of a pure function by its argument, each computed at its first use; their number is bounded.

    Arguments without a result are not kept: they may be long, and no two of them alike.
    """

    def __init__(self, function: Callable[[Any], bytes | None]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: Any) -> bytes | None:
        result = self._function(key)
        if result or not key:
            if len(self) >= _MEMO_ITEMS:
                self.clear()
            self[key] = result
        return result


def number_parser(metric: Metric) -> Callable[[Values], Values]:
    """Return what parses the values of a metric's field. Only one thread at a time may use it."""
    memo, scaled = Memo(partial(_number_text, metric)), metric.multiply != metric.divide

    def parse(raw: Values) -> Values:
        return raw if not scaled and are_whole_numbers(raw) else list(map(memo.__getitem__, raw))

    return parse


def _number_text(metric: Metric, text: bytes | None) -> bytes | None:
    if text is None or len(text) > _MAX_LENGTH or (number := parse_number(text)) is None:
        return None
    number = number * metric.multiply / metric.divide
    if math.isinf(number):
        return None
    return text if metric.multiply == metric.divide else format_number(number)


def are_whole_numbers(raw: Values) -> bool:
    """Return whether each value consists of 1 to ``_MAX_LENGTH`` digits. All values are checked at once."""
    try:
        return b"".join(raw).isdigit() and _LENGTHS.issuperset(map(len, raw))  # type: ignore[arg-type]
    except TypeError:  # a value is missing
        return False


class HeartbeatTimes:
    """Parses times in ISO 8601: naive ones in the given zone, others by their offset."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def parse(self, raw: Values) -> Values:
        """Return each Unix time as a text, None if it is missing or invalid."""
        present = [text for text in raw if text is not None]
        following = iter(self._parse_alike(present) or list(map(self.parse_one, present)))
        return [None if text is None else next(following) for text in raw]

    def _parse_alike(self, raw: Sequence[bytes]) -> Values:
        """Return the times if all have microseconds, and all have the same offset or no offset; else no times.

        All times stand in one text, a line for each. The last digit of a second is the same in ISO 8601 and in Unix
        time. So the part before that digit, such as ``2026-01-06T12:30:4``, is replaced in all lines at once by the
        first digits of the Unix time. A check of the result then shows whether each line is a time.
        """
        # 26, 18 and 10 are the lengths of 2026-01-06T12:30:45.123456, of 2026-01-06T12:30:4 and of 2026-01-06.
        end = raw[0][26:] + b"\n" if raw else b""
        lines = b"\n".join([*raw, b""])
        if len(lines) != len(raw) * (26 + len(end)):
            return ()
        lines = lines.replace(end, b"\n")
        while (start := lines.find(b"T") - 10) >= 0:
            tens = lines[start : start + 18]
            unix = None if b"." in tens else self._unix(tens + b"0" + end[:-1])
            if unix is None or unix % 10:
                return ()
            lines = lines.replace(tens, b"%d" % (unix // 10))
        return lines.split() if lines.translate(_DIGITS) == b"0000000000.000000\n" * len(raw) else ()

    def parse_one(self, text: bytes) -> bytes | None:
        """Return the Unix time as a text; None if the text is not a time."""
        if alike := self._parse_alike([text]):
            return alike[0]
        unix = self._unix(text)
        return None if unix is None else format_number(unix)

    def _unix(self, text: bytes) -> float | None:
        try:
            time = datetime.fromisoformat(text.decode("ascii"))
            return (time if time.tzinfo else time.replace(tzinfo=self._zone)).timestamp()
        except (ValueError, OverflowError):
            return None
