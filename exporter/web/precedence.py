"""Scrapes go before the page and JSON: whoever makes these pauses while a scrape is under way."""

import threading
import time
from collections.abc import Callable
from typing import Final

_YIELD_WITHIN: Final = 10.0
"""Seconds that one body waits for scrapes at most, so that scrapes without a pause do not keep the page out."""

Pause = Callable[[], None]
"""Called between two parts of a body, in the thread that makes it: it lets scrapes go first."""


class Precedence:
    """Lets scrapes go before page and JSON. The event loop counts scrapes, and the thread of the views waits."""

    def __init__(self) -> None:
        self._scrapes = 0
        self._idle = threading.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._scrapes += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._scrapes -= 1
        if not self._scrapes:
            self._idle.set()

    def pause(self) -> Pause:
        """Return a function that waits while a scrape is under way, ``_YIELD_WITHIN`` seconds in all."""
        left = _YIELD_WITHIN

        def wait() -> None:
            nonlocal left
            if not self._idle.is_set() and left > 0:
                start = time.monotonic()
                self._idle.wait(left)
                left -= time.monotonic() - start

        return wait
