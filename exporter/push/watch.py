"""Heartbeat timers: when a node's deadline comes, it is read once more and judged."""

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from exporter.liveness.judge import LOOK_AGAIN, Judge, State
from exporter.names import Names
from exporter.source.reading import Reader

SLACK: Final = 0.002
"""Seconds after a deadline at which it is surely over."""
SAMPLE: Final = 100
"""Nodes that are asked at most how late they are: few enough for any moment, enough to tell most from few."""


@dataclass(slots=True)
class Changes:
    """What a look at some nodes showed.

    Attributes:
        offline: Nodes found offline that were not.
        died: Those of them that had been seen to beat.
        back: Nodes that are not offline any more.
    """

    offline: list[str] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    back: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.offline or self.back)


class Watch:
    """Holds one timer for each known node, and those that are offline. For one thread; time is handed in.

    A scrape that saw a beat has moved the deadline, which the judge knows: then the
    node is not read. Left alone, each node is read about once a TTL.

    Args:
        judge: The fleet's judge.
        reader: A reader of the watch's own.
        ttl: Seconds that a heartbeat lives.

    Attributes:
        offline: The offline nodes by shown id: since when, and when the heartbeat ended if that was seen coming.
        looked: When a look at Redis last succeeded.
    """

    def __init__(self, judge: Judge, reader: Reader, ttl: float) -> None:
        self.offline: dict[str, tuple[float, float | None]] = {}
        self.looked = float("-inf")
        self._judge = judge
        self._reader = reader
        self._ttl = ttl
        self._names = Names()
        self._shown: dict[bytes, str] = {}
        self._beating: set[bytes] = set()  # seen to, and not found otherwise since
        self._timers: list[tuple[float, bytes]] = []
        self._timed: set[bytes] = set()
        self._unsure: set[bytes] = set()

    def know(self, names: Names, now: float) -> None:
        """Take over the known nodes: new ones are due at once, and those that are not known any more are let go."""
        if names is self._names:
            return
        self._names = names
        self._shown = dict(zip(names.raw, names.shown, strict=True))
        self._time((name for name in self._shown if name not in self._timed), now)
        self._beating &= self._shown.keys()
        for node_id in self.offline.keys() - set(names.shown):
            del self.offline[node_id]

    @property
    def next_due(self) -> float:
        """Monotonic time at which the next timer runs out; infinite if there is none."""
        return self._timers[0][0] if self._timers else float("inf")

    @property
    def online(self) -> int:
        """How many nodes were seen to beat and have not died or left since."""
        return len(self._beating)

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
        except Exception:
            self._time((name for name in names if name not in self._timed), again_at)
            raise
        return changes

    def late(self, deadline: float) -> float:
        """Return the share of the beating nodes that missed two beats by now, from a sample.

        Raises:
            SourceError: Redis could not be read.
        """
        names = random.sample(list(self._beating), min(SAMPLE, len(self._beating)))
        if not names:
            return 0.0
        least = self._ttl * 1000 / 3
        return sum(ms < least for ms in self._reader.read(names, deadline).ttl_ms) / len(names)

    def _judge_some(
        self, names: list[bytes], again_at: float, deadline: float, changes: Changes, *, sure: bool
    ) -> None:
        if not names:
            return
        reading = self._reader.read(names, deadline)
        self.looked = reading.at
        for name, state in zip(names, self._judge.judge(reading, sure=sure).states, strict=True):
            if state is State.UNSURE:
                self._unsure.add(name)
                self._time((name,), reading.at + LOOK_AGAIN)
                continue
            self._note(name, state, reading.at, changes)
            at = self._judge.due(name)
            if at is not None:
                at += SLACK
            elif state is State.FORGOTTEN:
                at = reading.at + self._ttl / 2  # a beat that it writes lasts longer
            else:
                at = again_at
            self._time((name,), at)

    def _note(self, name: bytes, state: State, at: float, changes: Changes) -> None:
        node_id = self._shown[name]
        if state is not State.OFFLINE:
            if self.offline.pop(node_id, None) is not None:
                changes.back.append(node_id)
        elif node_id not in self.offline:
            since, ended = self._judge.offline_since(name)
            self.offline[node_id] = since or at, ended
            changes.offline.append(node_id)
            if name in self._beating:
                changes.died.append(node_id)
        if state is State.ONLINE:
            self._beating.add(name)
        elif state is not State.UNDECIDED:
            self._beating.discard(name)

    def _time(self, names: Iterable[bytes], at: float) -> None:
        for name in names:
            self._timed.add(name)
            heapq.heappush(self._timers, (at, name))
