"""Mass loss: when so many nodes die at once that one cause is likelier than many."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 3600.0
"""Seconds after which those that are still gone count as single deaths."""


@dataclass(slots=True)
class _Event:
    since: float
    held_until: float
    lost: set[str]


class MassLoss:
    """Sees a mass loss and holds back the single deaths of it. Time is handed in.

    The deaths of a mass loss are spread over the time between two beats, so the
    first of them come before it can be called one. What gives them away is that
    the others are late too: then they are held already.

    Args:
        ttl: Seconds that a heartbeat lives.
        ratio: Share of the nodes online one TTL ago that more than must have died since.
        least: Number of them that at least must have.
        hold: Seconds for which single deaths are held back.
    """

    def __init__(self, ttl: float, ratio: float, least: int, hold: float) -> None:
        self._ttl, self._ratio, self._least, self._hold = ttl, ratio, least, hold
        self._deaths: deque[tuple[float, str]] = deque()
        self._held: dict[str, float] = {}
        self._event: _Event | None = None

    def note(self, died: Collection[str], offline: Collection[str], online: int, now: float, late: float = 0.0) -> None:
        """Take note of deaths.

        Args:
            died: Nodes just found dead.
            offline: All nodes that are offline now.
            online: How many beat.
            now: The time of it.
            late: Share of those that beat which missed two beats.
        """
        self._deaths.extend((now, node_id) for node_id in died)
        while self._deaths and self._deaths[0][0] < now - self._ttl:
            self._deaths.popleft()
        recent = {node_id for _, node_id in self._deaths if node_id in offline}
        if self._event and not self._lasts(self._event, offline, now):
            self._event = None
        if self._event is None and self._is_mass(len(recent), online + len(recent)):
            self._event = _Event(now, now + self._hold, recent)
            self._held = dict.fromkeys(self._held, self._event.held_until)
        if self._event:
            self._event.lost.update(died)
            if now < self._event.held_until:
                self._held.update(dict.fromkeys(died, self._event.held_until))
        elif late and self._is_mass(len(recent) + late * online, online + len(recent)):
            self._held.update(dict.fromkeys(died, now + self._hold))
        if self._held:
            self._held = {node_id: until for node_id, until in self._held.items() if until > now}

    @property
    def since(self) -> float | None:
        """When the loss that lasts was seen; None if none lasts."""
        return self._event.since if self._event else None

    @property
    def next_release(self) -> float:
        """When the next death is held back no longer; infinite if none is."""
        return min(self._held.values(), default=float("inf"))

    def holds(self, node_id: str) -> bool:
        """Return whether a node's death is held back."""
        return node_id in self._held

    def _is_mass(self, lost: float, before: int) -> bool:
        return lost >= self._least and lost > self._ratio * before

    @staticmethod
    def _lasts(event: _Event, offline: Collection[str], now: float) -> bool:
        still = sum(node_id in offline for node_id in event.lost)
        return still * 2 >= len(event.lost) and now < event.since + LONGEST
