"""Columns of texts from Redis into columns of texts that Prometheus can read.

A number is ASCII decimal: optional sign, digits, optional fraction, optional
exponent; finite and not negative, after scaling too. What is none is left out
and its position reported. The usual column is checked in bulk, at some
ten nanoseconds a value; a value that has been seen is not parsed again.
"""

import math
import re
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime, tzinfo
from typing import Final, TypeVar, cast

from prometheus_client.utils import floatToGoString

from exporter.contract import Metric

_NUMBER: Final = re.compile(rb"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SURELY_FINITE: Final = 300  # digits; the largest double has 309
_MEMO_ITEMS: Final = 65_536
_MEMO_LENGTH: Final = 64

Column = Sequence[bytes | None]
Packed = bytes
"""A column in one piece: each text and a line end, or the line end alone where there is none.

A text is some 40 bytes as an object of its own, scattered, and 10,000 nodes have 100,000 of them: more than a
processor's cache holds. In one piece they are a tenth of that."""
K = TypeVar("K", bound=Hashable)


def parse_number(text: bytes) -> float | None:
    """Return the number that a text is, or None if it is none, infinite or negative."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) and number >= 0 else None


def format_number(number: float) -> bytes:
    """Return a number as prometheus_client writes it."""
    text: str = floatToGoString(number)
    return text.encode()


class Memo(dict[K, bytes | None]):
    """Results of a pure function by its argument: filled as it is asked, and bounded."""

    def __init__(self, function: Callable[[K], bytes | None]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: K) -> bytes | None:
        result = self._function(key)
        if not isinstance(key, bytes) or len(key) <= _MEMO_LENGTH:
            if len(self) >= _MEMO_ITEMS:
                self.clear()
            self[key] = result
        return result


class NumberColumn:
    """Reads the values of one metric's field. For one thread at a time."""

    def __init__(self, metric: Metric) -> None:
        self._scaled = metric.multiply != metric.divide
        self._multiply, self._divide = metric.multiply, metric.divide
        self._memo = Memo(self._text_of)

    def read(self, raw: Column) -> tuple[Packed, Sequence[int]]:
        """Return a text for each value, none where there is none, and the positions of the unreadable."""
        if not self._scaled and (numbers := whole_numbers(raw)) is not None:
            return numbers, ()
        texts = list(map(self._memo.__getitem__, raw))
        return packed(texts), unreadable(raw, texts)

    def _text_of(self, text: bytes | None) -> bytes | None:
        if text is None or (number := parse_number(text)) is None:
            return None
        if not self._scaled:
            return text if len(text) <= _MEMO_LENGTH else format_number(number)
        number = number * self._multiply / self._divide
        return format_number(number) if math.isfinite(number) else None


def whole_numbers(column: Column) -> Packed | None:
    """Return a column in which all that is there is digits, and not too many of them, by one look at all; else None."""
    present = cast("Sequence[bytes]", column if all(column) else [value for value in column if value is not None])
    lines = packed(present)
    digits = lines.translate(None, b"\n")
    if not all(present) or not digits.isdigit() or len(lines) != len(digits) + len(present):
        return None
    excess = len(digits) - len(present)  # over one digit each: where it is small, no length need be looked at
    if excess >= _SURELY_FINITE and max(map(len, present)) > _SURELY_FINITE:
        return None
    return lines if present is column else packed(column)


def unreadable(raw: Column, texts: Column) -> Sequence[int]:
    """Return the positions of values of which no text was made."""
    if all(texts):  # no text is empty
        return ()
    return [i for i, (text, value) in enumerate(zip(texts, raw, strict=True)) if text is None is not value]


def packed(column: Column) -> Packed:
    """Return a column in one piece; no text holds a line end."""
    try:
        return b"\n".join([*column, b""])  # type: ignore[list-item] # as a rule, none is None
    except TypeError:
        return b"\n".join([*(text or b"" for text in column), b""])


def unpacked(column: Packed) -> list[bytes]:
    """Return the texts of a column; empty where there is none."""
    texts = column.split(b"\n")
    texts.pop()
    return texts


class HeartbeatTimes:
    """Reads what nodes write as heartbeat: ISO 8601, naive in the given zone or with an offset.

    A second's Unix time is reckoned once, for all nodes that beat in it.
    """

    _WHOLE: Final = len("2026-01-06T12:30:45")
    _DATE: Final = len("2026-01-06")
    _MICROS: Final = len(".123456")
    _UNIX: Final = len("1767702645")
    _SECONDS: Final = 64
    """Different seconds in one column; nodes write every ten."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._memo = Memo(self._second_of)

    def read_all(self, raw: Column) -> tuple[Packed, Sequence[int]]:
        """Return the Unix time of each as a text, none where there is none, and the positions of the unreadable."""
        if (times := self._read_alike(raw)) is not None:
            return times, ()
        read = self.read
        texts = [None if text is None else read(text) for text in raw]
        return packed(texts), unreadable(raw, texts)

    def _read_alike(self, raw: Column) -> Packed | None:
        """Return the times if all are written alike: microseconds, and one offset or none; else None.

        Each second is replaced by its Unix time wherever it stands. Whether that made
        a time of every line, and of nothing else, the result's form tells.
        """
        if not all(raw):
            return None
        lines = packed(raw)
        offset = lines[self._WHOLE + self._MICROS : lines.find(b"\n")]
        if len(lines) != len(raw) * (self._WHOLE + self._MICROS + len(offset) + 1):
            return None
        if offset:
            lines = lines.replace(offset + b"\n", b"\n")
        for _ in range(self._SECONDS):
            start = lines.find(b"T") - self._DATE
            if start < 0:
                break
            second = lines[start : start + self._WHOLE]
            unix = self._memo[second + offset]
            if unix is None:
                return None
            lines = lines.replace(second, unix)
        width = self._UNIX + self._MICROS + 1
        points = lines[self._UNIX :: width], lines[width - 1 :: width]
        if len(lines) == len(raw) * width and points == (b"." * len(raw), b"\n" * len(raw)):
            digits = lines.translate(None, b".\n")
            if digits.isdigit() and len(digits) == len(raw) * (width - 2):
                return lines
        return None

    def read(self, text: bytes) -> bytes | None:
        """Return the Unix time as a text, or None if the text is no time."""
        whole, micros, offset = text[: self._WHOLE], text[self._WHOLE : 26], text[26:]
        if len(micros) == self._MICROS and micros[1:].isdigit() and micros[:1] == b".":
            second = self._memo[whole + offset]
            if second is not None:
                return second + micros
        unix = self._unix(text)
        return None if unix is None else format_number(unix)

    def _second_of(self, text: bytes) -> bytes | None:
        if b"." in text[: self._WHOLE]:
            return None  # its own fraction: not a whole second
        unix = self._unix(text)
        return b"%d" % unix if unix is not None and unix >= 0 and unix.is_integer() else None

    def _unix(self, text: bytes) -> float | None:
        try:
            time = datetime.fromisoformat(text.decode("ascii"))
            return (time if time.tzinfo else time.replace(tzinfo=self._zone)).timestamp()
        except (ValueError, OverflowError):
            return None
