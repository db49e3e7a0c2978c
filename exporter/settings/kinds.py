"""The kinds of the settings' values. Each kind parses the user's text, or a value of the configuration file.

A kind refuses a value with a ValueError whose arguments are the reasons. No reason repeats the value, because the
value may hold a secret.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from exporter.settings.durations import LONGEST, format_duration, parse_duration
from exporter.settings.files import no_file
from exporter.settings.sizes import format_size, parse_size


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of a setting's value.

    Attributes:
        parse: Returns the checked value of a text or of a value in the file. Raises a ValueError; its arguments are
            the reasons.
        show: Returns a value in the form that a user would write.
        choices: The allowed texts, if the value is a choice.
        repeatable: Whether the value is a tuple: the flag may be given several times.
        switch: Whether the value is on or off.
        absent: How the default None is shown.
    """

    parse: Callable[[object], Any]
    show: Callable[[Any], str] = str
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    switch: bool = False
    absent: str = "none"


def text_of(check: Callable[[str], Any] = str) -> Kind:
    """Return the kind of a text; ``check`` returns the value of the text, or raises a ValueError."""

    def parse(value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError("input should be a valid string")  # noqa: TRY004 - all kinds refuse by a ValueError
        return check(value)

    return Kind(parse)


def choice_of(*choices: str) -> Kind:
    """Return the kind of a value that is one of some texts."""

    def parse(value: object) -> str:
        if value not in choices:
            *others, last = map(repr, choices)
            raise ValueError(f"input should be {', '.join(others)} or {last}")
        return str(value)

    return Kind(parse, choices=choices)


def tuple_of(kind: Kind, *, least: int = 0) -> Kind:
    """Return the kind of a tuple of at least ``least`` values; one value may stand alone."""

    def parse(value: object) -> tuple[Any, ...]:
        values = value if isinstance(value, (list, tuple)) else (value,)
        if len(values) < least:
            raise ValueError(f"needs at least {least} value{'s' * (least > 1)}")
        parsed: list[Any] = []
        reasons: list[Any] = []
        for one in values:
            try:
                parsed.append(kind.parse(one))
            except ValueError as error:
                reasons += error.args
        if reasons:
            raise ValueError(*reasons)
        return tuple(parsed)

    return replace(kind, parse=parse, show=lambda values: ",".join(map(kind.show, values)) or "none", repeatable=True)


def optional(kind: Kind) -> Kind:
    """Return a kind whose value may also be None, written ``null`` in the file."""
    return replace(kind, parse=lambda value: None if value is None else kind.parse(value))


def number_of(
    kind: type[int] | type[float], *, above: float | None = None, least: float | None = None, below: float | None = None
) -> Kind:
    """Return the kind of a whole number or of a decimal number, between bounds."""

    def parse(value: object) -> float:
        return _within(_number(value, kind), above=above, least=least, below=below)

    return Kind(parse)


def duration(*, most: float = LONGEST) -> Kind:
    """Return the kind of a duration above 0; the file may also hold the number of seconds."""

    def parse(value: object) -> float:
        seconds = parse_duration(value) if isinstance(value, str) else _plain_number(value, _NO_DURATION)
        return _within(seconds, above=0, most=most)

    return Kind(parse, format_duration)


def optional_duration(*, absent: str = "off") -> Kind:
    """Return the kind of a duration that may be ``off``."""
    kind = duration()
    # YAML reads a bare `off` as false.
    return replace(
        kind,
        parse=lambda value: None if value is None or value is False or value == "off" else kind.parse(value),
        absent=absent,
    )


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = _SWITCH.get(str(value).lower()) if isinstance(value, (str, int)) else None
    if known is None:
        raise ValueError("input should be true or false")
    return known


def _size(value: object) -> int:
    size = parse_size(value) if isinstance(value, str) else int(_plain_number(value, _NO_SIZE))
    return int(_within(size, above=0))


def _file(value: object) -> Path:
    path = _path_of(value)
    with suppress(OSError):  # `no_file` names it
        if path.is_file():
            return path
    raise ValueError(no_file(path))


def _path_of(value: object) -> Path:
    if not isinstance(value, (str, Path)):
        raise ValueError("input should be a path")  # noqa: TRY004 - all kinds refuse by a ValueError
    return Path(value)


def _number(value: object, kind: type[int] | type[float]) -> float:
    name = "a valid integer" if kind is int else "a valid number"
    if isinstance(value, str):
        try:
            number: float = kind(value)
        except ValueError:
            raise ValueError(f"input should be {name}") from None
    else:
        number = _plain_number(value, f"input should be {name}")
    if not _is_finite(number):
        raise ValueError(f"input should be {name}")
    if kind is int and number != int(number):
        raise ValueError("input should be a valid integer")
    return kind(number)


def _plain_number(value: object, reason: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise ValueError(reason)
    return value


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer of some hundred digits
        return False


def _within(
    number: float,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    if above is not None and not number > above:
        raise ValueError(f"input should be greater than {above:g}")
    if least is not None and not number >= least:
        raise ValueError(f"input should be at least {least:g}")
    if below is not None and not number < below:
        raise ValueError(f"input should be less than {below:g}")
    if most is not None and not number <= most:
        raise ValueError(f"input should be at most {most:.15g}")
    return number


_SWITCH: Final = {
    **dict.fromkeys(("true", "on", "yes", "1", "t", "y"), True),
    **dict.fromkeys(("false", "off", "no", "0", "f", "n"), False),
}
_NO_DURATION: Final = "not a duration such as 500ms, 10s or 1h30m"
_NO_SIZE: Final = "not a size such as 512KB, 10MB or 1GB"

TEXT: Final = text_of()
SWITCH: Final = Kind(_switch, lambda value: "on" if value else "off", switch=True)
SIZE: Final = Kind(_size, format_size)
PATH: Final = optional(Kind(_path_of))
FILE: Final = optional(Kind(_file))
