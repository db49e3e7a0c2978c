"""Writes and faults with their earliest and latest times, and the values that Redis may hold by them."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from redis import ResponseError

UNREADABLE: Final = 5.0
"""Seconds without an answer that make a fault."""
Span = tuple[float, float]
"""Two moments, in monotonic seconds."""
TOLERANCE: Final = 0.05
"""Seconds by which Redis's clock may differ from ours: it is cached, and in milliseconds."""
_REMEMBERED: Final = 200
"""Writes to a key that are kept: minutes of them, while a question is about seconds."""


@dataclass(slots=True, eq=False)
class Write:
    """One write to one key.

    It happened between ``begun`` and ``ended``, in monotonic seconds.

    Attributes:
        value: The written value; None for a deletion.
        sure: Whether Redis confirmed it.
        lost: Whether no node deleted the key, and Redis lost its data.
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
        """Write, and note the write. After an error other than a refusal, the write may or may not have happened."""
        write = Write(value, time.monotonic())
        self.writes.append(write)
        try:
            execute()
            write.sure = True
        except ResponseError:
            self.writes.remove(write)
            raise
        finally:
            write.ended = time.monotonic()

    def possible(self, since: float, until: float, *, values_only: bool = False) -> list[Write]:
        """Return each write that may have been the last one at a moment of a span, the latest first.

        Args:
            since: Begin of the span.
            until: End of the span.
            values_only: Leave deletions out, as if there were none.
        """
        found = []
        for write in reversed(tuple(self.writes)):
            if write.begun > until or (values_only and write.value is None):
                continue
            found.append(write)
            if write.sure and write.ended <= since:
                break
        return found


@dataclass(slots=True)
class Fault:
    """One fault that was made. Times are in monotonic seconds.

    Attributes:
        kind: Name of the fault.
        since: First moment at which the exporter may notice the fault.
        down_from: Moment from which on nodes surely had no chance to beat, or the exporter surely could not see them.
        down_until: Moment until which this surely lasted.
        until: Moment from which on the fault is surely over.
        restart: Whether Redis came back as another run.
        flush: Whether Redis deleted all data.
        readable: Whether Redis can be read all the while.
        paused: Whether Redis says that writes are paused.
        suspended: Whether the exporter was suspended, and Redis was well.
    """

    kind: str
    since: float
    down_from: float = math.inf
    down_until: float = -math.inf
    until: float = math.inf
    restart: bool = False
    flush: bool = False
    readable: bool = False
    paused: bool = False
    suspended: bool = False

    def hits(self, since: float, until: float) -> bool:
        """Return whether Redis may have been unreadable in a span because of it."""
        return not self.readable and self.since <= until and since <= self.until

    @property
    def loses(self) -> bool:
        """Whether Redis may have lost data that no node deleted."""
        return self.restart or self.flush

    @property
    def extends(self) -> bool:
        """Whether nodes must get time to beat because of it."""
        return self.loses or self.paused or self.down_until - self.down_from > UNREADABLE
