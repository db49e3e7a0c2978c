"""Shell completion of flags, commands, choices and file names, generated from the parser."""

import argparse
from collections.abc import Iterator
from typing import Any, Final

SHELLS: Final = ("bash", "zsh", "tcsh")


class PrintCompletion(argparse.Action):
    """A flag that prints the completion script of its parser and exits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, choices=SHELLS, default=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, __: str | None = None) -> None:
        """Print the script for the chosen shell."""
        import shtab  # noqa: PLC0415 - serving does not need it

        for action in _actions(parser):
            words = str(action.metavar).split("|")
            if len(words) > 1 and not action.choices:
                action.choices = words
            if action.metavar == "FILE":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, values))  # noqa: T201
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                yield from _actions(below.filled())
