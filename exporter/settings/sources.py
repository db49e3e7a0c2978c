"""Where settings come from: flags override the environment, the environment the file, and the file the defaults."""

import argparse
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from exporter.errors import SettingsError
from exporter.escaping import printable
from exporter.settings import values
from exporter.settings.model import ENV_PREFIX, Section, Setting, Settings, all_settings

_SECTIONS = TypeVar("_SECTIONS", bound=tuple[Section, ...])


Given = tuple[Sequence[str], str]
"""What the user gave for a setting, more than one text if it was given several times; and where, for errors."""


def add_flags(parser: argparse.ArgumentParser, sections: Collection[str] = Settings._fields) -> None:
    """Add the flags of some sections to a parser, one group for each section.

    The parser's result has no attribute for a flag that is not given.
    """
    for section in (section for name, section in Settings()._asdict().items() if name in sections):
        group = parser.add_argument_group(section.__doc__.rstrip("."))
        for row in section.rows():
            metavar = "|".join(row.choices) or row.field.rpartition("_")[2].upper()
            is_switch = row.parse is values.switch
            form = {"action": argparse.BooleanOptionalAction} if is_switch else {"action": "append", "metavar": metavar}
            text = f"{row.meaning} [{row.default}]" if row.default != "none" else row.meaning
            group.add_argument(row.flag, dest=row.name, default=argparse.SUPPRESS, help=text, **form)


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """Return the settings from flags, environment, file and defaults.

    Args:
        flags: Values by the settings' names, as a parser with ``add_flags`` gives them. Other names are ignored.

    Raises:
        SettingsError: Settings are invalid, or the file has an unknown name. The message has one line for each error. A
            line names the place of the value and the reason.
    """
    given, errors = _flags_and_variables(flags or {}), list[str]()
    if "config.file" in given:
        from exporter.settings.yaml_file import read_yaml  # noqa: PLC0415 - most installations have no file

        (*_, path), place = given["config.file"]
        try:
            given = _given_in(read_yaml(Path(path)), all_settings(), errors, "configuration file: ") | given
        except ValueError as error:
            errors.append(f"{place}: {error}")
    settings = _checked(Settings, given, errors)
    # A setting that is invalid by itself must not lead to a second error.
    if errors := errors or _clashes(settings):
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
    errors = list[str]()
    given = _given_in(tree, [row for section in kind() for row in section.rows()], errors)
    sections = _checked(kind, given, errors)
    if errors:
        raise ValueError(*map(without_passwords, errors))
    return sections


def nearest(name: str, known: Iterable[str], likeness: float = 0.7) -> str:
    """Return the end of a message that names the nearest known name; empty if no name is near.

    Args:
        name: The mistyped name.
        known: The known names.
        likeness: How like a name must be, from 0 to 1.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    near = get_close_matches(name, list(known), 1, likeness)
    return f"; the nearest known name is {near[0]}" if near else ""


def unknown_variables() -> list[str]:
    """Return a hint for each variable that looks like a mistyped setting. The hint names no value.

    Kubernetes sets variables for each service, such as ``GINKGO_EXPORTER_SERVICE_HOST``. They resemble no setting.
    """
    known = [row.variable for row in all_settings()]
    return [
        f"the variable {name} is unknown and has no effect{near}"
        for name in os.environ
        if name.startswith(ENV_PREFIX) and name not in known and (near := nearest(name, known, 0.9))
    ]


def without_passwords(line: str) -> str:
    """Return a text as one line that shows no password of an address and no control characters."""
    return printable(re.sub(r"://\S*@", "://…@", " ".join(line.split())))


def _flags_and_variables(flags: Mapping[str, object]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for row in all_settings():
        if row.name in flags:
            value = flags[row.name]
            given[row.name] = [str(each) for each in (value if isinstance(value, list | tuple) else [value])], row.flag
        elif text := os.environ.get(row.variable):
            given[row.name] = text.split(",") if row.repeatable else [text], row.variable
    return given


def _given_in(tree: Any, rows: Sequence[Setting[Any]], errors: list[str], place: str = "") -> dict[str, Given]:
    """Return what the content of a file gives for some settings; append a line for each mistake in it to the errors."""
    known = [row.name for row in rows]
    given: dict[str, Given] = {}
    for name, value in _leaves(tree):
        texts = value if isinstance(value, list) else [value]
        if name and not any(each == name or each.startswith(f"{name}.") for each in known):
            errors.append(f"{place}{name}: unknown setting{nearest(name, known)}")
        elif name in known and texts and all(isinstance(text, str) for text in texts):
            given[name] = texts, f"{place}{name}"
        elif value not in (None, [], {}):
            errors.append(f"{place}{name or 'the file'}: must be {'a text' if name in known else 'a mapping'}")
    return given


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each setting in a tree."""
    if not tree or not isinstance(tree, dict):
        yield name, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _checked(kind: Callable[..., _SECTIONS], given: Mapping[str, Given], errors: list[str]) -> _SECTIONS:
    """Return the sections; append a line for each mistake to the errors."""
    sections = []
    for section in kind():
        rows = [row for row in section.rows() if row.name in given]
        sections.append(type(section)(**{row.field: row.checked(*given[row.name], errors) for row in rows}))
    return kind(*sections)


def _clashes(settings: Settings) -> list[str]:
    """Return why settings do not fit together; each reason names the flags of these settings."""
    redis, keys = settings.redis, settings.keys
    urls = [urlsplit(url.get_secret_value()) for url in redis.url]
    prefixes = sorted((keys.heartbeat_prefix, keys.metrics_prefix))
    clashes = {
        "--redis.mode=sentinel needs --redis.sentinel-master": redis.mode == "sentinel" and not redis.sentinel_master,
        "several addresses in --redis.url need --redis.mode=sentinel or cluster": (
            redis.mode == "standalone" and len(urls) > 1
        ),
        f"--redis.url must name a host with --redis.mode={redis.mode}": (
            redis.mode != "standalone" and not all(url.hostname for url in urls)
        ),
        "--redis.tls-cert-file and --redis.tls-key-file go together": (
            bool(redis.tls_cert_file) != bool(redis.tls_key_file)
        ),
        "--redis.url must begin with rediss:// when --redis.tls-ca-file or --redis.tls-cert-file is given": (
            (redis.tls_ca_file or redis.tls_cert_file) and any(url.scheme != "rediss" for url in urls)
        ),
        "neither --keys.heartbeat-prefix nor --keys.metrics-prefix may begin with the other": (
            prefixes[1].startswith(prefixes[0])
        ),
    }
    return [reason for reason, holds in clashes.items() if holds]
