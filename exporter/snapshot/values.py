"""Parses columns of texts from Redis into columns of texts that Prometheus can parse.

A number is ASCII decimal: an optional sign, digits, an optional fraction and an optional exponent. It
is finite and not negative, also after scaling. An invalid value is dropped, and its position is
returned. Most columns are checked as a whole, and a value that was parsed before is not parsed again:
see docs/explanation/performance.md.
"""

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, TypeVar, cast

from prometheus_client.utils import floatToGoString

from exporter.contract import Metric

_NUMBER: Final = re.compile(rb"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_MAX_LENGTH: Final = 64
"""Bytes. A longer text is neither exported as it is nor kept in memory; a number of this length is finite."""
_MEMO_ITEMS: Final = 65_536

Values = Sequence[bytes | None]
"""A column: each node's value as text, None if the node has no value. In a parsed column no text is empty."""

K = TypeVar("K", bound=Hashable)


def replaced(texts: Values, others: Mapping[int, bytes | None]) -> Values:
    """Return the column with other texts at some positions; None removes a text."""
    changed = [*texts]
    for position, text in others.items():
        changed[position] = text
    return changed


def removed(texts: Values, positions: Iterable[int]) -> Values:
    """Return the column without the texts at these positions."""
    return replaced(texts, dict.fromkeys(positions))


def invalid_positions(raw: Values, texts: Values) -> list[int]:
    """Return the positions of values that are not missing and that gave no text."""
    if all(texts):
        return []
    return [position for position, text in enumerate(texts) if text is None and raw[position] is not None]


def parse_number(text: bytes) -> float | None:
    """Return the number that a text means; None if the text is not a number, infinite or negative."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) and number >= 0 else None


def format_number(number: float) -> bytes:
    """Return a number in the form that prometheus_client writes."""
    text: str = floatToGoString(number)
    return text.encode()


class Memo(dict[K, bytes | None]):
    """The results of a pure function by its argument, each computed at its first use; their number is bounded."""

    def __init__(self, function: Callable[[K], bytes | None]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: K) -> bytes | None:
        result = self._function(key)
        if not isinstance(key, bytes) or len(key) <= _MAX_LENGTH:
            if len(self) >= _MEMO_ITEMS:
                self.clear()
            self[key] = result
        return result


class NumberParser:
    """Parses the values of one metric's field. Only one thread at a time may use it."""

    def __init__(self, metric: Metric) -> None:
        self._scaled = metric.multiply != metric.divide
        self._multiply, self._divide = metric.multiply, metric.divide
        self._memo = Memo(self._text_of)

    def parse(self, raw: Values) -> tuple[Values, list[int]]:
        """Return each value as a text, None if it is missing or invalid; and the positions of invalid values."""
        if not self._scaled and are_whole_numbers(raw):
            return raw, []
        texts = list(map(self._memo.__getitem__, raw))
        return texts, invalid_positions(raw, texts)

    def _text_of(self, text: bytes | None) -> bytes | None:
        if text is None or (number := parse_number(text)) is None:
            return None
        if not self._scaled:
            return text if len(text) <= _MAX_LENGTH else format_number(number)
        number = number * self._multiply / self._divide
        return format_number(number) if math.isfinite(number) else None


def are_whole_numbers(raw: Values) -> bool:
    """Return whether each value consists of 1 to ``_MAX_LENGTH`` digits. All values are checked at once."""
    if not all(raw):  # a value is missing or empty
        return False
    present = cast("Sequence[bytes]", raw)
    return b"".join(present).isdigit() and max(map(len, present)) <= _MAX_LENGTH
