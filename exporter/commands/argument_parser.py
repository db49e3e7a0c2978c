"""A parser of the command line whose errors are one line each, without passwords."""

import argparse
import re
import sys
from typing import Any, NoReturn

from exporter.errors import SettingsError


class ArgumentParser(argparse.ArgumentParser):
    """The parser of the command line, or of one command; it raises a SettingsError instead of printing the usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, as the base class does."""
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
                message = f"unrecognized arguments: {unknown[0]}"
        hint = ""
        if message.startswith("unrecognized arguments: --"):
            from exporter.settings.nearest import nearest  # noqa: PLC0415 - only errors need it

            flag = re.split(r"[= ]", message.removeprefix("unrecognized arguments: "))[0]
            hint = nearest(flag, self._option_string_actions, "--")
        message = re.sub(r"://\S*@", "://…@", message)  # a mistyped flag may hold a password
        raise SettingsError(f"{message}{hint} (see {self.prog} --help)")
