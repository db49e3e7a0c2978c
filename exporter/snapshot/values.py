"""Reads columns of texts from Redis into columns of texts that Prometheus can read.

A number is ASCII decimal: optional sign, digits, optional fraction, optional
exponent. It is finite and not negative, after scaling too. Invalid values are
dropped and their positions reported. A usual column is checked in bulk, at some
ten nanoseconds a value. A value that was parsed before is not parsed again.
"""

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final, NamedTuple, TypeVar, cast

from prometheus_client.utils import floatToGoString

from exporter.contract import Metric

_NUMBER: Final = re.compile(rb"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WINDOW: Final = 150  # digits: a number of 309, as the largest double has, fills a window wherever it begins
_MEMO_ITEMS: Final = 65_536
_MEMO_LENGTH: Final = 64

Texts = Sequence[bytes | None]
Packed = bytes
"""Texts in one piece: a line for each node, which is empty if the text is missing.

A text as an object of its own takes some 40 bytes, and 10,000 nodes have 100,000 texts: more than a processor's
cache holds. In one piece they take a tenth of that."""


class Column(NamedTuple):
    """A text for each node that Prometheus can read; None if the node has no value.

    Attributes:
        texts: The texts.
        packed: The same in one piece.
        missing: Positions of the nodes without a value.
    """

    texts: Texts
    packed: Packed
    missing: tuple[int, ...] = ()

    def amended(self, texts: Mapping[int, bytes | None]) -> "Column":
        """Return the column with other texts at some positions; None removes a text."""
        changed = [*self.texts]
        for position, text in texts.items():
            changed[position] = text
        missing = {position for position in self.missing if position not in texts}
        return _with_gaps(changed, sorted(missing.union(position for position, text in texts.items() if text is None)))

    def without(self, positions: Iterable[int]) -> "Column":
        """Return the column without the texts at these positions."""
        return self.amended(dict.fromkeys(positions))


K = TypeVar("K", bound=Hashable)


def parse_number(text: bytes) -> float | None:
    """Return the number that a text says; None if the text is not a number, infinite or negative."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) and number >= 0 else None


def format_number(number: float) -> bytes:
    """Return a number as prometheus_client writes it."""
    text: str = floatToGoString(number)
    return text.encode()


class Memo(dict[K, bytes | None]):
    """The results of a pure function by its argument, each calculated at its first use; bounded."""

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

    def read(self, raw: Texts) -> tuple[Column, Sequence[int]]:
        """Return a text for each value, None if it is missing or invalid, and the positions of invalid values."""
        if not self._scaled and (numbers := whole_numbers(raw)):
            return numbers, ()
        return checked(raw, list(map(self._memo.__getitem__, raw)))

    def _text_of(self, text: bytes | None) -> bytes | None:
        if text is None or (number := parse_number(text)) is None:
            return None
        if not self._scaled:
            return text if len(text) <= _MEMO_LENGTH else format_number(number)
        number = number * self._multiply / self._divide
        return format_number(number) if math.isfinite(number) else None


def whole_numbers(raw: Texts) -> Column | None:
    """Return the column if every value is missing or all digits, and not too many of them; else None.

    One look at all values together decides.
    """
    present = _present(raw)
    full = present is raw
    lines = b"\n".join([*present, b""])
    digits = lines.translate(None, b"\n")
    if not (full or all(present)) or not digits.isdigit() or len(lines) != len(digits) + len(present):
        return None
    if any(b"\n" not in lines[start : start + _WINDOW] for start in range(0, len(lines), _WINDOW)):
        return None  # a value may have too many digits
    return Column(raw, lines) if full else column_of(raw)


def _present(raw: Texts) -> Sequence[bytes]:
    """Return the values that are not missing: the same sequence if no value is missing or empty."""
    return cast("Sequence[bytes]", raw if all(raw) else [value for value in raw if value is not None])


def checked(raw: Texts, texts: Texts) -> tuple[Column, Sequence[int]]:
    """Return the texts made of some values as a column, and the positions of values that made no text."""
    column = column_of(texts)
    return column, [position for position in column.missing if raw[position] is not None]


def column_of(texts: Texts) -> Column:
    """Return these texts as a column; no text is empty, or holds a line end."""
    try:
        return Column(texts, b"\n".join([*texts, b""]))  # type: ignore[list-item] # as a rule, no text is None
    except TypeError:
        return _with_gaps(texts, [position for position, text in enumerate(texts) if text is None])


def _with_gaps(texts: Texts, missing: Sequence[int]) -> Column:
    lines = [*texts, b""]
    for position in missing:
        lines[position] = b""
    return Column(texts, b"\n".join(cast("list[bytes]", lines)), tuple(missing))


def unpacked(column: Packed) -> list[bytes]:
    """Return the texts of a column; an empty text where a value is missing."""
    texts = column.split(b"\n")
    texts.pop()
    return texts


class HeartbeatTimes:
    """Reads the times that nodes write as heartbeats: ISO 8601, naive in the given zone or with an offset.

    The Unix time of a second is calculated once for all nodes that beat in that second.
    """

    _TENS: Final = len("2026-01-06T12:30:4")
    _WHOLE: Final = len("2026-01-06T12:30:45")
    _DATE: Final = len("2026-01-06")
    _MICROS: Final = len(".123456")
    _UNIX: Final = len("1767702645")
    _SPANS: Final = 16
    """Different tens of seconds in one column; a heartbeat lives for three."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._memo = Memo(self._second_of)

    def read_all(self, raw: Texts) -> tuple[Column, Sequence[int]]:
        """Return each Unix time as a text, None if missing or invalid, and the positions of invalid times."""
        present = _present(raw)
        if (times := self._read_alike(present)) is None:
            read = self.read
            return checked(raw, [None if text is None else read(text) for text in raw])
        texts = unpacked(times)
        if len(texts) == len(raw):
            return Column(texts, times), ()
        following = iter(texts)
        return column_of([None if text is None else next(following) for text in raw]), ()

    def _read_alike(self, raw: Sequence[bytes]) -> Packed | None:
        """Return the times if all are written alike: with microseconds, and with the same offset or without; else None.

        The last digit of a second is the same in ISO 8601 and in Unix time. So whatever
        stands before that digit is replaced everywhere by the first digits of the Unix
        time. The form of the result shows whether every line became a time.
        """
        if not raw:
            return None
        offset = raw[0][self._WHOLE + self._MICROS :]
        lines = b"\n".join([offset, *raw])  # so that an offset and a line end stand before each time
        if len(lines) != len(offset) + len(raw) * (1 + self._WHOLE + self._MICROS + len(offset)):
            return None
        if not lines.endswith(offset):
            return None
        for _ in range(self._SPANS):
            start = lines.find(b"T") - self._DATE
            if start < 0:
                break
            tens = lines[start : start + self._TENS]
            unix = self._memo[tens + b"0" + offset]
            if unix is None or not unix.endswith(b"0"):
                return None
            lines = lines.replace(offset + b"\n" + tens, b"\n" + unix[:-1])
        lines = lines[1 : len(lines) - len(offset)] + b"\n"
        width = self._UNIX + self._MICROS + 1
        points = lines[self._UNIX :: width], lines[width - 1 :: width]
        if len(lines) == len(raw) * width and points == (b"." * len(raw), b"\n" * len(raw)):
            digits = lines.translate(None, b".\n")
            if digits.isdigit() and len(digits) == len(raw) * (width - 2):
                return lines
        return None

    def read(self, text: bytes) -> bytes | None:
        """Return the Unix time as a text; None if the text is not a time."""
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
