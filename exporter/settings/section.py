"""A section of the settings: a frozen dataclass whose fields know their kinds and descriptions.

``exporter.settings.load`` checks the values that users give; a program that makes a section itself gives checked
values. Sections are plain dataclasses, because ``--help`` reads them too: it must not wait for a library that checks
values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from exporter.settings.kinds import Kind

_SETTING: Final = "setting"


def kebab(name: str) -> str:
    """Return a name with hyphens, as in flags and files: ``password-file``."""
    return name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a field beside its type.

    Attributes:
        kind: Checks and shows its values.
        description: Its meaning, in the words of ``--help``.
        default: Its default: a value, or a text that ``kind`` parses.
    """

    kind: Kind
    description: str
    default: object


def described(section: type["Section"]) -> dict[str, Described]:
    """Return the fields of a section that are settings, by their names."""
    return {x.name: x.metadata[_SETTING] for x in fields(section) if _SETTING in x.metadata}


def sections_of(section: type["Section"]) -> dict[str, type["Section"]]:
    """Return the sections below a section, by their names."""
    found: dict[str, Any] = {x.name: x.default_factory for x in fields(section) if _SETTING not in x.metadata}
    return {name: kind for name, kind in found.items() if name != "given"}


def setting(kind: Kind, default: object, description: str) -> Any:
    """Return a field of a section. A default that is a text is parsed when the section is made."""
    metadata = {_SETTING: Described(kind, description, default)}
    if isinstance(default, str):
        return field(default_factory=lambda: kind.parse(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the settings.

    Attributes:
        given: The names of the fields that the user has given.
    """

    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Self:
        """Return a section with some values as the file has them, such as ``{"password-file": …}``.

        Raises:
            ValueError: A value is invalid; the message is the reason.
            KeyError: A name is unknown.
        """
        known = described(cls)
        given = {name.replace("-", "_"): value for name, value in values.items()}
        checked = {name: known[name].kind.parse(value) for name, value in given.items()}
        return cls(given=frozenset(given), **checked)

    def with_values(self, **values: Any) -> Self:
        """Return the section with some checked values replaced."""
        return replace(self, **values)
