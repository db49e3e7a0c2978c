"""What users write as values. Each function takes a text and returns the checked value.

A text is refused with a ValueError that says what would be right. The error never repeats the text, which may hold a
password. Flags, variables and files all give texts, so that a value has one form everywhere.
"""

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_UNITS: Final = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_DURATION: Final = "0|(?=.)" + "".join(rf"(?:([0-9]{{1,15}}){unit})?" for unit in _UNITS)
_LONGEST: Final = 100.0 * _UNITS["y"]
_SIZES: Final = ("B", "KB", "MB", "GB", "TB")
_HOST: Final = r"(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\])"
_PORT: Final = "(?::[0-9]{1,5})?"
_USER: Final = r"(?:[^/?#\[\]\s]*@)?"
_REDIS: Final = rf"(?:rediss?://{_USER}{_HOST}?{_PORT}(?:/[0-9]{{0,9}})?|unix://{_USER}/[^?#]+)(?:\?db=[0-9]{{1,9}})?"
_LAST_PORT: Final = 65_535
_SWITCH: Final = dict.fromkeys(("on", "true", "yes", "1"), True) | dict.fromkeys(("off", "false", "no", "0"), False)


class ListenAddress(NamedTuple):
    """An address to listen on. An empty host means all addresses of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address in the form of the flag."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that may hold a password; no representation shows it."""

    _text: str = field(repr=False)

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text


def require(met: object, reason: str) -> None:
    """Refuse a value for a reason unless a condition is met.

    Raises:
        ValueError: The condition is not met.
    """
    if not met:
        raise ValueError(reason)


def switch(text: str) -> bool:
    """Return whether a switch is on."""
    require(text.lower() in _SWITCH, "must be on or off")
    return _SWITCH[text.lower()]


def whole(text: str, least: int = 1) -> int:
    """Return a whole number."""
    require(re.fullmatch("[0-9]{1,15}", text) and int(text) >= least, f"must be a whole number of at least {least}")
    return int(text)


def share(text: str) -> float:
    """Return a share of a whole."""
    require(re.fullmatch(r"0?\.[0-9]{1,15}", text) and float(text), "must be a number between 0 and 1, such as 0.25")
    return float(text)


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in Prometheus's form, such as ``1h30m``; ``0`` needs no unit."""
    match = re.fullmatch(_DURATION, text)
    if not match:
        raise ValueError("not a duration such as 500ms, 10s or 1h30m")
    seconds = sum((float(count or 0) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True)), 0.0)
    require(seconds <= _LONGEST, "longer than 100y")
    return seconds


def format_duration(seconds: float) -> str:
    """Return a duration in Prometheus's form; the inverse of ``parse_duration`` to the millisecond."""
    left, parts = round(seconds * 1000), []
    for unit, size in _UNITS.items():
        count, left = divmod(left, round(size * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def duration(text: str, most: str = "100y") -> float:
    """Return the seconds of a duration above 0."""
    require(0 < parse_duration(text) <= parse_duration(most), f"must be more than 0s and at most {most}")
    return parse_duration(text)


def duration_or_off(text: str) -> float | None:
    """Return the seconds of a duration above 0; None for ``off``."""
    return None if text == "off" else duration(text)


def parse_size(text: str) -> int:
    """Return the bytes of a size as Prometheus writes it; each unit is 1,024 times the one before."""
    match = re.fullmatch(f"([1-9][0-9]{{0,11}})({'|'.join(_SIZES)})", text)
    if not match:
        raise ValueError("not a size such as 512KB, 10MB or 1GB")
    return int(match[1]) << 10 * _SIZES.index(match[2])


def existing_file(text: str) -> Path:
    """Return the path of a file that can be read. A pipe is refused: opening it would wait for a writer."""
    wrong_kind = "a folder, a pipe or a device, and not a file"
    require(os.path.isfile(text), wrong_kind if os.path.exists(text) else "no such file")  # noqa: PTH110, PTH113 - never raise
    require(os.access(text, os.R_OK), "a file that this user may not read")
    return Path(text)


def listen_address(text: str) -> ListenAddress:
    """Return an address to listen on."""
    match = re.fullmatch(f"({_HOST}?):([0-9]{{1,5}})", text)
    if not match or int(match[2]) > _LAST_PORT:
        raise ValueError("not an address such as :19121, 127.0.0.1:19121 or [::1]:19121")
    return ListenAddress(match[1].strip("[]"), int(match[2]))


def redis_url(text: str) -> Secret:
    """Return the address of a Redis."""
    forms = "redis://host:6379/0, rediss://host or unix:///run/redis.sock?db=0"
    codes = "in a password, write %2F for /, %3F for ? and %23 for #; options are flags of this program"
    require(_is_address(_REDIS, text), f"not an address such as {forms} ({codes})")
    return Secret(text)


def http_url(text: str) -> str:
    """Return an address of HTTP without its last slash."""
    reason = "not an address such as http://host:9093/path, without a password, spaces, ? and #"
    require(_is_address(rf"https?://{_HOST}{_PORT}(?:/[^\s?#@]*)?", text), reason)
    return text.rstrip("/")


def url_path(text: str) -> str:
    """Return the path of the metrics."""
    free = text.isprintable() and re.fullmatch(r"/(?!-/|api/|runbooks/)[^\s?#%]+", text)
    require(free, "not a path such as /metrics that is free, without spaces, ?, # and %")
    return text


def label(text: str) -> str:
    """Return a label with its value, such as ``cluster=tokyo``."""
    found = re.fullmatch("(?!(?:alertname|node_id)=)[A-Za-z_][A-Za-z0-9_]*=(?s:.*)", text)
    require(found, "not a label such as cluster=tokyo; alertname and node_id identify the alert")
    return text


def time_zone(text: str) -> tzinfo:
    """Return a time zone."""
    if text == "UTC":  # the usual zone needs no database
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - few installations have another zone

    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone such as UTC or Asia/Shanghai") from None


def _is_address(pattern: str, text: str) -> bool:
    try:
        return bool(re.fullmatch(pattern, text)) and text.isprintable() and urlsplit(text).port != 0
    except ValueError:  # the port is too large, or what stands in brackets is no IPv6 address
        return False
