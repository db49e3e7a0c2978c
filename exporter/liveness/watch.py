"""The watch: probes Redis, and reads each node when its state may change.

A probe shows whether Redis answers, and as which server. While all is well, there is one probe a second:
a silence of more than 5 s is a fault, so rarer probes would have to prolong that time. While anything is
wrong, there are four probes a second, so that the chance of each node is known that exactly. Each read of nodes,
also that of a scrape, asks for the same as a probe. So a read takes the place of the next probe, and no verdict
depends on how old the last probe is.

Without deadlines, the watch reads only the undecided nodes. An exporter that pushes turns
deadlines on. Then the watch also reads each node when its heartbeat should end, and all
offline nodes every few seconds.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from exporter.liveness.faults import NEVER
from exporter.liveness.judge import Change, Judge, State
from exporter.source import Reader

PROBE: Final = 0.25
"""Seconds between two probes while anything is wrong; see ``Judge.is_calm``."""
CALM_PROBES: Final = 30
"""Number of probes in a TTL while all is well: of a shorter TTL, a second would be too large a part."""
CALM_PROBE: Final = 1.0
"""Longest time from an answer to the next probe while all is well, in seconds."""
SLACK: Final = 0.002
"""Seconds from a deadline to the read of its node: by then Redis has surely expired the heartbeat."""
SLOT: Final = 0.05
"""Shortest time between two reads, in seconds: deadlines that are close together share a read."""
MAX_NODES: Final = 1000
"""Largest number of undecided or late nodes in one read, so that the read is short."""
SAMPLE: Final = 100
"""Number of nodes that each look reads while Redis refuses writes."""
LATE_EVERY: Final = 0.5
"""Shortest time between two counts of the late nodes, in seconds."""
RECHECK_AFTER: Final = 10.0
"""Seconds between two reads of a node that is gone or forgotten: less than a heartbeat lives."""


_READ_WITHOUT_TIMER: Final = (State.OFFLINE, State.UNDECIDED)
"""States that need no timer: offline nodes are read with every refresh, undecided nodes with every probe."""


class Watch:
    """Decides which nodes to read next, and reads them. Not thread-safe: the fleet's watch thread owns it.

    When a timer is due, the judge may know a later deadline, because a scrape saw a new beat.
    Then the timer is set to that deadline, and the node is not read. Without scrapes, each node is
    read about once a TTL.

    Args:
        judge: The fleet's judge.
        reader: A reader of the watch's own.
        timeout: Seconds that one read may take.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, judge: Judge, reader: Reader, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._judge, self._reader, self._timeout, self._clock = judge, reader, timeout, clock
        self._calm_probe = min(CALM_PROBE, max(PROBE, judge.ttl / CALM_PROBES))
        self._probed = NEVER
        self._alarmed, self._answered = True, True
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
        self._changed: deque[bytes] = deque()  # nodes that any thread's read showed alive again, or gone
        judge.on_changes(self._hear)

    def keep_deadlines(self, refresh: float) -> None:
        """Turn deadlines on: read each node at its deadline, and offline nodes every ``refresh`` seconds."""
        self._refresh = refresh

    @property
    def looked(self) -> float:
        """When Redis last answered a probe or a read, in monotonic seconds."""
        return self._judge.answered_at

    def alarm(self) -> None:
        """Make the next probe due at once, or ``PROBE`` after the last one: something may be wrong."""
        self._alarmed = True

    def wait(self) -> float:
        """Return the seconds until the next probe or read is due; reads wait for a probe that Redis answers."""
        due = self._probe_due()
        if self._refresh is not None and self._answered:
            due = min(due, self._refresh_at, *(timer[0] for timer in self._timers[:1]))
        return max(0.0, max(due, self._not_before) - self._clock())

    def probe(self) -> bool:
        """Probe Redis if a probe is due, and return whether it was due.

        Raises:
            SourceError: Redis did not answer.
        """
        now = self._clock()
        if now < self._probe_due():
            return False
        self._probed, self._alarmed, self._answered = now, True, False
        self._judge.ask(now)
        answer = self._reader.read((), now + self._timeout)
        self._alarmed, self._answered = False, True
        self._judge.observe(answer.server, answer.at)
        self._undecided = self._undecided or self._judge.undecided()
        return True

    def look(self, names: Sequence[bytes]) -> bool:
        """Read and judge the nodes that are due, and return whether these include all offline nodes.

        Args:
            names: The nodes that discovery knows now.

        Raises:
            SourceError: Redis could not be read. The nodes that were due are read with the next probe.
        """
        now = self._clock()
        undecided, self._undecided = self._undecided[:MAX_NODES], self._undecided[MAX_NODES:]
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
                self._set_timers((name for name in due if name not in self._timed), now + PROBE)
                raise
        return refresh

    def silent_since(self, asked: float) -> float:
        """Return since when Redis counts as unreadable after a probe that had no answer, in monotonic seconds.

        That is the time at which a probe would have had no answer if there had always been one every ``PROBE`` seconds.

        Args:
            asked: When the probe began, in monotonic seconds.
        """
        return min(asked, max(asked - self._calm_probe, self.looked) + PROBE) if self.looked > NEVER else asked

    def _probe_due(self) -> float:
        if self._alarmed or not self._judge.is_calm():
            return self._probed + PROBE
        return max(self._probed, self.looked) + self._calm_probe

    def _in_turns(self, names: Sequence[bytes]) -> Sequence[bytes]:
        """Return the next ``SAMPLE`` nodes in turn: a beat of any node shows that Redis takes writes again."""
        self._turn = self._turn + SAMPLE if self._turn + SAMPLE < len(names) else 0
        return names[self._turn : self._turn + SAMPLE]

    def _due(self, names: Sequence[bytes], now: float) -> Iterator[bytes]:
        """Yield the nodes whose deadline has come, and remove their timers."""
        if names is not self._names:
            self._names, self._known = names, frozenset(names)
            self._set_timers((name for name in names if name not in self._timed), now)
        while self._changed:
            if (name := self._changed.popleft()) not in self._timed:
                self._set_timers((name,), now)
        while self._timers and self._timers[0][0] <= now:
            _, name = heapq.heappop(self._timers)
            self._timed.discard(name)
            if name in self._known:
                moved = self._judge.due(name)
                if moved is not None and moved + SLACK > now:
                    self._set_timers((name,), moved + SLACK)
                else:
                    yield name

    def _read(self, names: Sequence[bytes]) -> None:
        reading = self._reader.read(names, self._clock() + self._timeout)
        if self._judge.may_die(reading):
            self._look_for_late(frozenset(names))
        states = self._judge.judge(reading).states
        for position, (name, state) in enumerate(zip(names, states, strict=True)):
            if name not in self._timed:
                if position in reading.unread:
                    self._set_timers((name,), reading.at + PROBE)
                elif (at := self._judge.due(name)) is not None:
                    self._set_timers((name,), at + SLACK)
                elif state in (State.GONE, State.FORGOTTEN):
                    self._set_timers((name,), reading.at + RECHECK_AFTER)
                # For other states see _READ_WITHOUT_TIMER.

    def _look_for_late(self, dead: Collection[bytes]) -> None:
        """Read the nodes whose heartbeats end next, so that the judge knows whether more deaths will follow."""
        now = self._clock()
        if now >= self._late_at:
            self._late_at = now + LATE_EVERY
            if ending := [name for name in self._judge.ending_soon(now) if name not in dead]:
                self._judge.look_for_late(self._reader.read(ending[:MAX_NODES], now + self._timeout), len(ending))

    def _hear(self, changes: Sequence[Change]) -> None:
        if self._refresh is not None:
            self._changed += [change.name for change in changes if change.after not in _READ_WITHOUT_TIMER]

    def _set_timers(self, names: Iterable[bytes], at: float) -> None:
        if self._refresh is not None:
            for name in names:
                self._timed.add(name)
                heapq.heappush(self._timers, (at, name))
