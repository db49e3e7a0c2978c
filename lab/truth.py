"""What Redis may have held at each moment, and how much chance to beat its faults have left to the nodes.

Some moments are not known exactly: when a write happened, when a read began, when the exporter noticed a fault. So all
that is known are spans, and the exporter has the benefit of each doubt.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from redis import Redis, ResponseError

TTL: Final = 3.0
"""Seconds that a heartbeat lives: a tenth of the platform's, so that a minute sees many lives."""
BEAT: Final = TTL / 3
GRACE: Final = TTL + BEAT
"""Seconds of chance after which a node that was hit by a fault is dead."""
HOLD: Final = 1.5 * BEAT
"""Seconds for which a death may be held back until it is clear whether it is part of a mass loss."""
UNREADABLE: Final = 5.0
"""Seconds without an answer that make a fault."""
QUIET: Final = TTL / 2
"""Seconds without a refused write after which the exporter takes Redis to accept writes again."""
PROBE: Final = 0.25
"""Seconds between two looks of the exporter at Redis."""
TOLERANCE: Final = 0.05
"""Seconds by which Redis's clock may differ from ours: it is cached, and in milliseconds."""
USUAL_SLACK: Final = 0.3
"""Seconds that the exporter may need to notice a change on a machine that is idle."""
PLAN: Final = "schedule:plan"
_REFUSED: Final = "command not allowed when used memory"
"""The first words of the error by which a Redis whose memory is full refuses writes; redis-py removes ``OOM``."""
Span = tuple[float, float]
"""Two moments, in monotonic seconds."""


@dataclass(slots=True, eq=False)
class Write:
    """One write to one key, between ``begun`` and ``ended``, in monotonic seconds.

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


NEVER: Final = Write(None, -math.inf, -math.inf, sure=True)


@dataclass(slots=True)
class Key:
    """A key's last writes, the latest last: minutes of them, while a question is about seconds."""

    writes: deque[Write] = field(default_factory=lambda: deque([NEVER], 200))

    def possible(self, since: float, until: float, *, values_only: bool = False) -> list[Write]:
        """Return each write that may have been the last one at a moment of a span, the latest first.

        With ``values_only`` deletions are left out, as if there were no deletions.
        """
        found = []
        for write in reversed(tuple(self.writes)):
            if write.begun > until or (values_only and write.value is None):
                continue
            found.append(write)
            if write.sure and write.ended <= since:
                break
        return found

    def values(self, since: float, until: float) -> list[Any]:
        """Return each value that the key may have had at a moment of a span; None for no key."""
        return [write.value for write in self.possible(since, until)]


class Recorder:
    """The platform's client of Redis: it notes each write, with its earliest and latest time.

    Attributes:
        keys: The writes, by the key's name.
        refusals: The spans from the first to the last of refused writes that came one soon after the other.
        blocked: Parts of these spans in which Redis took no beat, which may end a refusal for the exporter.
        beaten: Whether Redis took a beat after the last refused write.
    """

    def __init__(self, client: "Redis") -> None:
        self.keys: defaultdict[str, Key] = defaultdict(Key)
        self.refusals: deque[Span] = deque(maxlen=200)
        self.blocked: deque[Span] = deque(maxlen=200)
        self._client, self._lock, self.beaten = client, Lock(), False
        self.hget, self.hgetall, self.exists = client.hget, client.hgetall, client.exists

    def set(self, name: str, value: str, px: int) -> None:
        self._write(name, value, lambda: self._client.set(name, value, px=px))
        self.beaten = True

    def hset(self, name: str, mapping: Mapping[Any, Any]) -> None:
        before = self.keys[name].writes[-1].value or {}
        self._write(name, {**before, **mapping}, lambda: self._client.hset(name, mapping=dict(mapping)))

    def delete(self, *names: str) -> None:
        for name in names:
            self._write(name, None, lambda name=name: self._client.delete(name))  # type: ignore[misc]

    def _write(self, name: str, value: Any, execute: Callable[[], object]) -> None:
        """Write, and note it. After an error other than a refusal, the write may or may not have happened."""
        with self._lock:
            write, writes = Write(value, time.monotonic()), self.keys[name].writes
            writes.append(write)
            try:
                execute()
                write.sure = True
            except ResponseError as error:
                writes.remove(write)
                if str(error).startswith(_REFUSED):
                    self.refuse(write.begun, time.monotonic())
                raise
            finally:
                write.ended = time.monotonic()

    def refuse(self, begun: float, ended: float) -> None:
        """Note a refused write."""
        for spans, joins in ((self.refusals, True), (self.blocked, not self.beaten)):
            if joins and spans and begun - spans[-1][1] <= 0.8 * QUIET:
                begun_first, _ = spans[-1]
                spans[-1] = begun_first, ended
            else:
                spans.append((begun, ended))
        self.beaten = False

    def lose(self, begun: float) -> Callable[[], None]:
        """Note that Redis has lost all keys, and return a function to call when Redis is back.

        Args:
            begun: Earliest moment of the loss. Redis confirmed no write after it.
        """
        losses = []
        for key in list(self.keys.values()):
            if any(write.value is not None for write in tuple(key.writes)):
                losses.append(Write(None, begun, sure=True, lost=True))
                key.writes.append(losses[-1])

        def back() -> None:
            for loss in losses:
                loss.ended = time.monotonic()

        return back

    def flush(self, execute: Callable[[], object]) -> None:
        """Have Redis delete all data while nothing is written."""
        with self._lock:
            back = self.lose(time.monotonic())
            execute()
            back()


