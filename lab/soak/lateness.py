"""How late this machine lets a thread run. The judges allow the exporter to be that late."""

import time
from collections import deque
from threading import Event, Thread
from typing import Final

_STEP: Final = 0.02
_WINDOW: Final = 15.0
_LEAST: Final = 0.3
_FACTOR: Final = 3.0
_NOTED: Final = 0.01


class Lateness:
    """Measures how late a thread wakes up after a short sleep.

    Attributes:
        worst: The latest wake-up so far, in seconds.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._late: deque[tuple[float, float]] = deque()
        self._over = Event()
        self._thread = Thread(target=self._measure, name="lateness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the measurement."""
        self._over.set()
        self._thread.join()

    @property
    def slack(self) -> float:
        """Seconds that the exporter may need longer now than on an idle machine.

        The exporter has several threads and steps. So this is a multiple of the time measured for one thread.
        """
        since = time.monotonic() - _WINDOW
        return _LEAST + _FACTOR * max((late for at, late in tuple(self._late) if at > since), default=0.0)

    def _measure(self) -> None:
        while not self._over.is_set():
            before = time.monotonic()
            self._over.wait(_STEP)
            now = time.monotonic()
            late = now - before - _STEP
            self.worst = max(self.worst, late)
            while self._late and self._late[0][0] < now - _WINDOW:
                self._late.popleft()
            if late > _NOTED:
                self._late.append((now, late))
