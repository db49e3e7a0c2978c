"""The settings as users meet them: their names, their defaults, and their flags.

A setting has the same name everywhere: ``redis.password_file`` is the flag ``--redis.password-file``,
the variable ``GINKGO_EXPORTER_REDIS_PASSWORD_FILE`` and ``redis: {password-file: …}`` in the file.
"""

import argparse
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from exporter.settings.durations import format_duration
from exporter.settings.kinds import IS_DURATION, IS_OPTIONAL_DURATION, IS_SIZE
from exporter.settings.model import Settings, kebab
from exporter.settings.sizes import format_size

ENV_PREFIX: Final = "GINKGO_EXPORTER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its names, its default and its description.

    Attributes:
        path: Names of the section and of the field.
        info: The field in ``Settings``.
    """

    path: tuple[str, ...]
    info: FieldInfo

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
    def repeatable(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.info.annotation) is tuple

    @property
    def switch(self) -> bool:
        """Whether it is a switch: on or off."""
        return self.info.annotation is bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values, if the setting is a choice."""
        return get_args(self.info.annotation) if get_origin(self.info.annotation) is Literal else ()

    @property
    def default(self) -> str:
        """Its default in the form that a user would write."""
        default = self.info.default
        if self.repeatable:
            texts = [x.get_secret_value() if isinstance(x, SecretStr) else x for x in default]
            return ",".join(texts) or "none"
        if default is None:
            return "off" if self.path == ("nodes", "forget_after") else "none"
        if self.switch:
            return "on" if default else "off"
        if IS_SIZE in self.info.metadata:
            return format_size(default)
        is_duration = IS_DURATION in self.info.metadata or IS_OPTIONAL_DURATION in self.info.metadata
        return format_duration(default) if is_duration else str(default)


def all_settings() -> Iterator[Setting]:
    """Yield every setting, in the order of the documentation."""

    def below(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
        for name, info in model.model_fields.items():
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from below(kind, (*path, name))
            else:
                yield Setting((*path, name), info)

    return below(Settings, ())


def section_title(setting: Setting) -> str:
    """Return the heading under which a setting is listed."""
    kind = Settings.model_fields[setting.path[0]].annotation
    return ((kind.__doc__ if kind else "") or "").rstrip(".")


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


def add_flags(parser: argparse.ArgumentParser, sections: Collection[str] = tuple(Settings.model_fields)) -> None:
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
            "help": (setting.info.description or "").replace("%", "%%") + default,
        }
        if setting.switch:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = "|".join(setting.choices) or setting.path[-1].rpartition("_")[2].upper()
            options["action"] = "append" if setting.repeatable else "store"
            if setting.name == "web.listen-address":
                options["action"] = _Once
        group.add_argument(setting.flag, **options)
