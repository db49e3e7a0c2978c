"""The errors in settings, a line for each: invalid values, unknown names, and settings that do not fit together."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from exporter.settings.flags import all_settings
from exporter.settings.model import Redis, Settings
from exporter.settings.nearest import nearest
from exporter.settings.section import Section, described, kebab, sections_of
from exporter.settings.sources import Names, Sources

_SECTION = TypeVar("_SECTION", bound=Section)
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


class Checked(NamedTuple):
    """Checked settings.

    Attributes:
        settings: The settings. An invalid value is replaced by the default.
        errors: The names and the reason of each error, in the order of the settings.
    """

    settings: Settings
    errors: list[tuple[Names, str]]


def check(tree: Mapping[str, Any]) -> Checked:
    """Check the values of a tree with the names of the file."""
    errors: list[tuple[Names, str]] = []
    return Checked(_checked(Settings, tree, (), errors), errors)


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


def _checked(section: type[_SECTION], tree: object, place: Names, errors: list[tuple[Names, str]]) -> _SECTION:
    """Return a section of the tree; append its errors, the unknown names last."""
    if not isinstance(tree, Mapping):
        errors.append((place, "input should be a mapping of settings"))
        return section()
    kinds, sections = described(section), sections_of(section)
    known = {kebab(name): name for name in (*kinds, *sections)}
    values: dict[str, Any] = {}
    for key, name in known.items():
        if key not in tree:
            continue
        if name in sections:
            values[name] = _checked(sections[name], tree[key], (*place, key), errors)
            continue
        try:
            values[name] = kinds[name].kind.parse(tree[key])
        except ValueError as error:
            errors += (((*place, key), reason) for reason in error.args)
    for name in tree:
        if name not in known:
            names = (*place, str(name))
            near = nearest(".".join(names), [setting.name for setting in all_settings()])
            errors.append((names, f"unknown setting{near}"))
    return section(given=frozenset(values), **values)


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
