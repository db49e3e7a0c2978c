"""The command line's own parts: the parser, the flags of single commands, exit codes, and lines on a terminal.

It is loaded at each start, so it imports no command.
"""

import argparse
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Self, TextIO

from exporter.contract import COLUMN_NAMES
from exporter.errors import SettingsError
from exporter.settings import nearest, without_passwords
from exporter.settings.values import duration

_UNKNOWN: Final = "unrecognized arguments: "


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
    """What an operator should know: a fact, what follows from it, and what to do. Each is whole sentences.

    Attributes:
        fact: What is the case.
        consequence: What follows from it; empty if the fact says it.
        remedy: What to do; empty if nothing need be done.
        must: Whether something is wrong until it is changed: then ``check`` exits 1.
    """

    fact: str
    consequence: str = ""
    remedy: str = ""
    must: bool = False

    @property
    def sentences(self) -> list[str]:
        """Fact, consequence and remedy, as far as there are any."""
        return list(filter(None, (self.fact, self.consequence, self.remedy)))


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
            message = next((_UNKNOWN + flag for flag in flags if flag not in self._option_string_actions), message)
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
            flag = re.split(r"[= ]", message.removeprefix(_UNKNOWN))[0]
            hint = nearest(flag, self._option_string_actions, "--")
        return f"{without_passwords(message)}{hint} (see {self.prog} --help)"


class PrintCompletion(argparse.Action):
    """A flag that prints the completion script of its parser and exits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, choices=("bash", "zsh", "tcsh"), default=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, __: str | None = None) -> None:
        """Print the script for the chosen shell."""
        import shtab  # noqa: PLC0415 - serving does not need it

        for action in _actions(parser):
            if len(words := str(action.metavar).split("|")) > 1:
                action.choices = action.choices or words
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


def _time(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_SWITCH: Final = {"action": "store_true"}
_EXPORTER: Final = ("--exporter.url", "ask this running exporter [one here, else Redis]", {"metavar": "URL"})
_LISTING: Final = (
    ("--output", "form [table]", {"choices": ("table", "json", "csv"), "default": "table"}),
    _EXPORTER,
    ("--watch", "refresh the table in place until Ctrl-C", _SWITCH),
    ("--interval", "between refreshes [2s]", {"type": _time, "default": 2.0, "metavar": "TIME"}),
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
        ("--reverse", "largest first", _SWITCH),
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
            "as the table or the page shows it, maybe after node: or portfolio: [all that happened last]",
            {"nargs": "?", "metavar": "NODE|PORTFOLIO|ALERT"},
        ),
        _EXPORTER,
    ),
    "forget": (
        ("node", "an offline node, as the table shows it", {"nargs": "*", "metavar": "NODE"}),
        (
            "--offline-longer-than",
            "instead of names: every node that an exporter calls offline for longer, such as 24h",
            {"type": _time, "metavar": "TIME"},
        ),
        ("--rehomed", "instead of names: every offline node whose portfolios all run on other nodes", _SWITCH),
        (
            "--with-portfolios",
            "delete also the last trace of a portfolio: a hash that alone names it, in no plan",
            _SWITCH,
        ),
        _EXPORTER,
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
