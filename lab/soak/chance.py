"""How much chance nodes had to beat, at least and at most, given the faults that were really made.

Chance is time in which Redis could be read and took writes. The exporter notices a
fault a little later than it happens, and cannot know its exact time. So there are two
kinds of spans: spans that surely gave no chance, and spans that possibly gave no chance.
"""

import math
from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import Final

from lab.soak.lateness import Lateness
from lab.soak.nodes import Platform
from lab.soak.servers import BEAT, TTL
from lab.soak.truth import TOLERANCE, UNREADABLE, Fault, Span, Write

GRACE: Final = TTL + BEAT
"""Seconds of chance after which a node that was hit by a fault is dead."""
QUIET_REFUSAL: Final = TTL / 2
"""Seconds without a refused write after which the exporter takes Redis to accept writes again."""
PROBE: Final = 0.25
"""Seconds between two looks of the exporter at Redis."""
_SURE_GAP: Final = 0.8 * QUIET_REFUSAL
_REMEMBERED: Final = 240.0
"""Seconds after which a fault is dropped. No fault lasts so long, and GinkgoRedisUnreachable looks back less."""


def covered(spans: Iterable[Span], since: float, until: float) -> float:
    """Return how many seconds between two moments some spans cover."""
    total, end = 0.0, since
    for start, stop in sorted(spans):
        first, last = max(start, end), min(stop, until)
        if last > first:
            total += last - first
            end = last
    return total


class Chance:
    """Calculates from all faults how much chance there was.

    Args:
        platform: The platform, whose refused writes show when Redis refused writes.
        lateness: How late the machine lets the exporter run; None if it is never late.

    Attributes:
        faults: All faults that may still matter, the latest last.
    """

    def __init__(self, platform: Platform, lateness: Lateness | None) -> None:
        self.faults: list[Fault] = []
        self._platform, self._lateness = platform, lateness
        self._joined: tuple[list[Span], list[Span]] = [], []
        self._last_refused: Span | None = None

    @property
    def slack(self) -> float:
        """Seconds that the exporter may need to notice a change."""
        return self._lateness.slack if self._lateness else 0.0

    def least(self, since: float, until: float) -> float:
        """Return the seconds of chance that there were at least."""
        return max(0.0, until - since - covered(self.possible(), since, until))

    def most(self, since: float, until: float) -> float:
        """Return the seconds of chance that there were at most."""
        return until - since - covered(self.sure(), since, until)

    def may_be_faulted(self, since: float, until: float) -> bool:
        """Return whether the exporter may know of a fault in a span."""
        return any(start <= until and since <= stop for start, stop in self.possible())

    def may_be_over(self, beat: Write, since: float, until: float) -> bool:
        """Return whether the chance of a node may have been over at any moment of a span.

        Without a fault since the node's last beat, its chance is over at its deadline. The exporter counts a beat
        from the moment at which it asked for it, so a slow reply makes the beat older.

        Args:
            beat: The last beat of the node that the exporter has seen; it may lie before a fault or at its end.
            since: Begin of the span.
            until: End of the span.
        """
        return any(self._may_be_over(beaten, since, until) for beaten in (beat.begun, beat.ended))

    def _may_be_over(self, beaten: float, since: float, until: float) -> bool:
        faults = self.sure_after(beaten, until)
        moments = [(until, faults)]  # and the last moment before each fault
        for start, _ in faults:
            if since <= start:
                moments.append((start + 2 * TOLERANCE, [fault for fault in faults if fault[0] < start]))
        for moment, before in moments:
            chance = self.most(beaten, moment) if before else math.inf
            if moment >= beaten + TTL - TOLERANCE and chance >= GRACE - TOLERANCE - self.slack:
                return True
        return False

    def sure_after(self, since: float, until: float) -> list[Span]:
        """Return the spans without chance that the exporter must know of, as far as they end after ``since``."""
        return [(start, stop) for start, stop in self.sure() if start < until and stop > since]

    def sure(self) -> list[Span]:
        """Return the spans in which nodes surely had no chance, and the exporter knows it."""
        return [(f.down_from, f.down_until) for f in self.faults if f.extends and f.down_from < f.down_until] + [
            (start, stop) for start, stop in self._refusals[1] if stop - start > QUIET_REFUSAL + PROBE
        ]

    def possible(self) -> list[Span]:
        """Return the spans in which the exporter may think that nodes had no chance."""
        slack = self.slack
        spans = [(start - PROBE - slack, stop + QUIET_REFUSAL + PROBE + slack) for start, stop in self.refusals()]
        for fault in self.faults:
            if fault.extends or fault.readable or fault.until - fault.since > UNREADABLE - PROBE - slack:
                # The exporter sees deleted data when it looks at a node that is gone: at its deadline at the latest.
                late = TTL if fault.flush else QUIET_REFUSAL if fault.readable else 0.0
                spans.append((fault.since - PROBE - slack, fault.until + late + PROBE + slack))
        return spans

    def refusals(self) -> list[Span]:
        """Return the spans from the first to the last of refused writes that came one soon after the other."""
        return self._refusals[0]

    @property
    def _refusals(self) -> tuple[list[Span], list[Span]]:
        """These spans, and their parts in which Redis took no beat: a beat may end a refusal for the exporter."""
        refused = tuple(self._platform.refused)
        if refused and refused[-1] != self._last_refused:
            self._last_refused = refused[-1]
            self._joined = _join(refused, ()), _join(refused, tuple(self._platform.taken))
        return self._joined

    def unreadable(self, since: float, until: float, *, surely: bool) -> float:
        """Return for how many seconds of a span the exporter could not read Redis, at least or at most."""
        faults = [fault for fault in self.faults if not fault.readable]
        if surely:
            down = ((fault.down_from, fault.down_until) for fault in faults if not fault.suspended)
            return covered(down, since, until)
        late = 2 * PROBE + self.slack
        return covered(((fault.since - late, fault.until + late) for fault in faults), since, until)

    def tidy(self, now: float) -> None:
        """Drop old faults."""
        self.faults = [fault for fault in self.faults if fault.until > now - _REMEMBERED]


def _join(refused: Iterable[Span], taken: Sequence[float]) -> list[Span]:
    """Join refused writes that came one soon after the other, unless a beat was taken in between."""
    spans: list[Span] = []
    for begun, ended in refused:
        if spans and begun - spans[-1][1] <= _SURE_GAP and bisect(taken, spans[-1][1]) == bisect(taken, begun):
            spans[-1] = spans[-1][0], ended
        else:
            spans.append((begun, ended))
    return spans
