"""The watch: looks at Redis four times a second, and at each node when its state may change.

Without deadlines the watch reads only the nodes that are undecided. With deadlines,
for an exporter that pushes, it also reads each node when its heartbeat should end, and
all offline nodes every few seconds.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from exporter.liveness.faults import NEVER
from exporter.liveness.judge import Change, Judge, State
from exporter.source.reading import Reader

PROBE: Final = 0.25
"""Seconds between two looks at whether Redis answers, and as which server."""
SLACK: Final = 0.002
"""Seconds after a deadline at which it is surely over."""
SLOT: Final = 0.05
"""Seconds for which deadlines are gathered, so that many nodes cost few reads."""
MOST: Final = 1000
"""Nodes that one look reads at most, besides those whose deadline has come: few enough for any moment."""
SOME: Final = 100
"""Nodes that are read with every look while Redis refuses writes."""
LATE_EVERY: Final = 0.5
"""Seconds between two looks at how many nodes are late."""
REST: Final = 10.0
"""Seconds between two looks at a node that is gone or forgotten: a beat that it writes lasts longer."""


_LOOKED_AT: Final = (State.OFFLINE, State.UNDECIDED)
"""States of nodes that are read without a timer: with every refresh, and with every probe."""


class Watch:
    """Decides which nodes to read next, and reads them. For one thread.

    A beat that a scrape saw has moved the deadline, which the judge knows: then the
    node is not read. Left alone, each node is read about once a TTL.

    Args:
        judge: The fleet's judge.
        reader: A reader of the watch's own.
        timeout: Seconds that one read may take.
        clock: Returns monotonic seconds.

    Attributes:
        looked: When Redis last answered a look, in monotonic seconds.
    """

    def __init__(
        self, judge: Judge, reader: Reader, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.looked = NEVER
        self._judge, self._reader, self._timeout, self._clock = judge, reader, timeout, clock
        self._probe_at = NEVER
        self._refresh: float | None = None
        self._refresh_at = NEVER
        self._late_at = NEVER
        self._not_before = NEVER
        self._names: Sequence[bytes] = ()
        self._known: frozenset[bytes] = frozenset()
        self._timers: list[tuple[float, bytes]] = []
        self._timed: set[bytes] = set()
        self._undecided: list[bytes] = []
        self._turn = 0
        self._changed: deque[bytes] = deque()  # nodes that others saw alive again, or gone
        judge.tell(self._note)

    def keep_deadlines(self, refresh: float) -> None:
        """Read each node at its deadline from now on, and the offline nodes every ``refresh`` seconds."""
        self._refresh = refresh

    def wait(self) -> float:
        """Return the seconds until the next look is due."""
        due = self._probe_at
        if self._refresh is not None:
            due = min(due, self._refresh_at, *(timer[0] for timer in self._timers[:1]))
        return max(0.0, max(due, self._not_before) - self._clock())

    def probe(self) -> bool:
        """See whether Redis answers, and as which server, if that is due; return whether it was.

        Raises:
            SourceError: Redis did not answer.
        """
        now = self._clock()
        if now < self._probe_at:
            return False
        self._probe_at = now + PROBE
        answer = self._reader.read((), now + self._timeout)
        self._judge.answered(answer.server, answer.at)
        self.looked = answer.at
        self._undecided = self._undecided or self._judge.undecided()
        return True

    def look(self, names: Sequence[bytes]) -> bool:
        """Read and judge the nodes that are due, and return whether all offline nodes were among them.

        Args:
            names: The nodes that are known now.

        Raises:
            SourceError: Redis could not be read; what was due stays due.
        """
        now = self._clock()
        undecided, self._undecided = self._undecided[:MOST], self._undecided[MOST:]
        due = dict.fromkeys(undecided)
        if self._judge.writes_refused_since() is not None:
            due |= dict.fromkeys(self._in_turns(names))
        refresh = self._refresh is not None and now >= self._refresh_at
        if self._refresh is not None:
            due |= dict.fromkeys(self._due(names, now))
            if refresh:
                self._refresh_at = now + self._refresh
                due |= dict.fromkeys(self._judge.offline())
        if due:
            self._not_before = now + SLOT
            try:
                self._read(list(due))
            except Exception:
                self._time((name for name in due if name not in self._timed), now + PROBE)
                raise
        return refresh

    def _in_turns(self, names: Sequence[bytes]) -> Sequence[bytes]:
        """Return some nodes, others each time: a beat of any of them shows that Redis takes writes again."""
        self._turn = self._turn + SOME if self._turn + SOME < len(names) else 0
        return names[self._turn : self._turn + SOME]

    def _due(self, names: Sequence[bytes], now: float) -> Iterator[bytes]:
        """Yield the nodes whose deadline has come, taking their timers away."""
        if names is not self._names:
            self._names, self._known = names, frozenset(names)
            self._time((name for name in names if name not in self._timed), now)
        while self._changed:
            if (name := self._changed.popleft()) not in self._timed:
                self._time((name,), now)
        while self._timers and self._timers[0][0] <= now:
            _, name = heapq.heappop(self._timers)
            self._timed.discard(name)
            if name in self._known:
                moved = self._judge.due(name)
                if moved is not None and moved + SLACK > now:
                    self._time((name,), moved + SLACK)
                else:
                    yield name

    def _read(self, names: Sequence[bytes]) -> None:
        reading = self._reader.read(names, self._clock() + self._timeout)
        if self._judge.may_die(reading):
            self._look_for_late(frozenset(names))
        states = self._judge.judge(reading).states
        self.looked = reading.at
        for name, state in zip(names, states, strict=True):
            if name not in self._timed:
                if (at := self._judge.due(name)) is not None:
                    self._time((name,), at + SLACK)
                elif state in (State.GONE, State.FORGOTTEN):
                    self._time((name,), reading.at + REST)
                # The offline are read with every refresh, the undecided with every probe.

    def _look_for_late(self, dead: Collection[bytes]) -> None:
        """Read the nodes that end next, so that the judge knows whether more deaths are to come."""
        now = self._clock()
        if now >= self._late_at:
            self._late_at = now + LATE_EVERY
            if ending := [name for name in self._judge.ending_soon(now) if name not in dead]:
                self._judge.look_for_late(self._reader.read(ending[:MOST], now + self._timeout), len(ending))

    def _note(self, changes: Sequence[Change]) -> None:
        if self._refresh is not None:
            self._changed += [change.name for change in changes if change.after not in _LOOKED_AT]

    def _time(self, names: Iterable[bytes], at: float) -> None:
        if self._refresh is not None:
            for name in names:
                self._timed.add(name)
                heapq.heappush(self._timers, (at, name))
