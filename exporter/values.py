"""Columns of texts from Redis into columns of texts that Prometheus can read.

A number is ASCII decimal: optional sign, digits, optional fraction, optional
exponent; finite and not negative, after scaling too. What is none is left out
(None) and its position reported. The usual column is checked in bulk, at some
ten nanoseconds a value; a value that has been seen is not parsed again.
"""

import math
import re
import struct
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime, tzinfo
from operator import add
from typing import Final, TypeVar, cast

from prometheus_client.utils import floatToGoString

from exporter.contract import Metric

_NUMBER: Final = re.compile(rb"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SURELY_FINITE: Final = 300  # digits; the largest double has 309
_MEMO_ITEMS: Final = 65_536
_MEMO_LENGTH: Final = 64

Column = Sequence[bytes | None]
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


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

    def read(self, raw: Column) -> tuple[Column, Sequence[int]]:
        """Return a text for each value, None where there is none, and the positions of the unreadable."""
        if not self._scaled and all_digits(raw):
            return raw, ()
        texts = list(map(self._memo.__getitem__, raw))
        if all(texts):  # no text is empty
            return texts, ()
        return texts, [i for i, (text, value) in enumerate(zip(texts, raw, strict=True)) if text is None is not value]

    def _text_of(self, text: bytes | None) -> bytes | None:
        if text is None or (number := parse_number(text)) is None:
            return None
        if not self._scaled:
            return text if len(text) <= _MEMO_LENGTH else format_number(number)
        number = number * self._multiply / self._divide
        return format_number(number) if math.isfinite(number) else None


def all_digits(column: Column) -> bool:
    """Return whether every value is a plain whole number of a sane length, by one look at all of them."""
    present = cast("Sequence[bytes]", column if all(column) else [value for value in column if value is not None])
    digits = b"".join(present)
    excess = len(digits) - len(present)  # over one digit each: where it is small, no length need be looked at
    return all(present) and digits.isdigit() and (excess < _SURELY_FINITE or max(map(len, present)) <= _SURELY_FINITE)


def concatenated(columns: Iterable[Sequence[T]]) -> list[T]:
    """Return columns of parts as one of the whole."""
    whole: list[T] = []
    for column in columns:
        whole += column
    return whole


class HeartbeatTimes:
    """Reads what nodes write as heartbeat: ISO 8601, naive in the given zone or with an offset.

    A second's Unix time is reckoned once, for all nodes that beat in it.
    """

    _WHOLE: Final = len("2026-01-06T12:30:45")
    _MICROS: Final = len(".123456")

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._memo = Memo(self._second_of)

    def read_all(self, raw: Column) -> tuple[Column, Sequence[int]]:
        """Return the Unix time of each as a text, None where there is none, and the positions of the unreadable."""
        if (texts := self._read_alike(raw)) is not None:
            return texts, ()
        read = self.read
        texts = [None if text is None else read(text) for text in raw]
        return texts, [i for i, (text, value) in enumerate(zip(texts, raw, strict=True)) if text is None is not value]

    def _read_alike(self, raw: Column) -> Column | None:
        """Return the times if all are written alike: microseconds, and one offset or none; else None."""
        start, end = self._WHOLE, self._WHOLE + self._MICROS
        if not all(raw) or len({len(text or b"") for text in raw}) != 1 or len(raw[0] or b"") < end:
            return None
        everything, size, count = b"".join(raw), len(raw[0] or b""), len(raw)  # type: ignore[arg-type]
        offset = everything[end:size]
        micros = b"".join(everything[i::size] for i in range(start + 1, end))
        rest = [everything[i::size] for i in (start, *range(end, size))]
        if not micros.isdigit() or rest != [bytes([letter]) * count for letter in b"." + offset]:
            return None
        pieces = struct.unpack(f"{start}s{end - start}s{size - end}x" * count, everything)
        seconds = {whole: self._memo[whole + offset] for whole in set(pieces[::2])}
        if None in seconds.values():
            return None
        return list(map(add, map(seconds.__getitem__, pieces[::2]), pieces[1::2]))

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
