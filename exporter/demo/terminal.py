"""What the demo says on the terminal: plain lines, each with the demo's time."""

import os
import sys
from typing import Final

from exporter.demo.clock import Clock

_INDENT: Final = " " * 8


class Terminal:
    """Prints to standard output, and falls silent when nobody reads it any more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def say(self, text: str = "") -> None:
        """Print text as it is."""
        try:
            print(text, flush=True)  # noqa: T201
        except OSError:
            # A terminal that closed, a pipe that nobody reads: the interpreter must not fail on it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def tell(self, text: str) -> None:
        """Print what happened now; further lines are indented under the first."""
        minutes, seconds = divmod(int(self._clock.now()), 60)
        first, *others = text.split("\n")
        self.say("\n".join((f"[{minutes:2}:{seconds:02}] {first}", *(_INDENT + line for line in others))))
