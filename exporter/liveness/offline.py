"""The time since which a node is offline, in Unix time by the exporter's clock."""

import time
from collections.abc import Callable
from typing import NamedTuple

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


OfflineSince = Callable[[bytes], Offline | None]
"""Returns since when a node is offline, given its id as Redis holds it; None if that is unknown."""


def unknown(_: bytes) -> None:
    """Return None: the ``OfflineSince`` of a caller that reads the keys once and has no judge."""


def judged(
    judge: Judge, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> OfflineSince:
    """Return an ``OfflineSince`` that takes its times from the judge.

    Args:
        judge: The judge of a running fleet.
        wall: Returns Unix time.
        monotonic: Returns the seconds of the clock that the judge's times come from.
    """
    epoch = wall() - monotonic()

    def since(name: bytes) -> Offline | None:
        at, ended = judge.offline_since(name)
        return None if at is None else Offline(round(epoch + at, 3), ended is not None)

    return since