@dataclass(slots=True)
class Fault:
    """One fault that was made. Times are in monotonic seconds.

    Attributes:
        since: First moment at which the exporter may notice the fault.
        down_from: Moment from which on nodes surely had no chance to beat.
        down_until: Moment until which this surely lasted.
        until: Moment from which on the fault is surely over.
        loses: Whether Redis may have lost data that no node deleted: it is another run, or deleted all data.
        readable: Whether Redis can be read all the while.
    """

    since: float
    down_from: float = math.inf
    down_until: float = -math.inf
    until: float = math.inf
    loses: bool = False
    readable: bool = False

    def meets(self, since: float, until: float) -> bool:
        """Return whether it may have lasted at a moment of a span."""
        return self.since <= until and since <= self.until

    @property
    def extends(self) -> bool:
        """Whether nodes must get time to beat because of it. Refused writes show that themselves."""
        return self.loses or (not self.readable and self.down_until - self.down_from > UNREADABLE)


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
    """Calculates how much chance the nodes had to beat.

    Chance is time in which Redis could be read and took writes. A span that surely gave no chance is one that the
    exporter must know of. A span that possibly gave no chance is one that the exporter may take for a fault.

    Args:
        recorder: Knows when Redis refused writes.

    Attributes:
        faults: The faults of the last minutes, the latest last.
        slack: Seconds that the exporter may need to notice a change.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.faults = deque[Fault](maxlen=60)
        self.slack, self._recorder, self._late = USUAL_SLACK, recorder, deque[Span](maxlen=2000)

    def sleep(self, seconds: float) -> None:
        """Sleep, and take note of how late the machine wakes a thread; the exporter has several, with many steps."""
        before = time.monotonic()
        time.sleep(seconds)
        now = time.monotonic()
        self._late.append((now, now - before - seconds))
        self.slack = USUAL_SLACK + 3 * max(late for at, late in self._late if at > now - 15)

    def may_be_over(self, beat: Write, since: float, until: float) -> bool:
        """Return whether the chance of a node may have been over at any moment of a span.

        Without a fault since the node's last beat, its chance is over at its deadline. The exporter counts a beat
        from the moment at which it asked for it, so a slow reply makes the beat older.

        Args:
            beat: The last beat of the node that the exporter has seen.
            since: Begin of the span.
            until: End of the span.
        """
        sure = self.sure()
        for beaten in (beat.begun, beat.ended):
            faults = [(start, stop) for start, stop in sure if start < until and stop > beaten]
            moments = [(until, bool(faults))]  # and the last moment before each fault
            for start, _ in faults:
                if since <= start:
                    moments.append((start + 2 * TOLERANCE, any(first < start for first, _ in faults)))
            for moment, faulted in moments:
                chance = moment - beaten - covered(sure, beaten, moment) if faulted else math.inf
                if moment >= beaten + TTL - TOLERANCE and chance >= GRACE - TOLERANCE - self.slack:
                    return True
        return False

    def sure(self) -> list[Span]:
        """Return the spans in which nodes surely had no chance, and the exporter knows it."""
        spans = [(fault.down_from, fault.down_until) for fault in self.faults if fault.extends]
        blocked = [(start, stop) for start, stop in tuple(self._recorder.blocked) if stop - start > QUIET + PROBE]
        return [(start, stop) for start, stop in spans if start < stop] + blocked

    def possible(self) -> list[Span]:
        """Return the spans in which the exporter may think that nodes had no chance."""
        early = PROBE + self.slack
        spans = [(start - early, stop + QUIET + early) for start, stop in tuple(self._recorder.refusals)]
        for fault in self.faults:
            if fault.extends or fault.readable or fault.until - fault.since > UNREADABLE - early:
                # The exporter sees deleted data when it looks at a node that is gone: at its deadline at the latest.
                late = 0.0 if not fault.readable else TTL if fault.loses else QUIET
                spans.append((fault.since - early, fault.until + late + early))
        return spans

    def troubled(self, since: float, until: float) -> bool:
        """Return whether a fault may have lasted at a moment of a span."""
        spans = [*self.possible(), *((fault.since, fault.until) for fault in self.faults)]
        return any(start <= until and since <= stop for start, stop in spans)

    def unreadable(self, since: float, until: float) -> float:
        """Return for how many seconds of a span the exporter could not read Redis at most."""
        late = 2 * PROBE + self.slack
        return covered(((f.since - late, f.until + late) for f in self.faults if not f.readable), since, until)

    def refused(self, since: float) -> bool:
        """Return whether Redis may have refused a write since a moment."""
        return any(stop > since for _, stop in tuple(self._recorder.refusals))
