"""The demo's output on the terminal: plain lines with the demo's time."""

import os
import sys
from typing import Final

from exporter.demo.clock import Clock

_INDENT: Final = " " * 8


class Terminal:
    """Prints to standard output, and stops printing when the terminal or pipe is closed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def say(self, text: str = "") -> None:
        """Print text as it is."""
        try:
            print(text, flush=True)  # noqa: T201
        except OSError:
            # The terminal or pipe is closed. Python flushes the stream again at its end and must not fail then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def log(self, text: str) -> None:
        """Print a text with the current time. Further lines are indented under the first."""
        minutes, seconds = divmod(int(self._clock.now()), 60)
        first, *others = text.split("\n")
        self.say("\n".join((f"[{minutes:2}:{seconds:02}] {first}", *(_INDENT + line for line in others))))
