"""Shows a table again and again on the terminal (``--watch``)."""

import sys
import time
from collections.abc import Callable
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from exporter.errors import ExporterError

_UNLIMITED: Final = 10_000
"""Width of the table in a pipe: no line is cut off there."""


def table_console() -> Console:
    """Return a console for a table. Only a terminal has a width that lines must fit."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)


def show_live(console: Console, interval: float, read: Callable[[], RenderableType]) -> None:
    """Show what ``read`` returns, again and again until Ctrl-C.

    Args:
        console: The terminal or the pipe.
        interval: Seconds between two reads.
        read: Reads and returns the table. It raises an ExporterError with one line if nothing can be read.
    """
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                try:
                    shown = read()
                except ExporterError as error:
                    # The values of an earlier read are not shown: an operator would take them for current ones.
                    shown = Group(Text(str(error), "bold red"), Text("trying again; Ctrl-C ends", "dim"))
                if console.is_terminal:
                    live.update(shown, refresh=True)
                else:
                    console.print(shown)
                time.sleep(interval)
        except KeyboardInterrupt:
            pass
