"""The errors in settings, a line for each: invalid values, unknown names, and settings that do not fit together."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from exporter.settings.flags import all_settings
from exporter.settings.model import Redis, Settings
from exporter.settings.nearest import nearest
from exporter.settings.sources import Names, Sources
from exporter.settings.yaml_file import no_file

_URL: Final = ("redis", "url")
_MODE: Final = ("redis", "mode")
_PAIR: Final = ("redis", "tls-cert-file"), ("redis", "tls-key-file")


class Clash(NamedTuple):
    """Settings that do not fit together.

    Attributes:
        wrong: The settings to change. The error is shown at the first of them that was given.
        reason: Why, without the place.
        others: The settings that they do not fit.
    """

    wrong: tuple[Names, ...]
    reason: str
    others: tuple[Names, ...] = ()


def invalid(error: ValidationError, given: Sources) -> Iterator[tuple[Names, str]]:
    """Yield each setting that pydantic refuses, with a line that names its place, the reason and the nearest name."""
    seen: set[Names] = set()
    for each in error.errors(include_url=False):
        names = tuple(part for part in each["loc"] if isinstance(part, str))
        if each["type"] == "too_short" and names in seen:
            continue  # a list whose only value is invalid counts as empty
        seen.add(names)
        yield names, f"{given.place(names)}: {_reason(each, names)}{given.line(names)}"


def clashes(settings: Settings, given: Sources, invalid_names: Iterable[Names] = ()) -> Iterator[str]:
    """Yield a line for each clash of settings.

    Args:
        settings: The settings.
        given: Where they came from.
        invalid_names: Settings that hold a default in place of an invalid value. A clash with one of them is no error.
    """
    left_out = set(invalid_names)
    for wrong, reason, others in (*_redis_clashes(settings.redis), *_prefix_clashes(settings)):
        if left_out.isdisjoint((*wrong, *others)):
            names = next(filter(given.has, wrong), wrong[0])
            yield f"{given.place(names)}: {reason}{given.line(names)}"


def _reason(error: Any, names: Names) -> str:
    if error["type"] == "extra_forbidden":
        name = ".".join(names)
        return f"unknown setting{nearest(name, [setting.name for setting in all_settings()])}"
    if error["type"] == "path_not_file":
        return no_file(Path(error["input"]))
    reason: str = error["msg"].removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:]


def _redis_clashes(redis: Redis) -> Iterator[Clash]:
    urls = [address.get_secret_value() for address in redis.url]
    if redis.mode == "sentinel" and not redis.sentinel_master:
        yield Clash((("redis", "sentinel-master"),), "needed with --redis.mode=sentinel", (_MODE,))
    if redis.mode == "standalone" and len(urls) > 1:
        yield Clash((_URL,), "several addresses need --redis.mode=sentinel or cluster", (_MODE,))
    if redis.mode != "standalone" and any(one.startswith("unix://") or not urlsplit(one).hostname for one in urls):
        yield Clash((_URL,), f"must name a host with --redis.mode={redis.mode}", (_MODE,))
    if bool(redis.tls_cert_file) != bool(redis.tls_key_file):
        yield Clash(_PAIR, "--redis.tls-cert-file and --redis.tls-key-file go together")
    if (redis.tls_ca_file or redis.tls_cert_file) and not all(one.startswith("rediss://") for one in urls):
        yield Clash((_URL,), "must begin with rediss:// when TLS files are given", _PAIR)


def _prefix_clashes(settings: Settings) -> Iterator[Clash]:
    metrics, heartbeat = settings.keys.metrics_prefix, settings.keys.heartbeat_prefix
    if metrics.startswith(heartbeat) or heartbeat.startswith(metrics):
        pair = ("keys", "heartbeat-prefix"), ("keys", "metrics-prefix")
        yield Clash(pair, "neither --keys.heartbeat-prefix nor --keys.metrics-prefix may begin with the other")
