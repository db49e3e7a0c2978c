"""Heartbeat timers: when a node's deadline comes, it is read once more and judged."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from exporter.errors import SourceError
from exporter.judge import LOOK_AGAIN, Judge, State
from exporter.names import Names
from exporter.source.reading import Reader

SLACK: Final = 0.002
"""Seconds after a deadline at which it is surely over."""


@dataclass(slots=True)
class Changes:
    """What a look at some nodes showed.

    Attributes:
        died: Nodes found offline that were not.
        back: Nodes that are not offline any more.
    """

    died: list[str] = field(default_factory=list)
    back: set[str] = field(default_factory=set)


class Watch:
    """Holds one timer for each known node, and those that are offline. For one thread; time is handed in.

    A scrape that saw a beat has moved the deadline, which the judge knows: then the
    node is not read. Left alone, each node is read about once a TTL.

    Attributes:
        offline: The offline nodes by shown id: since when, and when the heartbeat ended if that was seen coming.
    """

    def __init__(self, judge: Judge, reader: Reader) -> None:
        self.offline: dict[str, tuple[float, float | None]] = {}
        self._judge = judge
        self._reader = reader
        self._names = Names()
        self._shown: dict[bytes, str] = {}
        self._timers: list[tuple[float, bytes]] = []
        self._timed: set[bytes] = set()
        self._unsure: set[bytes] = set()

    def know(self, names: Names, now: float) -> set[str]:
        """Take over the known nodes; those without a timer are due at once.

        Returns:
            Offline nodes that are not known any more.
        """
        if names is not self._names:
            self._names = names
            self._shown = dict(zip(names.raw, names.shown, strict=True))
        self._time((name for name in self._shown if name not in self._timed), now)
        unknown = self.offline.keys() - set(names.shown) if self.offline else set()
        for node_id in unknown:
            del self.offline[node_id]
        return unknown

    @property
    def next_due(self) -> float:
        """Monotonic time at which the next timer runs out; infinite if there is none."""
        return self._timers[0][0] if self._timers else float("inf")

    @property
    def online(self) -> int:
        """How many nodes are known and not offline."""
        return len(self._shown) - len(self.offline)

    def due(self, now: float) -> list[bytes]:
        """Return the nodes to be looked at, taking their timers away."""
        names = []
        while self._timers and self._timers[0][0] <= now:
            _, name = heapq.heappop(self._timers)
            self._timed.discard(name)
            if name not in self._shown:
                continue
            moved = self._judge.due(name)
            # A scrape that was first to see a dead node's return moves its deadline, too: its death must end here.
            if moved is not None and moved + SLACK > now and self._shown[name] not in self.offline:
                self._time((name,), moved + SLACK)
            else:
                names.append(name)
        return names

    def look(self, names: list[bytes], again_at: float, deadline: float) -> Changes:
        """Read nodes, judge them and set their timers anew.

        Args:
            names: Nodes that are due.
            again_at: When to look again at those whose state no timer ends: the offline ones.
            deadline: When the read must be over.

        Raises:
            SourceError: Redis could not be read; the nodes stay due, at ``again_at``.
        """
        changes = Changes()
        seen_once = self._unsure.intersection(names)
        self._unsure -= seen_once
        try:
            self._judge_some([name for name in names if name not in seen_once], again_at, deadline, changes, sure=False)
            self._judge_some(list(seen_once), again_at, deadline, changes, sure=True)
        except SourceError:
            self._time((name for name in names if name not in self._timed), again_at)
            raise
        return changes

    def _judge_some(
        self, names: list[bytes], again_at: float, deadline: float, changes: Changes, *, sure: bool
    ) -> None:
        if not names:
            return
        reading = self._reader.read(names, deadline)
        for name, state in zip(names, self._judge.judge(reading, whole=False, sure=sure).states, strict=True):
            node_id = self._shown[name]
            if state is State.UNSURE:
                self._unsure.add(name)
                self._time((name,), reading.at + LOOK_AGAIN)
                continue
            if state is State.OFFLINE:
                if node_id not in self.offline:
                    since = self._judge.offline_since(name) or reading.at
                    self.offline[node_id] = since, since if since < reading.at else None
                    changes.died.append(node_id)
            elif self.offline.pop(node_id, None) is not None:
                changes.back.add(node_id)
            if state is not State.GONE:
                moved = self._judge.due(name)
                self._time((name,), again_at if moved is None else moved + SLACK)

    def _time(self, names: Iterable[bytes], at: float) -> None:
        for name in names:
            self._timed.add(name)
            heapq.heappush(self._timers, (at, name))
