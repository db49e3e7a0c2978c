"""Simulated time: actions that run in the order of their times, without waiting."""

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[], None]


class Timeline:
    """A clock that jumps from one action to the next.

    Args:
        start: Time at the beginning, in seconds.

    Attributes:
        now: The time of the action that is running.
    """

    def __init__(self, start: float) -> None:
        self.now = start
        self._waiting: list[tuple[float, int, int, Action]] = []
        self._order = count()

    def at(self, when: float, action: Action, *, last: bool = False) -> None:
        """Run an action once; with ``last`` after all other actions of the same time."""
        heapq.heappush(self._waiting, (when, int(last), next(self._order), action))

    def every(self, period: float, first: float, action: Action, *, last: bool = False) -> None:
        """Run an action again and again."""

        def run() -> None:
            action()
            self.at(self.now + period, run, last=last)

        self.at(first, run, last=last)

    def let_pass(self, seconds: float) -> None:
        """Let time go on in the middle of an action: what falls into these seconds happens."""
        self.run(self.now + seconds)

    def run(self, until: float) -> None:
        """Run everything up to a time, that time included."""
        while self._waiting and self._waiting[0][0] <= until:
            self.now, _, _, action = heapq.heappop(self._waiting)
            action()
        self.now = until
