"""Where settings come from: flags override the environment, the environment the file, and the file the defaults."""

import argparse
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from exporter.errors import SettingsError
from exporter.escaping import printable
from exporter.settings import values
from exporter.settings.model import ENV_PREFIX, Section, Setting, Settings, all_settings

_SECTIONS = TypeVar("_SECTIONS", bound=tuple[Section, ...])
_FILE: Final = "config.file"
_LEAST_LIKENESS: Final = 0.7


class Given(NamedTuple):
    """What the user gave for a setting, before any check.

    Attributes:
        place: Where it was given, for errors.
        texts: The texts; more than one if it was given several times.
    """

    place: str
    texts: Sequence[str]


def add_flags(parser: argparse.ArgumentParser, sections: Collection[str] = Settings._fields) -> None:
    """Add the flags of some sections to a parser, one group for each section.

    The parser's result has no attribute for a flag that is not given.
    """
    rows = [row for name in Settings._fields if name in sections for row in getattr(Settings(), name).rows()]
    for title, section in groupby(rows, lambda row: row.title):
        group = parser.add_argument_group(title)
        for row in section:
            options: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
            if row.parse is not values.switch:
                metavar = "|".join(row.choices) or row.field.rpartition("_")[2].upper()
                options = {"action": "append", "metavar": metavar}
            default = f" [{row.default}]" if row.default != "none" else ""
            options["help"] = row.meaning.replace("%", "%%") + default
            group.add_argument(row.flag, dest=row.name, default=argparse.SUPPRESS, **options)


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """Return the settings from flags, environment, file and defaults.

    Args:
        flags: Values by the settings' names, as a parser with ``add_flags`` gives them. Other names are ignored.

    Raises:
        SettingsError: Settings are invalid, or the file has an unknown name. The message has one line for each error. A
            line names the place of the value and the reason.
    """
    given = _flags_and_variables(flags or {})
    errors: list[str] = []
    if _FILE in given:
        in_file, errors = _configuration(given[_FILE])
        given = in_file | given
    settings, wrong = _checked(Settings, given, errors)
    for reason, names in _clashes(settings):
        if wrong.isdisjoint(names):
            place = next((given[name].place for name in names if name in given), f"--{names[0]}")
            errors.append(f"{place}: {reason}")
    if errors:
        raise SettingsError("\n".join(map(without_passwords, errors)))
    return settings


def sections_of(tree: Any, kind: Callable[..., _SECTIONS]) -> _SECTIONS:
    """Return the sections that the content of a file gives, which is not the configuration file.

    Args:
        tree: The content, as ``read_yaml`` returns it.
        kind: A named tuple of sections, each with a default.

    Raises:
        ValueError: Names are unknown or values are invalid; each argument is one line.
    """
    rows = [row for section in kind() for row in section.rows()]
    given, errors = _given_in(tree, rows, "")
    sections, _ = _checked(kind, given, errors)
    if errors:
        raise ValueError(*map(without_passwords, errors))
    return sections


