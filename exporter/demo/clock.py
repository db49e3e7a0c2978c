"""The demo's time: seconds since its start, of which several may pass in a real one."""

import asyncio
import time
from typing import Final

LOOK: Final = 1.0
"""Seconds of the demo between two looks at something that changes."""


class Clock:
    """Starts when it is made.

    Attributes:
        speed: How many of the demo's seconds pass in a real one.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._start = time.monotonic()

    def restart(self) -> None:
        """Begin anew at 0."""
        self._start = time.monotonic()

    def now(self) -> float:
        """Return the demo's time in seconds."""
        return (time.monotonic() - self._start) * self.speed

    async def until(self, seconds: float) -> None:
        """Wait until a time of the demo."""
        await asyncio.sleep(max(0.0, seconds - self.now()) / self.speed)

    async def look(self) -> None:
        """Wait until it is time for another look."""
        await asyncio.sleep(LOOK / self.speed)
