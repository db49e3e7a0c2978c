"""Since when a node is offline, or why it is undecided, in Unix time by the exporter's clock."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from exporter.liveness.faults import ONGOING
from exporter.liveness.judge import Judge


class Offline(NamedTuple):
    """The time since which a node is offline.

    Attributes:
        since: Unix time.
        exact: True if the node's heartbeat ended at that time. False if the node may have been offline
            earlier: it was offline at the exporter's first read, or undecided until that time.
    """

    since: float
    exact: bool


class Undecided(NamedTuple):
    """Why a node is undecided. Times are Unix times.

    Attributes:
        why: The rule, in words.
        fault: The last fault of Redis that may excuse the missing heartbeat, in words; empty without one.
        fault_since: When the fault began; None without one.
        fault_until: When it ended; None without one, and while it lasts.
        until: The earliest time at which the node can be called dead if it does not beat; None if that is not known.
    """

    why: str
    fault: str = ""
    fault_since: float | None = None
    fault_until: float | None = None
    until: float | None = None


class OfflineSince(Protocol):
    """Knows the times of nodes that are not online, by their ids as Redis holds them."""

    def __call__(self, name: bytes) -> Offline | None:
        """Return since when a node is offline; None if that is unknown."""

    def undecided(self, name: bytes) -> Undecided | None:
        """Return why a node is undecided; None if that is unknown."""


class _Unknown:
    def __call__(self, name: bytes) -> None:
        """Return None."""

    def undecided(self, name: bytes) -> Undecided:  # noqa: ARG002 - nothing is known of any node
        """Return that the reason is unknown."""
        return Undecided("the reason is unknown")


unknown: OfflineSince = _Unknown()
"""The ``OfflineSince`` of a caller that reads the keys once and has no judge."""


class _Judged:
    def __init__(self, judge: Judge, epoch: float) -> None:
        self._judge, self._epoch = judge, epoch

    def __call__(self, name: bytes) -> Offline | None:
        """Return since when the judge holds a node offline."""
        at, ended = self._judge.offline_since(name)
        return None if at is None else Offline(round(self._epoch + at, 3), ended is not None)

    def undecided(self, name: bytes) -> Undecided | None:
        """Return why the judge does not decide."""
        doubt = self._judge.doubt(name)
        if doubt is None:
            return None
        fault = doubt.fault
        if fault is None:
            return Undecided(doubt.why)
        ended = None if fault.end == ONGOING else self._unix(fault.end)
        return Undecided(doubt.why, fault.kind.value, self._unix(fault.start), ended, self._unix(doubt.until))

    def _unix(self, at: float | None) -> float | None:
        return None if at is None else round(self._epoch + at, 3)


class _FirstLook(_Judged):
    def __call__(self, name: bytes) -> None:
        """Return None: Redis does not store since when a node is offline."""


def first_look(judge: Judge) -> OfflineSince:
    """Return an ``OfflineSince`` for a judge that has read the nodes once: it knows doubts alone."""
    return _FirstLook(judge, time.time() - time.monotonic())


def judged(
    judge: Judge, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> OfflineSince:
    """Return an ``OfflineSince`` that takes its times from the judge.

    Args:
        judge: The judge of a running fleet.
        wall: Returns Unix time.
        monotonic: Returns the seconds of the clock that the judge's times come from.
    """
    return _Judged(judge, wall() - monotonic())
