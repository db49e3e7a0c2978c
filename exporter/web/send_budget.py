"""The budget of answers: how many bytes may wait to be sent, and which client loses its connection when they are many.

A body is a sequence of pieces that several answers share. A piece counts once, however many clients wait for it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from exporter.web.scrape import Body

TOTAL: Final = 64 * 2**20
"""Bytes that may wait to be sent, of all answers."""
SHARE: Final = 24 * 2**20
"""Bytes of these for all answers that are no scrapes."""
FLOOR: Final = 256 * 2**10
"""Bytes a second: a client that takes less is disconnected when the budget is short."""
GRACE: Final = 0.5
"""Seconds that each client has before its rate counts."""
_CROWD: Final = 16
"""Answers that may each copy 256 KiB of their body, which is quicker and does not count."""
_POLL: Final = 0.05
_SCRAPE_WAITS: Final = 2.0
"""Seconds that a scrape waits for room. Other requests are refused at once."""


class Closable(Protocol):
    """The connection of a client."""

    def close(self) -> None:
        """Disconnect the client."""


class Sending:
    """One answer that is being sent.

    Attributes:
        taken: Bytes that the client has taken.
    """

    def __init__(self, body: Body, stream: Closable, began: float, *, scrape: bool) -> None:
        self.body, self.stream, self.began, self.scrape = body, stream, began, scrape
        self.taken = 0

    def rate(self, now: float) -> float:
        """Return the bytes a second that the client takes."""
        return self.taken / max(now - self.began, 1e-9)


class SendBudget:
    """Counts the bytes that wait to be sent. Its state belongs to the event loop.

    Args:
        spent: Called with what was done each time that the budget was short.
        total: Bytes for all answers.
        share: Bytes of these for answers that are no scrapes.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        spent: Callable[[str], None],
        total: int = TOTAL,
        share: int = SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spent, self._total, self._share, self._clock = spent, total, share, clock
        self._sendings: set[Sending] = set()
        self._holders: dict[int, list[int]] = {}  # by identity of a piece: how many hold it, and for what
        self._used = [0, 0]  # bytes of pieces that others hold, and of those that scrapes hold
        self._typical = [0, 0]  # bytes of the last body of each kind

    @property
    def waiting(self) -> int:
        """Bytes that wait to be sent."""
        return sum(self._used)

    @property
    def crowded(self) -> bool:
        """Whether so many answers are being sent that an answer must not copy its body."""
        return len(self._sendings) > _CROWD

    async def room(self, *, scrape: bool) -> bool:
        """Return whether one more body may be made; before that, disconnect slow clients if the budget is short."""
        deadline = self._clock() + (_SCRAPE_WAITS if scrape else 0.0)
        while not self._fits(scrape=scrape):
            if self._disconnect_slowest(scrape=scrape):
                continue
            if self._clock() >= deadline:
                self._spent("a request was answered with 503")
                return False
            await asyncio.sleep(_POLL)
        return True

    @contextmanager
    def sending(self, body: Body, stream: Closable, *, scrape: bool) -> Iterator[Sending]:
        """Count a body as long as the block lasts."""
        sending = Sending(body, stream, self._clock(), scrape=scrape)
        self._typical[scrape] = sum(map(len, body))
        self._sendings.add(sending)
        for piece in body:
            holders = self._holders.setdefault(id(piece), [0, 0])
            if not any(holders):
                self._used[scrape] += len(piece)
            holders[scrape] += 1
        try:
            yield sending
        finally:
            self._end(sending)

    def slowest(self) -> Sending | None:
        """Return the answer whose client has had its grace and takes least; one that is no scrape before all scrapes.

        None if each client takes ``FLOOR`` or more.
        """
        now = self._clock()
        late = [sending for sending in self._sendings if now - sending.began >= GRACE and sending.rate(now) < FLOOR]
        return min(late, key=lambda sending: (sending.scrape, sending.rate(now)), default=None)

    def disconnect(self, sending: Sending) -> None:
        """Disconnect the client of an answer."""
        self._end(sending)
        sending.stream.close()

    def _fits(self, *, scrape: bool) -> bool:
        if not self._sendings:
            return True  # a body may be larger than the budget
        if self.waiting + self._typical[scrape] > self._total:
            return False
        return scrape or self._used[False] + self._typical[False] <= self._share

    def _disconnect_slowest(self, *, scrape: bool) -> bool:
        sending = self.slowest()
        if sending is None or (sending.scrape and not scrape):
            return False
        self._spent("a client that reads too slowly was disconnected")
        self.disconnect(sending)
        return True

    def _end(self, sending: Sending) -> None:
        if sending not in self._sendings:
            return
        self._sendings.discard(sending)
        for piece in sending.body:
            holders = self._holders[id(piece)]
            holders[sending.scrape] -= 1
            if not any(holders):
                del self._holders[id(piece)]
                self._used[sending.scrape] -= len(piece)
