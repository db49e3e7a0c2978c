"""The demo's time in seconds since its start. It may run faster than real time."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

POLL: Final = 1.0
"""Seconds of the demo's time between two reads of the fleet."""


class Clock:
    """A clock that starts at 0 when it is made.

    Args:
        speed: Seconds of the demo's time in one real second.
        real: Returns real time in monotonic seconds.

    Attributes:
        speed: As above.
    """

    def __init__(self, speed: float, real: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self._real = real
        self._start = real()

    def restart(self) -> None:
        """Set the clock to 0."""
        self._start = self._real()

    def now(self) -> float:
        """Return the demo's time in seconds."""
        return (self._real() - self._start) * self.speed

    async def until(self, seconds: float) -> None:
        """Wait until a point in the demo's time, in seconds."""
        await asyncio.sleep(max(0.0, seconds - self.now()) / self.speed)

    async def pause(self) -> None:
        """Wait for the pause between two reads of the fleet."""
        await asyncio.sleep(POLL / self.speed)
