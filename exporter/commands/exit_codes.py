"""The exit codes of the command line."""

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """How a command ended.

    Attributes:
        meaning: When a command ends with this code, in Markdown.
    """

    meaning: str

    SUCCESS = 0, "The command did its work. `serve` and `demo` were ended by SIGTERM or SIGINT."
    FAILURE = (
        1,
        (
            "The command failed: Redis or an address cannot be used, `check` found a fault, `forget` kept a node that"
            " it was asked to delete, or `portfolios --fail-untraded` found an untraded portfolio."
        ),
    )
    USAGE = (
        2,
        "A flag, a variable, a file or a value is wrong. A line for each error says which and why. Nothing was opened.",
    )
    SOME_OFFLINE = 3, "`nodes --fail-offline` found an offline node."
    INTERRUPTED = 130, "Ctrl-C ended a command that was not finished."

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a code with its meaning."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.meaning = meaning
        return made
