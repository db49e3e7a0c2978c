"""What really happened: writes and faults, each with the times between which it did, and so what Redis may hold."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

UNREADABLE: Final = 5.0
"""Seconds without an answer that make a fault."""
_REMEMBERED: Final = 200
"""Writes to a key that are kept: minutes of them, while a question is about seconds."""


@dataclass(slots=True, eq=False)
class Write:
    """One write to one key. Times are monotonic; somewhere between them it happened.

    Attributes:
        value: What was written; None for a deletion.
        sure: Whether it happened at all: Redis said so.
        lost: It was no deletion of the platform's: Redis lost its data.
    """

    value: Any
    begun: float
    ended: float = math.inf
    sure: bool = False
    lost: bool = False


_NEVER: Final = Write(None, -math.inf, -math.inf, sure=True)


@dataclass(slots=True)
class Key:
    """A key's writes, the latest last."""

    writes: deque[Write] = field(default_factory=lambda: deque([_NEVER], _REMEMBERED))

    def write(self, value: Any, execute: Callable[[], object]) -> None:
        """Write and note it; what ``execute`` raises leaves it unknown whether it was written."""
        write = Write(value, time.monotonic())
        self.writes.append(write)
        try:
            execute()
            write.sure = True
        finally:
            write.ended = time.monotonic()

    def possible(self, since: float, until: float, *, values_only: bool = False) -> list[Write]:
        """Return the writes one of which was the last at some moment of a span, the latest first.

        Args:
            since: Where the span begins.
            until: Where it ends.
            values_only: Leave deletions out, as if there were none.
        """
        found = []
        for write in reversed(self.writes):
            if write.begun > until or (values_only and write.value is None):
                continue
            found.append(write)
            if write.sure and write.ended <= since:
                break
        return found


@dataclass(slots=True)
class Fault:
    """Something that was done to Redis. Times are monotonic.

    Attributes:
        kind: What.
        since: From when on it may have been felt.
        down_from: From when on Redis could not be read for sure.
        down_until: Until when it could not for sure.
        until: From when on it can be read again for sure.
        restart: Whether it came back as another.
    """

    kind: str
    since: float
    down_from: float = math.inf
    down_until: float = -math.inf
    until: float = math.inf
    restart: bool = False

    def hits(self, since: float, until: float) -> bool:
        """Return whether it may have been felt in a span."""
        return self.since <= until and since <= self.until

    @property
    def extends(self) -> bool:
        """Whether nodes must get time to beat for its sake."""
        return self.restart or self.down_until - self.down_from > UNREADABLE