def nearest(name: str, known: Iterable[str], beginning: str = "") -> str:
    """Return the end of a message that names the nearest known name; empty if no name is near.

    Args:
        name: The mistyped name.
        known: The known names.
        beginning: What all these names begin with. It does not count towards their likeness.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    ends = [each.removeprefix(beginning) for each in known]
    near = get_close_matches(name.removeprefix(beginning), ends, 1, _LEAST_LIKENESS)
    return f"; the nearest known name is {beginning}{near[0]}" if near else ""


def unknown_variables() -> list[str]:
    """Return a hint for each variable that looks like a mistyped setting. The hint names no value.

    Kubernetes sets variables for each service, such as ``GINKGO_EXPORTER_SERVICE_HOST``. They resemble no setting.
    """
    known = [row.variable for row in all_settings()]
    unknown = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
    hints = ((name, nearest(name, known, ENV_PREFIX)) for name in unknown)
    return [f"the variable {name} is unknown and has no effect{near}" for name, near in hints if near]


def without_passwords(line: str) -> str:
    """Return a text as one line that shows no password of an address and no control characters."""
    return printable(re.sub(r"://\S*@", "://…@", " ".join(line.split())))


def _flags_and_variables(flags: Mapping[str, object]) -> dict[str, Given]:
    given = {}
    for row in all_settings():
        if row.name in flags:
            value = flags[row.name]
            texts = list(map(str, value)) if isinstance(value, list | tuple) else [str(value)]
            given[row.name] = Given(row.flag, texts)
        elif text := os.environ.get(row.variable):
            given[row.name] = Given(row.variable, text.split(",") if row.repeatable else [text])
    return given


def _configuration(file: Given) -> tuple[dict[str, Given], list[str]]:
    """Return what the configuration file gives, and a line for each error in it."""
    from exporter.settings.yaml_file import read_yaml  # noqa: PLC0415 - most installations have no file

    try:
        tree = read_yaml(Path(file.texts[-1]))
    except ValueError as error:
        return {}, [f"{file.place}: {error}"]
    return _given_in(tree, [row for row in all_settings() if row.name != _FILE], "configuration file: ")


def _given_in(tree: Any, rows: Sequence[Setting[Any]], place: str) -> tuple[dict[str, Given], list[str]]:
    """Return what the content of a file gives for some settings, and a line for each error in it."""
    known = [row.name for row in rows]
    sections = {name[: dot.start()] for name in known for dot in re.finditer(r"\.", name)}
    given, errors = {}, []
    for name, value in _leaves({} if tree is None else tree, sections):
        texts = value if isinstance(value, list) else [value]
        if name in sections or not name:
            where = f"{name}: " if name else ""
            errors.append(f"{place}{where}must hold settings, such as {known[0].replace('.', ': {')}: …}}")
        elif name not in known:
            errors.append(f"{place}{name}: unknown setting{nearest(name, (*known, *sections))}")
        elif not all(isinstance(text, str) for text in texts if value is not None):
            errors.append(f"{place}{name}: must be a text, or a list of texts if it is repeatable")
        elif value not in (None, []):
            given[name] = Given(f"{place}{name}", texts)
    return given, errors


def _leaves(tree: Any, sections: Collection[str], name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each setting in a tree, and of all in it that is none."""
    if not isinstance(tree, dict):
        yield name, tree
        return
    for key, value in tree.items():
        below = f"{name}.{key}" if name else str(key)
        if below in sections:
            yield from _leaves(value, sections, below)
        else:
            yield below, value


def _checked(
    kind: Callable[..., _SECTIONS], given: Mapping[str, Given], errors: list[str]
) -> tuple[_SECTIONS, set[str]]:
    """Return the sections, and the names of invalid settings, which keep their defaults; append lines to the errors."""
    sections, wrong = [], set()
    for section in kind():
        valid = {}
        for row in section.rows():
            try:
                if row.name in given:
                    valid[row.field] = row.checked(given[row.name].texts)
            except ValueError as error:
                errors += (f"{given[row.name].place}: {reason}" for reason in error.args)
                wrong.add(row.name)
        sections.append(type(section)(**valid))
    return kind(*sections), wrong


def _clashes(settings: Settings) -> list[tuple[str, tuple[str, ...]]]:
    """Return why settings do not fit together, and their names; the error stands at the first one that was given."""
    redis, keys = settings.redis, settings.keys
    prefixes = sorted((keys.heartbeat_prefix, keys.metrics_prefix))
    urls = [urlsplit(url.get_secret_value()) for url in redis.url]
    tls = "redis.tls-ca-file", "redis.tls-cert-file", "redis.tls-key-file"
    clashes: Final = (
        (
            redis.mode == "sentinel" and not redis.sentinel_master,
            "sentinel needs --redis.sentinel-master",
            ("redis.mode", "redis.sentinel-master"),
        ),
        (
            redis.mode == "standalone" and len(urls) > 1,
            "several addresses need --redis.mode=sentinel or cluster",
            ("redis.url", "redis.mode"),
        ),
        (
            redis.mode != "standalone" and not all(url.hostname for url in urls),
            f"must name a host with --redis.mode={redis.mode}",
            ("redis.url", "redis.mode"),
        ),
        (
            bool(redis.tls_cert_file) != bool(redis.tls_key_file),
            "--redis.tls-cert-file and --redis.tls-key-file go together",
            tls[1:],
        ),
        (
            (redis.tls_ca_file or redis.tls_cert_file) and any(url.scheme != "rediss" for url in urls),
            "must begin with rediss:// when TLS files are given",
            ("redis.url", *tls),
        ),
        (
            prefixes[1].startswith(prefixes[0]),
            "neither --keys.heartbeat-prefix nor --keys.metrics-prefix may begin with the other",
            ("keys.heartbeat-prefix", "keys.metrics-prefix"),
        ),
    )
    return [(reason, names) for wrong, reason, names in clashes if wrong]
