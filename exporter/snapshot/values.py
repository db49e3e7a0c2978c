"""Parses columns of texts from Redis into columns of texts that Prometheus can parse.

A number is ASCII decimal: an optional sign, digits, an optional fraction and an optional exponent. It
is finite and not negative, also after scaling. An invalid value is dropped, and its position is
returned. Most columns are checked as a whole, and a value that was parsed before is not parsed again:
see docs/explanation/performance.md.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final, TypeVar, cast

import structlog
from prometheus_client.utils import floatToGoString

from exporter.contract import STATUSES, Metric, parse_number
from exporter.source.names import shown_id
from exporter.source.reading import Reading

_MAX_LENGTH: Final = 64
"""Bytes. A longer text is neither exported as it is nor kept in memory; a number of this length is finite."""
_LENGTHS: Final = frozenset(range(1, _MAX_LENGTH + 1))
_MEMO_ITEMS: Final = 65_536
_STATUSES: Final = frozenset((None, *(status.encode() for status in STATUSES)))
TOLERANCE: Final = 60.0
"""Seconds by which the time that a node writes may be off without a hint in the log."""

Values = Sequence[bytes | None]
"""A column: each node's value as text, None if the node has no value. In a parsed column no text is empty."""

K = TypeVar("K", bound=Hashable)

log = structlog.get_logger(__name__)


def replaced(texts: Values, others: Mapping[int, bytes | None]) -> Values:
    """Return the column with other texts at some positions; None removes a text."""
    changed = [*texts]
    for position, text in others.items():
        changed[position] = text
    return changed


def removed(texts: Values, positions: Iterable[int]) -> Values:
    """Return the column without the texts at these positions."""
    return replaced(texts, dict.fromkeys(positions))


def _invalid(raw: Values, texts: Values) -> list[int]:
    """Return the positions of values that are not missing and that gave no text."""
    if all(texts):
        return []
    return [position for position, text in enumerate(texts) if text is None and raw[position] is not None]


def format_number(number: float) -> bytes:
    """Return a number in the form that prometheus_client writes."""
    text: str = floatToGoString(number)
    return text.encode()


def known_statuses(raw: Values) -> tuple[Values, list[int]]:
    """Return the statuses that a node may have, None for others; and the positions of others."""
    texts = raw if _STATUSES.issuperset(raw) else [status if status in _STATUSES else None for status in raw]
    return texts, _invalid(raw, texts)


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
        return texts, _invalid(raw, texts)

    def _text_of(self, text: bytes | None) -> bytes | None:
        if text is None or (number := parse_number(text)) is None:
            return None
        if not self._scaled:
            return text if len(text) <= _MAX_LENGTH else format_number(number)
        number = number * self._multiply / self._divide
        return format_number(number) if math.isfinite(number) else None


def are_whole_numbers(raw: Values) -> bool:
    """Return whether each value consists of 1 to ``_MAX_LENGTH`` digits. All values are checked at once."""
    try:
        digits = b"".join(cast("Sequence[bytes]", raw))
    except TypeError:  # a value is missing
        return False
    return digits.isdigit() and _LENGTHS.issuperset(map(len, cast("Sequence[bytes]", raw)))


class HeartbeatTimes:
    """Parses times in ISO 8601: naive ones in the given zone, others by their offset.

    The Unix time of a second is computed once for all nodes that beat in that second.
    """

    _DATE: Final = len("2026-01-06")
    _TENS: Final = len("2026-01-06T12:30:4")
    _SECOND: Final = len("2026-01-06T12:30:45")
    _MICROS: Final = len("2026-01-06T12:30:45.123456")
    _POINT: Final = len("1767702645")
    _LINE: Final = len("1767702645.123456\n")

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._memo = Memo(self._second_of)

    def parse(self, raw: Values) -> tuple[Values, list[int]]:
        """Return each Unix time as a text, None if it is missing or invalid; and the positions of invalid times."""
        texts = self._parse_alike([text for text in raw if text is not None])
        if texts is None:
            parsed: Values = [None if text is None else self.parse_one(text) for text in raw]
        elif len(texts) == len(raw):
            parsed = texts
        else:
            following = iter(texts)
            parsed = [None if text is None else next(following) for text in raw]
        return parsed, _invalid(raw, parsed)

    def _parse_alike(self, raw: list[bytes]) -> list[bytes] | None:
        """Return the times if all have microseconds, and all have the same offset or no offset; else None.

        All times stand in one text, a line for each. The last digit of a second is the same in ISO 8601 and in Unix
        time. So the part before that digit, such as ``2026-01-06T12:30:4``, is replaced in all lines at once by the
        first digits of the Unix time. A check of the result then shows whether each line is a time.
        """
        if not raw:
            return None
        end = raw[0][self._MICROS :] + b"\n"
        lines = b"\n".join([*raw, b""])
        if len(lines) != len(raw) * (self._MICROS + len(end)):
            return None
        lines = lines.replace(end, b"\n")
        while (start := lines.find(b"T") - self._DATE) >= 0:
            tens = lines[start : start + self._TENS]
            unix = self._memo[tens + b"0" + end[:-1]]
            if unix is None or not unix.endswith(b"0"):
                return None
            lines = lines.replace(tens, unix[:-1])
        return lines.split(b"\n")[:-1] if self._are_times(lines, len(raw)) else None

    def _are_times(self, lines: bytes, count: int) -> bool:
        """Return whether a text is that many lines of the form ``1767702645.123456``."""
        digits = lines.translate(None, b".\n")
        return (
            len(lines) == count * self._LINE
            and lines[self._POINT :: self._LINE] == b"." * count
            and lines[self._LINE - 1 :: self._LINE] == b"\n" * count
            and len(digits) == count * (self._LINE - 2)
            and digits.isdigit()
        )

    def parse_one(self, text: bytes) -> bytes | None:
        """Return the Unix time as a text; None if the text is not a time."""
        if alike := self._parse_alike([text]):
            return alike[0]
        unix = self._unix(text)
        return None if unix is None else format_number(unix)

    def _second_of(self, text: bytes) -> bytes | None:
        if b"." in text[: self._SECOND]:
            return None  # the text has a fraction of its own, so it is not a whole second
        unix = self._unix(text)
        return b"%d" % unix if unix is not None and unix >= 0 and unix.is_integer() else None

    def _unix(self, text: bytes) -> float | None:
        try:
            time = datetime.fromisoformat(text.decode("ascii"))
            return (time if time.tzinfo else time.replace(tzinfo=self._zone)).timestamp()
        except (ValueError, OverflowError):
            return None


def hint_at_clocks(reading: Reading, written: Values, ttl: float) -> bool:
    """Log a hint about the first node that writes a time that is far off. Return whether there is one.

    Args:
        reading: The nodes and the TTLs of their heartbeats.
        written: The Unix time that each node wrote; None if it is missing.
        ttl: Seconds that a heartbeat lives, by the settings.
    """
    for name, ms, text in zip(reading.names, reading.ttl_ms, written, strict=True):
        off = float(text) - (reading.wall - ttl + ms / 1000) if ms > 0 and text else 0.0
        if abs(off) > TOLERANCE:
            log.warning(
                "a node writes a time that is far off: see its clock, --heartbeat.timezone and --heartbeat.ttl",
                node_id=shown_id(name),
                seconds_off=round(off),
            )
            return True
    return False
