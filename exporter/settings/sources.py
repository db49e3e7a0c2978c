"""Where settings come from: flags override the environment, the environment overrides the file."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from exporter.settings.flags import ENV_PREFIX, Setting, all_settings
from exporter.settings.nearest import nearest
from exporter.settings.section import kebab

Names = tuple[str, ...]
"""The names of a section and of a setting in it, as the file has them."""

_LEVELS: Final = 3  # of nested names, as in web.config.file
_OF_SERVICES: Final = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)")
_PORT_OF_SERVICE: Final = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Sources:
    """The values that a user has given, before any check.

    Attributes:
        flags: Values of flags, by the setting's names.
        environment: Values of variables, by the setting's names.
        file: The content of the configuration file.
        path: The configuration file; None without one.
        problem: Why the file cannot be used, in one line; empty if it can.
    """

    flags: Mapping[Names, object]
    environment: Mapping[Names, object]
    file: Mapping[str, Any]
    path: Path | None
    problem: str

    @classmethod
    def of(cls, flags: Mapping[str, object]) -> Self:
        """Return what these flags, the environment and the file that one of them names give.

        Args:
            flags: Values by the settings' names. Other names are ignored.
        """
        settings = {names_of(setting): setting for setting in all_settings()}
        given = {names: flags[setting.name] for names, setting in settings.items() if setting.name in flags}
        variables = {
            names: text.split(",") if setting.kind.repeatable else text
            for names, setting in settings.items()
            if (text := os.environ.get(setting.variable))
        }
        where = given.get(("config", "file")) or variables.get(("config", "file"))
        path = Path(where) if isinstance(where, str | Path) else None
        if path is None or not path.is_file():
            return cls(given, variables, {}, None, "")  # the check of --config.file refuses a missing file
        content, problem = _content(path)
        return cls(given, variables, content, path, problem)

    def tree(self) -> dict[str, Any]:
        """Return the value of each setting, with nested names as in the file."""
        tree: dict[str, Any] = _copy(self.file, _LEVELS)
        for layer in (self.environment, self.flags):
            for names, value in layer.items():
                branch = tree
                for name in names[:-1]:
                    below = branch.get(name)
                    branch[name] = branch = below if isinstance(below, dict) else {}
                branch[names[-1]] = value
        return tree

    def has(self, names: Names) -> bool:
        """Return whether a setting was given."""
        return names in self.flags or names in self.environment or _has(self.file, names)

    def place(self, names: Names) -> str:
        """Return where a setting was given: its flag, its variable, or its name in the file; if nowhere, its flag."""
        for setting in all_settings():
            own = names_of(setting)
            if own == names[: len(own)]:
                if own in self.environment and own not in self.flags:
                    return setting.variable
                if own in self.flags or not _has(self.file, own):
                    return setting.flag
        return f"configuration file: {'.'.join(names)}"

    def line(self, names: Names) -> str:
        """Return the line of the file that gives a setting, for the end of a message; empty if no file gives it."""
        if self.path is None or not self.place(names).startswith("configuration file"):
            return ""
        from exporter.settings.yaml_file import line_of  # noqa: PLC0415 - only errors need it

        number = line_of(self.path, names)
        return f" (line {number} of {self.path})" if number else ""


def names_of(setting: Setting) -> Names:
    """Return the names of a setting as the file has them."""
    return tuple(map(kebab, setting.path))


def unknown_variables() -> list[str]:
    """Return a hint for each variable that looks like a setting and is not one. The hint names no value.

    Kubernetes sets variables for each service, such as ``GINKGO_EXPORTER_SERVICE_HOST``, and Docker for each link. So
    an unknown variable is no error, and the variables of services are not named.
    """
    known = [setting.variable for setting in all_settings()]
    unknown = [name for name, text in os.environ.items() if name.startswith(ENV_PREFIX) and not _is_service(name, text)]
    return [
        f"the variable {name} is unknown and has no effect{nearest(name, known, ENV_PREFIX)}"
        for name in sorted(unknown)
        if name not in known
    ]


def _is_service(name: str, text: str) -> bool:
    rest = name.removeprefix(ENV_PREFIX)
    if rest == "PORT" or rest.endswith("_PORT"):
        return _PORT_OF_SERVICE.fullmatch(text) is not None or rest.endswith("SERVICE_PORT")
    return _OF_SERVICES.fullmatch(rest) is not None


def _content(path: Path) -> tuple[Mapping[str, Any], str]:
    from exporter.settings.yaml_file import read_yaml  # noqa: PLC0415 - most installations have no file

    try:
        content = read_yaml(path) or {}
    except ValueError as error:
        return {}, f"configuration file: {error}"
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        return {}, "configuration file: not a mapping of settings such as redis: {url: …}"
    return content, ""


def _copy(tree: Mapping[str, Any], levels: int) -> dict[str, Any]:
    """Return a copy of the upper levels. A mapping in a YAML file may contain itself."""
    if not levels:
        return dict(tree)
    return {name: _copy(value, levels - 1) if isinstance(value, dict) else value for name, value in tree.items()}


def _has(tree: Any, names: Names) -> bool:
    for name in names:
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return True
