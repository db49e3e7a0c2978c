"""Parses columns of texts from Redis into columns of texts that Prometheus can parse.

An invalid value becomes None. Most columns are checked as a whole, and a value that was parsed before is not parsed
again: see docs/explanation/performance.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Final, NamedTuple

from prometheus_client.utils import floatToGoString

from exporter.contract import STATUSES, Metric, parse_number

_MAX_LENGTH: Final = 64
"""Bytes. A longer text is no number here: it is neither exported nor kept in memory."""
_TOO_LONG: Final = b"0" * (_MAX_LENGTH + 1)
_MEMO_ITEMS: Final = 65_536
_STATUSES: Final = frozenset(status.encode() for status in STATUSES)
_DIGITS: Final = bytes.maketrans(b"0123456789", b"0" * 10)

Values = Sequence[bytes | None]
"""Each node's value as text, None if the node has no value."""


class Column(NamedTuple):
    """Parsed values of a metric, in two forms; no text is empty.

    Thousands of small texts that outlive their part would slow down the next parts, since memory far away is slow. So
    only the second form does.

    Attributes:
        values: Each node's value.
        text: The same in one text, with a line for each node; the line of a node without a value is empty.
        whole: Whether each node has a value.
    """

    values: Values
    text: bytes
    whole: bool

    @classmethod
    def of(cls, values: Values) -> "Column":
        """Return the column of these values."""
        try:
            return cls(values, b"\n".join([*values, b""]), whole=True)  # type: ignore[list-item]
        except TypeError:  # a value is missing
            return cls(values, b"\n".join([*[text or b"" for text in values], b""]), whole=False)

    def replaced(self, others: Mapping[int, bytes | None]) -> "Column":
        """Return the column with other values at some positions; None removes a value."""
        return Column.of([others.get(i, value) for i, value in enumerate(self.values)]) if others else self


def format_number(number: float) -> bytes:
    """Return a number in the form that prometheus_client writes."""
    return str(floatToGoString(number)).encode()


def known_statuses(raw: Values) -> Column:
    """Return the statuses that a node may have, None for others."""
    return Column.of([status if status in _STATUSES else None for status in raw])


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


def number_parser(metric: Metric) -> Callable[[Values], Column]:
    """Return what parses the values of a metric's field. Only one thread at a time may use it."""
    memo, scaled = Memo(partial(_number_text, metric)), metric.multiply != metric.divide

    def parse(raw: Values) -> Column:
        if not scaled and are_whole_numbers(column := Column.of(raw)):
            return column
        return Column.of(list(map(memo.__getitem__, raw)))

    return parse


def _number_text(metric: Metric, text: bytes | None) -> bytes | None:
    if text is None or len(text) > _MAX_LENGTH or (number := parse_number(text)) is None:
        return None
    number = number * metric.multiply / metric.divide
    if math.isinf(number):
        return None
    return text if metric.multiply == metric.divide else format_number(number)


def are_whole_numbers(column: Column) -> bool:
    """Return whether each value consists of 1 to ``_MAX_LENGTH`` digits. All values are checked at once."""
    shape = column.text.translate(_DIGITS)
    return shape.translate(None, b"0") == b"\n" * len(column.values) and all(column.values) and _TOO_LONG not in shape


class HeartbeatTimes:
    """Parses times in ISO 8601: naive ones in the given zone, others by their offset."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def parse(self, raw: Values) -> Column:
        """Return each Unix time as a text, None if it is missing or invalid."""
        present = [text for text in raw if text is not None]
        lines = self._parse_alike(present)
        if lines and len(present) == len(raw):
            return Column(lines.split(), lines, whole=True)
        following = iter(lines.split() or map(self.parse_one, present))
        return Column.of([None if text is None else next(following) for text in raw])

    def _parse_alike(self, raw: Sequence[bytes]) -> bytes:
        """Return the times, a line for each, if all have microseconds, and the same offset or none; else nothing.

        All times stand in one text, a line for each. The last digit of a second is the same in ISO 8601 and in Unix
        time. So the part before that digit, such as ``2026-01-06T12:30:4``, is replaced in all lines at once by the
        first digits of the Unix time. A check of the result then shows whether each line is a time.
        """
        # 26, 18 and 10 are the lengths of 2026-01-06T12:30:45.123456, of 2026-01-06T12:30:4 and of 2026-01-06.
        end = raw[0][26:] + b"\n" if raw else b""
        lines = b"\n".join([*raw, b""])
        if len(lines) != len(raw) * (26 + len(end)):
            return b""
        if end != b"\n":
            lines = lines.replace(end, b"\n")
        while (start := lines.find(b"T") - 10) >= 0:
            tens = lines[start : start + 18]
            unix = None if b"." in tens else self._unix(tens + b"0" + end[:-1])
            if unix is None or unix % 10:
                return b""
            lines = lines.replace(tens, b"%d" % (unix // 10))
        return lines if lines.translate(_DIGITS) == b"0000000000.000000\n" * len(raw) else b""

    def parse_one(self, text: bytes) -> bytes | None:
        """Return the Unix time as a text; None if the text is not a time."""
        if alike := self._parse_alike([text]):
            return alike[:-1]
        unix = self._unix(text)
        return None if unix is None else format_number(unix)

    def _unix(self, text: bytes) -> float | None:
        try:
            time = datetime.fromisoformat(text.decode("ascii"))
            return (time if time.tzinfo else time.replace(tzinfo=self._zone)).timestamp()
        except (ValueError, OverflowError):
            return None
