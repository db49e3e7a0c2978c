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
_SIZES: Final = ("B", "KB", "MB", "GB", "TB")
_HOST: Final = r"(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\])"
_PORT: Final = "(?::[0-9]{1,5})?"
_USER: Final = r"(?:[^/?#\[\]\s]*@)?"
_REDIS: Final = rf"(?:rediss?://{_USER}{_HOST}?{_PORT}(?:/[0-9]{{0,9}})?|unix://{_USER}/[^?#]+)(?:\?db=[0-9]{{1,9}})?"
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


def _matched(pattern: str, text: str, reason: str) -> re.Match[str]:
    """Return the match of a whole text; refuse the text for a reason if it does not match."""
    found = re.fullmatch(pattern, text)
    if not found:
        raise ValueError(reason)
    return found


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
    return float(_matched(r"0?\.(?!0+$)[0-9]{1,15}", text, "must be a number between 0 and 1, such as 0.25")[0])


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in Prometheus's form, such as ``1h30m``; ``0`` needs no unit."""
    counts = _matched(_DURATION, text, "not a duration such as 500ms, 10s or 1h30m").groups("0")
    seconds = sum((float(count) * unit for count, unit in zip(counts, _UNITS.values(), strict=True)), 0.0)
    require(seconds <= 100.0 * _UNITS["y"], "longer than 100y")
    return seconds


def format_duration(seconds: float) -> str:
    """Return a duration in Prometheus's form; the inverse of ``parse_duration`` to the millisecond."""
    left, text = round(seconds * 1000), ""
    for unit, size in _UNITS.items():
        count, left = divmod(left, round(size * 1000))
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def duration(text: str, most: str = "100y") -> float:
    """Return the seconds of a duration above 0."""
    require(0 < parse_duration(text) <= parse_duration(most), f"must be more than 0s and at most {most}")
    return parse_duration(text)


def duration_or_off(text: str) -> float | None:
    """Return the seconds of a duration above 0; None for ``off``."""
    return None if text == "off" else duration(text)


def parse_size(text: str) -> int:
    """Return the bytes of a size as Prometheus writes it; each unit is 1,024 times the one before."""
    pattern = f"([1-9][0-9]{{0,11}})({'|'.join(_SIZES)})"
    count, unit = _matched(pattern, text, "not a size such as 512KB, 10MB or 1GB").groups()
    return int(count) << 10 * _SIZES.index(unit)


def existing_file(text: str) -> Path:
    """Return the path of a file that can be read. A pipe is refused: opening it would wait for a writer."""
    reason = "a folder, a pipe or a device, and not a file" if os.path.exists(text) else "no such file"  # noqa: PTH110 - never raises
    require(os.path.isfile(text), reason)  # noqa: PTH113 - never raises
    require(os.access(text, os.R_OK), "a file that this user may not read")
    return Path(text)


def listen_address(text: str) -> ListenAddress:
    """Return an address to listen on."""
    reason = "not an address such as :19121, 127.0.0.1:19121 or [::1]:19121"
    host, port = _matched(f"({_HOST}?):([0-9]{{1,5}})", text, reason).groups()
    require(int(port) < 1 << 16, reason)
    return ListenAddress(host.strip("[]"), int(port))


def redis_url(text: str) -> Secret:
    """Return the address of a Redis."""
    reason = (
        "not an address such as redis://host:6379/0, rediss://host or unix:///run/redis.sock?db=0 (in a password, write"
        " %2F for /, %3F for ? and %23 for #; options are flags of this program)"
    )
    return Secret(_address(_REDIS, text, reason))


def http_url(text: str) -> str:
    """Return an address of HTTP without its last slash."""
    reason = "not an address such as http://host:9093/path, without a password, spaces, ? and #"
    return _address(rf"https?://{_HOST}{_PORT}(?:/[^\s?#@]*)?", text, reason).rstrip("/")


def _address(pattern: str, text: str, reason: str) -> str:
    try:
        # An error: the port is too large, or what stands in brackets is no IPv6 address.
        require(re.fullmatch(pattern, text) and text.isprintable() and urlsplit(text).port != 0, reason)
    except ValueError:
        raise ValueError(reason) from None
    return text


def url_path(text: str) -> str:
    """Return the path of the metrics."""
    reason = "not a path such as /metrics that is free, of ASCII characters without spaces, ?, # and %"
    return _matched(r"""/(?!-/|api/|runbooks/)[!"$&->@-~]+""", text, reason)[0]


def label(text: str) -> str:
    """Return a label with its value, such as ``cluster=tokyo``."""
    reason = "not a label such as cluster=tokyo; alertname, node_id and loss identify the alert"
    return _matched("(?!(?:alertname|node_id|loss)=)[A-Za-z_][A-Za-z0-9_]*=(?s:.*)", text, reason)[0]


def time_zone(text: str) -> tzinfo:
    """Return a time zone."""
    if text == "UTC":  # the usual zone needs no database
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - few installations have another zone

    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone such as UTC or Asia/Shanghai") from None
