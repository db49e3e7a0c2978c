"""The one judge of who is alive: from what was read, and when, to a state for each node.

The rules are those of the platform's keys. A crash leaves the hash and lets the
heartbeat expire; a graceful stop deletes both; and a fault of Redis's can take
either from a node that is well, so it never by itself makes a node dead.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Final

from exporter.liveness.heartbeats import Heartbeats
from exporter.source.reading import NO_EXPIRY, Reading, Server

UNREADABLE_AFTER: Final = 5.0
"""Seconds without an answer after which beats may have been missed for Redis's sake."""
EXTEND_AGAIN_AFTER: Final = 300.0
"""Seconds after which one and the same deadline may be extended again."""
LOOK_AGAIN: Final = 0.02
"""Seconds after which a pair of keys is read once more that was never seen before and reads as crashed."""
REMEMBER_LOST: Final = 3600.0
"""Seconds for which a node is remembered that Redis lost the data of."""
NEVER: Final = float("-inf")


class State(StrEnum):
    """What a node is."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNDECIDED = "undecided"
    """It has no heartbeat, but Redis was at fault: nobody can say yet."""
    FORGOTTEN = "forgotten"
    """Offline for so long that it is only counted."""
    GONE = "gone"
    """It stopped gracefully, or was never there: nothing is exported."""
    UNSURE = "unsure"
    """Never seen before and reads as crashed: read it once more before saying so."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A state for each node of a reading.

    Attributes:
        states: In the order of the reading's names.
        odd: Positions of all nodes without a living heartbeat, in order.
    """

    states: Sequence[State]
    odd: Sequence[int]

    def unsure(self) -> list[int]:
        """Return the positions of nodes to look at once more."""
        return [position for position in self.odd if self.states[position] is State.UNSURE]

    def part(self, positions: range) -> "Verdicts":
        """Return the verdicts on some of the nodes, in a row."""
        first, end = bisect_left(self.odd, positions.start), bisect_left(self.odd, positions.stop)
        odd = [position - positions.start for position in self.odd[first:end]]
        return Verdicts(self.states[positions.start : positions.stop], odd)

    def amended(self, positions: Sequence[int], other: "Verdicts") -> "Verdicts":
        """Return these verdicts with those on some nodes taken from a second look at just them."""
        states = list(self.states)
        for position, state in zip(positions, other.states, strict=True):
            states[position] = state
        alive = {positions[i] for i in set(range(len(positions))).difference(other.odd)}
        return Verdicts(states, [position for position in self.odd if position not in alive])


Hit = Callable[[bytes], bool]
"""Whether a fault of Redis's hit a node: in a cluster it may have been one primary's."""


class Judge:
    """Knows each node's deadline, and what befell Redis since. Time is the readings'; it has no clock.

    Its state has one lock. Nothing is kept of a node that is gone.

    Args:
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.
        forget_after: Seconds after which an offline node is only counted; None for never.
    """

    def __init__(self, ttl: float, beat: float, forget_after: float | None = None) -> None:
        self._ttl, self._beat = ttl, beat
        self._grace = ttl + beat
        self._forget_after = forget_after
        self._lock = Lock()
        self._server: Server | None = None
        self._answered: float | None = None
        self._evicted = NEVER  # when Redis was last seen to have evicted keys
        self._faults: list[tuple[float, Hit]] = []  # of Redis: until when it lasted, and whom it hit; latest first
        self._heartbeats = Heartbeats()
        self._offline: dict[bytes, float] = {}  # since when
        self._extended: dict[bytes, float] = {}  # undecided nodes, and since when
        self._lost: dict[bytes, float] = {}  # not seen since Redis came back as another, and when that was

    def answered(self, server: Server, at: float) -> bool:
        """Note that Redis answered, and return whether that shows a fault: a long silence, or another server.

        Args:
            server: Who answered.
            at: Monotonic time of the answer.
        """
        with self._lock:
            return self._note(server, at)

    def judge(self, reading: Reading, *, sure: bool = False) -> Verdicts:
        """Return the state of each node read, and remember what the next judgement needs.

        Args:
            reading: What was read.
            sure: It is the second look at nodes that were ``UNSURE``.
        """
        with self._lock:
            self._note(reading.server, reading.at)
            return self._judge(reading, sure=sure)

    def keep(self, names: Collection[bytes]) -> None:
        """Forget all nodes but these, which are all that are known, and those that Redis lost the data of."""
        with self._lock:
            for name in self._known().difference(names, self._lost):
                self._drop(name)

    def awaited(self) -> Collection[bytes]:
        """Return nodes whose keys Redis lost: to be read although discovery does not find them."""
        with self._lock:
            return tuple(self._lost)

    def last_beat(self, name: bytes) -> bytes | None:
        """Return what a node wrote as its last heartbeat that was seen; None if none was."""
        with self._lock:
            heartbeat = self._heartbeats.get(name)
            return heartbeat and heartbeat.text

    def due(self, name: bytes) -> float | None:
        """Return when a node's state may change though it does nothing, in monotonic seconds.

        That is its deadline while it is online, the end of its extension while it
        is undecided, and None when it is offline or not known.
        """
        with self._lock:
            if name in self._offline:
                return None
            since = self._extended.get(name)
            return self._deadline(name) if since is None else since + self._grace

    def offline_since(self, name: bytes) -> tuple[float | None, float | None]:
        """Return since when a node is offline, None if it is not; and when its heartbeat ended, if that is what it is.

        A node may also be offline since it was first seen so, or since its time after a fault of Redis's was up.
        """
        with self._lock:
            since = self._offline.get(name)
            return since, since if since == self._end(name) else None

    def _note(self, server: Server, at: float) -> bool:
        before, answered = self._server, self._answered
        self._server, self._answered = server, max(at, answered or at)
        if before is None or answered is None:
            if server.restored and server.uptime < self._grace:
                self._fault(at - server.uptime, _everybody)
            return False
        if server.evicted > before.evicted:
            self._evicted = at
        another = server.run_id != before.run_id
        if at - answered > UNREADABLE_AFTER:
            self._fault(at, _everybody)
        elif another or server.role != before.role:
            self._fault(at, lambda name: _identities(before, name) != _identities(server, name))
        else:
            return False
        if another:
            for name in self._known():
                if _runs(before, name) != _runs(server, name):
                    self._lost.setdefault(name, at)
        return True

    def _fault(self, at: float, hit: Hit) -> None:
        """Remember a fault of Redis's for as long as nodes may want beats for its sake."""
        self._faults = [(at, hit), *((then, others) for then, others in self._faults if at < then + self._grace)]

    def _judge(self, reading: Reading, *, sure: bool) -> Verdicts:
        ttl_ms = reading.ttl_ms
        odd = [position for position, ttl in enumerate(ttl_ms) if ttl <= 0] if min(ttl_ms, default=1) <= 0 else []
        states = [State.ONLINE] * len(ttl_ms)
        self._heartbeats.note(reading, odd)
        if self._offline or self._extended or self._lost:
            living = set(reading.names).difference(reading.names[position] for position in odd)
            for memory in (self._offline, self._extended, self._lost):
                for name in living.intersection(memory):
                    del memory[name]
        for position in odd:
            states[position] = self._judge_without_beat(reading, position, sure=sure)
        return Verdicts(states, odd)

    def _judge_without_beat(self, reading: Reading, position: int, *, sure: bool) -> State:
        # As of when Redis was asked: what it answered may have waited long to be taken in.
        name, at = reading.names[position], reading.asked
        never_expires = reading.ttl_ms[position] == NO_EXPIRY
        if never_expires or position not in reading.without_hash:
            self._lost.pop(name, None)
        elif at - self._lost.get(name, NEVER) >= REMEMBER_LOST:
            self._drop(name)
            return State.GONE
        if name in self._offline:
            return self._offline_state(name, at)
        if never_expires:
            return self._declare_offline(name, at, since=at)
        if (extended := self._extended_until(name, at)) is not None:
            return State.UNDECIDED if at < extended else self._declare_offline(name, at, since=at)
        deadline = self._deadline(name)
        if deadline is None:
            return self._declare_offline(name, at, since=at) if sure else State.UNSURE
        return State.ONLINE if at < deadline else self._declare_offline(name, at, since=self._end(name))

    def _deadline(self, name: bytes) -> float | None:
        """Return when a node that does not beat is dead; None if it was never seen alive.

        What is known of its heartbeat is up to a TTL old: it may have been renewed
        since, and then evicted. If Redis evicted anything meanwhile, the node has
        one more beat to show itself.
        """
        end = self._end(name)
        if self._evicted > end - self._ttl:
            end += self._beat
        return None if end == NEVER else end

    def _end(self, name: bytes) -> float:
        """Return when a node's last heartbeat ended or will end; ``NEVER`` if none was seen."""
        heartbeat = self._heartbeats.get(name)
        return heartbeat.deadline if heartbeat else NEVER

    def _extended_until(self, name: bytes, at: float) -> float | None:
        """Return when a node without heartbeat will have had its chance after a fault of Redis's."""
        steady = next((until for until, hit in self._faults if at < until + self._grace and hit(name)), None)
        since = self._extended.get(name)
        if steady is not None and (since is None or steady - since >= EXTEND_AGAIN_AFTER):
            beaten_since = self._end(name) >= steady + self._ttl
            if not beaten_since:
                since = self._extended[name] = steady
        return None if since is None else since + self._grace

    def _declare_offline(self, name: bytes, at: float, *, since: float) -> State:
        self._offline[name] = since
        self._extended.pop(name, None)
        return self._offline_state(name, at)

    def _offline_state(self, name: bytes, at: float) -> State:
        limit = self._forget_after
        return State.FORGOTTEN if limit is not None and at - self._offline[name] > limit else State.OFFLINE

    def _known(self) -> set[bytes]:
        return self._heartbeats.names() | self._offline.keys() | self._extended.keys()

    def _drop(self, name: bytes) -> None:
        self._heartbeats.forget(name)
        for memory in (self._offline, self._extended, self._lost):
            memory.pop(name, None)


def _everybody(_: bytes) -> bool:
    return True


def _identities(server: Server, name: bytes) -> list[tuple[str, str]]:
    return [(holder.run_id, holder.role) for holder in server.holders(name)]


def _runs(server: Server, name: bytes) -> list[str]:
    return [holder.run_id for holder in server.holders(name)]
