"""The kinds of addresses and names, which are checked texts; ``kinds`` has the general kinds.

``--help`` loads this module too, so it imports inside of a check what only that check needs.
"""

import re
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from exporter.settings.kinds import text_of

_PORT: Final = re.compile(r"[0-9]{1,5}")
_LAST_PORT: Final = 65_535
_LAST_DATABASE: Final = 2**31 - 1
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]+(%[0-9A-Za-z_.-]+)?\]|::1?")
_NO_REDIS_URL: Final = (
    "not a Redis address such as redis://host:6379/0 (in a password, write %2F for /, %3F for ? and %23 for #)"
)
_CREDENTIALS: Final = {"username", "password"}


class ListenAddress(NamedTuple):
    """An address to listen on. An empty host means all addresses of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address in the form of the flag."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Secret:
    """A text that may hold a password; it is in no representation of the settings."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret('…')"


def _listen_address(value: str) -> ListenAddress:
    host, colon, port = value.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > _LAST_PORT or not _is_host(host):
        raise ValueError("not an address such as :19121, 127.0.0.1:19121 or [::1]:19121")
    return ListenAddress(host.removeprefix("[").removesuffix("]"), int(port))


def _is_host(host: str) -> bool:
    """Return whether a text may be the host of an address to listen on: a name, IPv4, IPv6 in brackets, or empty."""
    if host.startswith("[") or host.endswith("]") or ":" in host:
        return _IPV6.fullmatch(host) is not None
    try:
        return all(letter.isalnum() or letter in "-._" for letter in host) and host.encode("idna") is not None
    except UnicodeError:  # a part of the name is empty, or too long
        return False


def _redis_url(url: str) -> Secret:
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url  # noqa: PLC0415 - --help needs no redis-py

    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    try:
        address, options = urlsplit(url), parse_url(url)
        port = address.port
    except ValueError:
        raise ValueError(_NO_REDIS_URL) from None
    if "#" in url or port == 0 or not _is_url_host(address.hostname or ""):
        raise ValueError(_NO_REDIS_URL)
    if not url.startswith("unix://") and address.path.strip("/") and "db" not in options:
        raise ValueError("its path is not a database number, such as in redis://host:6379/0")
    if not 0 <= options.get("db", 0) <= _LAST_DATABASE:
        raise ValueError("its database number is out of range")
    if address.query and parse_qs(address.query, keep_blank_values=True).keys() != {"db"}:
        # A password with a ? in it looks like options, so they are named only if redis-py has them.
        known = sorted(parse_qs(address.query).keys() & (URL_QUERY_ARGUMENT_PARSERS.keys() | _CREDENTIALS))
        named = f": {known[0]}" if known else " (in a password, ? is written %3F)"
        raise ValueError(f"has an option that is unknown, or a flag of this program{named}")
    return Secret(url)


def _http_url(value: str) -> str:
    try:
        address = urlsplit(value)
        host, port = address.hostname, address.port
    except ValueError:
        host, port = None, None
    if not value.startswith(("http://", "https://")) or not host or port == 0 or not _is_url_host(host):
        raise ValueError("not an address such as http://alertmanager:9093")
    if "@" in address.netloc:
        raise ValueError("must not hold a password: put it into --alertmanager.config-file")
    if "?" in value or "#" in value:
        raise ValueError("must hold no query and no fragment: the path of Alertmanager's API is added to it")
    if not value.isprintable() or " " in value:
        raise ValueError("must hold no spaces and no control characters")
    return value.rstrip("/")


def _is_url_host(host: str) -> bool:
    return all(letter.isalnum() or letter in "-._:%" for letter in host)


def _external_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not value.split("://", 1)[1].strip("/"):
        raise ValueError("not an address such as https://ginkgo-exporter.example")
    if "@" in value or "?" in value or "#" in value:
        raise ValueError("must hold no password, no ? and no #")
    return value.rstrip("/")


def _label(value: str) -> str:
    name, equals, _ = value.partition("=")
    if not equals or not name.isascii() or not name.isidentifier():
        raise ValueError("not a label such as cluster=tokyo")
    if name in ("alertname", "node_id"):
        raise ValueError(f"the label {name} identifies the alert and cannot be set")
    return value


def _time_zone(value: str) -> tzinfo:
    if value == "UTC":  # the usual zone needs no database
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - few installations have another zone

    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone such as UTC or Asia/Shanghai") from None


def _path(value: str) -> str:
    if not value.startswith("/") or value == "/" or value.startswith(("/-/", "/api/", "/runbooks/")):
        raise ValueError("must begin with / and must not be a path of another route")
    if not value.isprintable() or set(value) & set(" ?#%"):
        raise ValueError("must be a path without spaces, ?, # and %")
    return value


def _prefix(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


REDIS_URL: Final = replace(text_of(_redis_url), show=Secret.get_secret_value)
EXTERNAL_URL: Final = text_of(_external_url)
HTTP_URL: Final = text_of(_http_url)
LABEL: Final = text_of(_label)
URL_PATH: Final = text_of(_path)
KEY_PREFIX: Final = text_of(_prefix)
TIME_ZONE: Final = text_of(_time_zone)
LISTEN_ADDRESS: Final = text_of(_listen_address)
