"""A parser of the command line whose errors are one line each, without passwords."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Self

from exporter.errors import SettingsError

_UNKNOWN: Final = "unrecognized arguments: "


class ArgumentParser(argparse.ArgumentParser):
    """The parser of the command line, or of one command; it raises a SettingsError instead of printing the usage.

    Attributes:
        fill: Adds the arguments of a command. It is called when the command is used: eight commands have hundreds of
            flags, and a start needs the flags of one command.
    """

    fill: Callable[[], None] | None = None

    def filled(self) -> Self:
        """Return the parser with all its arguments."""
        fill, self.fill = self.fill, None
        if fill:
            fill()
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, as the base class does."""
        self.filled()
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse found.

        Raises:
            SettingsError: Always.
        """
        if message.startswith("argument COMMAND"):
            # argparse takes the value of a mistyped flag for a command. The message must name the flag.
            flags = (word.partition("=")[0] for word in self._given if word.startswith("-"))
            if unknown := [flag for flag in flags if flag not in self._option_string_actions][:1]:
                message = f"{_UNKNOWN}{unknown[0]}"
        raise SettingsError(self._line(message))

    def unrecognized(self, words: Sequence[str]) -> list[str]:
        """Return a line for each unknown flag among the words that the parser could not use."""
        flags: list[list[str]] = []
        for word in words:
            if word.startswith("-") or not flags:
                flags.append([])
            flags[-1].append(word)
        return [self._line(f"{_UNKNOWN}{' '.join(flag)}") for flag in flags]

    def _line(self, message: str) -> str:
        hint = ""
        if message.startswith(f"{_UNKNOWN}--"):
            from exporter.settings import nearest  # noqa: PLC0415 - only errors need it

            flag = re.split(r"[= ]", message.removeprefix(_UNKNOWN))[0]
            hint = nearest(flag, self._option_string_actions, "--")
        message = re.sub(r"://\S*@", "://…@", message)  # a mistyped flag may hold a password
        return f"{message}{hint} (see {self.prog} --help)"
