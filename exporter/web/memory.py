"""Gives memory back to the system after a crowd of requests: malloc keeps it for bodies that do not come again."""

import asyncio
import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_LATER: Final = 10.0
"""Seconds after the last time that the budget was spent."""


def trim() -> None:
    """Have glibc's malloc give back what is free. Other C libraries have no such function."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class MemoryReturn:
    """Trims the memory once when a crowd is over. For the event loop.

    Args:
        trim: Gives memory back.
        later: Seconds to wait.
    """

    def __init__(self, trim: Callable[[], None] = trim, later: float = _LATER) -> None:
        self._trim, self._later = trim, later
        self._due: asyncio.TimerHandle | None = None

    def after_crowd(self) -> None:
        """Trim the memory later, unless this is called again until then."""
        if self._due:
            self._due.cancel()
        loop = asyncio.get_running_loop()
        self._due = loop.call_later(self._later, loop.run_in_executor, None, self._trim)
