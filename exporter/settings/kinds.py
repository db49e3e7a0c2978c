"""The types of the settings' values. Each type is parsed from the user's text."""

from typing import Annotated, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from redis.connection import parse_url

from exporter.settings.durations import parse_duration
from exporter.settings.sizes import parse_size


class ListenAddress(NamedTuple):
    """An address to listen on. An empty host means all addresses of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address in the form of the flag."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _duration(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("not a duration such as 500ms, 10s or 1h30m")  # noqa: TRY004 - pydantic expects ValueError
    return parse_duration(value) if isinstance(value, str) else value


def _optional_duration(value: object) -> object:
    # YAML reads a bare `off` as false.
    return None if value is False or value == "off" else _duration(value)


def _size(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("not a size such as 512KB, 10MB or 1GB")  # noqa: TRY004 - pydantic's way to refuse
    return parse_size(value) if isinstance(value, str) else value


def _listen_address(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004
        raise ValueError("not an address such as :19121, 127.0.0.1:19121 or [::1]:19121")
    return ListenAddress(host.removeprefix("[").removesuffix("]"), int(port))


def _redis_url(value: SecretStr) -> SecretStr:
    # The URL may hold a password. So no message quotes it.
    url = value.get_secret_value()
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    try:
        address, options = urlsplit(url), parse_url(url)
    except ValueError:
        raise ValueError("not a Redis address such as redis://host:6379/0") from None
    if not url.startswith("unix://") and address.path.strip("/") and "db" not in options:
        raise ValueError("its path is not a database number, such as in redis://host:6379/0")
    if strange := sorted(parse_qs(address.query).keys() - {"db"}):
        raise ValueError(f"has an option that is unknown, or a flag of this program: {strange[0]}")
    return value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not value.split("://", 1)[1].strip("/"):
        raise ValueError("not an address such as http://alertmanager:9093")
    if "@" in value.split("://", 1)[1].split("/", 1)[0]:
        raise ValueError("must not hold a password: put it into --alertmanager.config-file")
    return value.rstrip("/")


def _label(value: str) -> str:
    name, equals, _ = value.partition("=")
    if not equals or not name.isascii() or not name.isidentifier():
        raise ValueError("not a label such as cluster=tokyo")
    if name in ("alertname", "node_id"):
        raise ValueError(f"the label {name} identifies the alert and cannot be set")
    return value


def _time_zone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone such as UTC or Asia/Shanghai") from None


def _path(value: str) -> str:
    if not value.startswith("/") or value == "/" or value.startswith(("/-/", "/api/")):
        raise ValueError("must begin with / and must not be a path of another route")
    return value


def _prefix(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


IS_SIZE: Final = BeforeValidator(_size)
Size = Annotated[int, IS_SIZE, Field(gt=0)]
IS_DURATION: Final = BeforeValidator(_duration)
Duration = Annotated[float, IS_DURATION, Field(gt=0, allow_inf_nan=False)]
IS_OPTIONAL_DURATION: Final = BeforeValidator(_optional_duration)
OptionalDuration = Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, IS_OPTIONAL_DURATION]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Label = Annotated[str, AfterValidator(_label)]
UrlPath = Annotated[str, AfterValidator(_path)]
KeyPrefix = Annotated[str, AfterValidator(_prefix)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(_time_zone)]
Address = Annotated[ListenAddress, BeforeValidator(_listen_address)]
