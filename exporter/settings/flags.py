"""The settings as users meet them: their names, their defaults, and their flags.

A setting has the same name everywhere: ``redis.password_file`` is the flag ``--redis.password-file``,
the variable ``GINKGO_EXPORTER_REDIS_PASSWORD_FILE`` and ``redis: {password-file: …}`` in the file.
"""

import argparse
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from exporter.settings.kinds import Kind
from exporter.settings.model import Settings
from exporter.settings.section import Described, Section, described, kebab, sections_of

ENV_PREFIX: Final = "GINKGO_EXPORTER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its names, its default and its description.

    Attributes:
        path: Names of the section and of the field.
        described: Its kind, its description and its default.
    """

    path: tuple[str, ...]
    described: Described

    @property
    def kind(self) -> Kind:
        """The kind of its value."""
        return self.described.kind

    @property
    def description(self) -> str:
        """Its meaning, in the words of ``--help``."""
        return self.described.description

    @property
    def name(self) -> str:
        """Its name, with dots between the levels, such as ``redis.password-file``."""
        return ".".join(map(kebab, self.path))

    @property
    def flag(self) -> str:
        """Its flag, such as ``--redis.password-file``."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable, such as ``GINKGO_EXPORTER_REDIS_PASSWORD_FILE``."""
        return ENV_PREFIX + "_".join(self.path).upper()

    @property
    def default(self) -> str:
        """Its default in the form that a user would write."""
        default = self.described.default
        if default is None:
            return self.kind.absent
        return default if isinstance(default, str) else self.kind.show(default)


@cache
def all_settings() -> tuple[Setting, ...]:
    """Return every setting, in the order of the documentation."""

    def below(section: type[Section], path: tuple[str, ...]) -> Iterator[Setting]:
        for name, found in described(section).items():
            yield Setting((*path, name), found)
        for name, kind in sections_of(section).items():
            yield from below(kind, (*path, name))

    return tuple(below(Settings, ()))


def section_title(setting: Setting) -> str:
    """Return the heading under which a setting is listed."""
    return (sections_of(Settings)[setting.path[0]].__doc__ or "").rstrip(".")


class _Once(argparse.Action):
    """Takes one value. exporter-toolkit takes several addresses to listen on, so a second one must not be ignored."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Take the value, or end the program with an error."""
        if getattr(namespace, self.dest, values) != values:
            parser.error(f"{option_string}: several addresses are not supported: give one, or none for all of them")
        setattr(namespace, self.dest, values)


def add_flags(parser: argparse.ArgumentParser, sections: Collection[str] = tuple(sections_of(Settings))) -> None:
    """Add the flags of some sections to a parser, one group for each section.

    The parser's result has no attribute for a flag that is not given.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in all_settings():
        if setting.path[0] not in sections:
            continue
        title = section_title(setting)
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        default = f" [{setting.default}]" if setting.default != "none" else ""
        options: dict[str, Any] = {
            "dest": setting.name,
            "default": argparse.SUPPRESS,
            "help": setting.description.replace("%", "%%") + default,
        }
        if setting.kind.switch:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = "|".join(setting.kind.choices) or setting.path[-1].rpartition("_")[2].upper()
            options["action"] = "append" if setting.kind.repeatable else "store"
            if setting.name == "web.listen-address":
                options["action"] = _Once
        group.add_argument(setting.flag, **options)
