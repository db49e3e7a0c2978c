"""What Redis may hold of a node at any moment: its writes, each with the times between which it happened."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

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
