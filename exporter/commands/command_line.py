"""The command line's own parts: the parser, the flags of single commands, exit codes, and lines on a terminal.

It is loaded at each start, so it imports no command.
"""

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TextIO

from exporter.contract import COLUMN_NAMES
from exporter.errors import SettingsError
from exporter.settings import nearest, without_passwords
from exporter.settings.values import duration


class ExitCode(IntEnum):
    """How a command ended."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    SOME_OFFLINE = 3
    INTERRUPTED = 130


EXITS: Final = {
    ExitCode.SUCCESS: "The command did its work. `serve` and `demo` were ended by SIGTERM or SIGINT.",
    ExitCode.FAILURE: (
        "The command failed: Redis or an address cannot be used, `check` found a fault, `forget` kept a node that"
        " it was asked to delete, or `portfolios --fail-untraded` found an untraded portfolio."
    ),
    ExitCode.USAGE: (
        "A flag, a variable, a file or a value is wrong. A line for each error says which and why. Nothing was opened."
    ),
    ExitCode.SOME_OFFLINE: "`nodes --fail-offline` found an offline node.",
    ExitCode.INTERRUPTED: "Ctrl-C ended a command that was not finished.",
}
"""When a command ends with a code, in Markdown."""


class Finding(NamedTuple):
    """What an operator should know.

    Attributes:
        text: A fact, what follows from it, and what to do, as far as there is anything: in whole sentences.
        must: Whether something is wrong until it is changed: then ``check`` exits 1.
    """

    text: str
    must: bool = False


def say(text: str, *, indent: int = 0, file: TextIO | None = None) -> None:
    """Print a line. On a terminal it is broken between words, and its further lines are indented.

    Args:
        text: The line.
        indent: How many spaces the line begins with.
        file: Where to print; None for standard output.
    """
    output, start = file or sys.stdout, " " * indent
    width = shutil.get_terminal_size().columns if output.isatty() else sys.maxsize
    words = textwrap.TextWrapper(width, start, f"{start}  ", break_long_words=False, break_on_hyphens=False)
    print("\n".join(words.wrap(text)), file=output)


def nowhere() -> TextIO:
    """Return a stream that discards its text. It replaces an output that was closed before the start."""
    return Path(os.devnull).open("w", encoding="utf-8")


def drop_unwritable_output() -> None:
    """Discard unwritable output. Python would write it again at its end, and fail with another exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class HelpFormatter(argparse.HelpFormatter):
    """Breaks the texts of flags between words alone: a flag, a value or a command can be copied from them."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


class ArgumentParser(argparse.ArgumentParser):
    """A parser that raises a SettingsError instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse found.

        Raises:
            SettingsError: Always.
        """
        raise SettingsError(self._line(message))

    def unrecognized(self, words: Sequence[str], commands: Collection[str]) -> list[str]:
        """Return a line for each of the words that the parser could not use; an unknown flag's value has none."""
        known = *self._option_string_actions, *commands
        first = "; a command stands before its flags"
        return [
            self._line(f"unrecognized arguments: {word}{first if word in commands else nearest(word, known)}")
            for before, word in pairwise(("", *(without_passwords(word).partition("=")[0] for word in words)))
            if word.startswith("-") or not before.startswith("-")
        ]

    def _line(self, message: str) -> str:
        return f"{without_passwords(message)} (see {self.prog} --help)"


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, __: str | None = None) -> None:
        import shtab  # noqa: PLC0415 - serving does not need it

        commands = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001
        for action in (each for below in (parser, *commands.choices.values()) for each in below._actions):  # noqa: SLF001
            if len(words := str(action.metavar).split("|")) > 1:
                action.choices = action.choices or words
            if action.metavar == "FILE":
                action.complete = shtab.FILE
        print(shtab.complete(parser, values))  # noqa: T201
        parser.exit()


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Give a parser the flag that prints its completion script for a shell and exits."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        default=argparse.SUPPRESS,
        help="print a completion script for this shell and exit",
    )


_SWITCH: Final = {"action": "store_true"}
_EXPORTER: Final = ("--exporter.url", "ask this running exporter [one on this host, else Redis]", {"metavar": "URL"})
_LISTING: Final = (
    ("--output", "form [table]", {"choices": ("table", "json", "csv"), "default": "table"}),
    _EXPORTER,
    ("--watch", "refresh the table in place until Ctrl-C", _SWITCH),
)
OPTIONS: Final[dict[str, Sequence[tuple[str, str, dict[str, Any]]]]] = {
    "check": (("--page", "also post the alert GinkgoTestPage: the phone of the engineer on call must ring", _SWITCH),),
    "nodes": (
        *_LISTING,
        ("--state", "only nodes in this state", {"choices": ("online", "offline", "undecided")}),
        (
            "--sort",
            f"{', '.join(COLUMN_NAMES)}: smallest first, unknown last [offline nodes first, then by node]",
            {"choices": COLUMN_NAMES, "metavar": "FIELD"},
        ),
        ("--fail-offline", f"exit {ExitCode.SOME_OFFLINE} when any node is offline", _SWITCH),
    ),
    "portfolios": (
        *_LISTING,
        (
            "--state",
            "only portfolios in this state",
            {"choices": ("traded", "untraded", "misplaced", "duplicated", "unplanned", "unknown")},
        ),
        ("--fail-untraded", f"exit {ExitCode.FAILURE} when any portfolio is untraded", _SWITCH),
    ),
    "explain": (
        (
            "subject",
            "its id as the table shows it, also with node: or portfolio: before it [the last events]",
            {"nargs": "?", "metavar": "NODE|PORTFOLIO|ALERT"},
        ),
        _EXPORTER,
    ),
    "forget": (
        ("node", "an offline node, as the table shows it", {"nargs": "*", "metavar": "NODE"}),
        (
            "--offline-longer-than",
            "instead of names: every node that --exporter.url reports offline for longer than this, such as 24h",
            {"type": duration, "metavar": "TIME"},
        ),
        ("--rehomed", "instead of names: every offline node whose portfolios all run on other nodes", _SWITCH),
        (
            "--with-portfolios",
            "also delete hashes that list a portfolio that the plan lacks: a hash may be its last trace",
            _SWITCH,
        ),
        ("--exporter.url", "the running exporter that --offline-longer-than asks", {"metavar": "URL"}),
        ("--yes", "delete; without this flag nothing is changed", _SWITCH),
    ),
    "rules": (
        (
            "--config.file",
            "settings of the rules, in YAML [none]",
            {"dest": "rules_config", "type": Path, "metavar": "FILE"},
        ),
    ),
}
"""The flags that only one command has: a name, its help, and what else ``argparse`` takes."""


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Give a parser the flags that only this command has."""
    group = parser.add_argument_group(f"Flags of {command} alone")
    for name, meaning, options in OPTIONS.get(command, ()):
        group.add_argument(name, help=meaning, **options)
