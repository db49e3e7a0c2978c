"""The one judge of which nodes are alive: from what was read, and when, to a state for each node.

The rules are those of the platform's keys. A crash leaves the hash and lets the
heartbeat expire; a graceful stop deletes both; and a fault of Redis can take either
from a living node, so it never makes a node dead by itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Final

from exporter.liveness.all_faults import Faults
from exporter.liveness.faults import LOSES_DATA, NEVER, Kind, chance
from exporter.liveness.heartbeats import Heartbeats
from exporter.liveness.mass_loss import MassLoss, Ruling, Thresholds
from exporter.source.reading import NO_EXPIRY, Reading, Server

LOOK_AGAIN: Final = 0.02
"""Seconds after which a pair of keys is read once more that was never seen before and reads as crashed."""
REMEMBER_LOST: Final = 3600.0
"""Seconds for which a node is remembered that Redis lost the data of."""
LATE: Final = 0.4
"""Share of a TTL: a heartbeat with less left has missed two beats, and its node is likely to die."""
FRESH: Final = 1.0
"""Seconds for which it is remembered how many nodes were late."""


class State(StrEnum):
    """What a node is."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNDECIDED = "undecided"
    """It has no heartbeat, and it cannot be said yet that it is dead."""
    FORGOTTEN = "forgotten"
    """Offline for so long that it is only counted."""
    GONE = "gone"
    """It stopped gracefully, or was never there: nothing is exported."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A state for each node of a reading.

    Attributes:
        states: In the order of the reading's names.
        odd: Positions of all nodes without a living heartbeat, in order.
    """

    states: Sequence[State]
    odd: Sequence[int]


@dataclass(frozen=True, slots=True)
class Change:
    """A node's state became another one.

    Attributes:
        name: The node.
        before: Its state until then; None if it was not known.
        after: Its state since.
        at: Monotonic time of the look that showed it.
    """

    name: bytes
    before: State | None
    after: State
    at: float


@dataclass(slots=True)
class Missing:
    """A node without heartbeat.

    Attributes:
        first: The first look that showed it so, in monotonic seconds.
        since: From when on its chance to beat counts; None if it was never seen alive and no fault is known.
        state: Its state at the last look; None for a node that was never seen before.
        died: When it died: the end of its heartbeat, or when its chance was over; None while it may be alive.
        ended: Whether that is the end of its heartbeat.
        offline: Whether its death was declared, and not held back.
        looked: The last look at it.
    """

    first: float
    since: float | None
    state: State | None
    died: float | None = None
    ended: bool = False
    offline: bool = False
    looked: float = NEVER


Told = Callable[[Sequence[Change]], None]
"""Called with the changes of one judgement, in the thread that judged, when the judge is free again."""


class Judge:
    """Knows each node's last heartbeat and Redis's faults since. It has no clock: time comes with the readings.

    Its state has one lock. Nothing is kept of a node that is gone.

    Args:
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.
        forget_after: Seconds after which an offline node is only counted; None for never.
        thresholds: How many nodes must die together to be a mass loss.
    """

    def __init__(
        self, ttl: float, beat: float, forget_after: float | None = None, thresholds: Thresholds | None = None
    ) -> None:
        self._ttl, self._beat = ttl, beat
        self._grace = ttl + beat
        self._forget_after = forget_after
        self._lock = Lock()
        self._told: list[Told] = []
        self._told_of_faults: list[Callable[[Kind], None]] = []
        self._changes: list[Change] = []
        self._faults = Faults(ttl, beat)
        self._mass_loss = MassLoss(ttl, beat, thresholds or Thresholds())
        self._heartbeats = Heartbeats()
        self._missing: dict[bytes, Missing] = {}
        self._lost: dict[bytes, float] = {}  # nodes whose keys Redis lost, and when; not seen since
        self._late = NEVER, 0.0  # when nodes were last looked at to see how many are late, and how many were

    def tell(self, told: Told) -> None:
        """Have ``told`` called with every change of a node's state from now on."""
        self._told.append(told)

    def tell_of_faults(self, told: Callable[[Kind], None]) -> None:
        """Have ``told`` called with every fault of Redis that a look is the first to show."""
        self._told_of_faults.append(told)

    # --- what the judge is told ----------------------------------------------------------

    def answered(self, server: Server, at: float) -> list[Kind]:
        """Take note of what Redis said of itself, and return the faults that this shows.

        Args:
            server: What Redis said.
            at: Monotonic time of the answer.
        """
        with self._lock:
            faults = self._note(server, at)
        self._tell((), faults)
        return faults

    def judge(self, reading: Reading, *, of: int | None = None) -> Verdicts:
        """Return the state of each node read, and remember what the next judgement needs.

        Args:
            reading: What was read.
            of: How many nodes there are, where the reading is only a part of them; it is taken for a fair sample.
        """
        with self._lock:
            faults = self._note(reading.server, reading.at)
            verdicts = self._judge(reading, of or len(reading.names))
            changes, self._changes = self._changes, []
        self._tell(changes, faults)
        return verdicts

    def may_die(self, reading: Reading) -> bool:
        """Return whether nodes of this reading may be declared dead, so that it matters how many others are late."""
        with self._lock:
            return any(
                ms <= 0 and self._may_die(name, reading.asked)
                for name, ms in zip(reading.names, reading.ttl_ms, strict=True)
            )

    def look_for_late(self, reading: Reading, of: int) -> Verdicts:
        """Judge nodes that were read to see how many are late, since another one has died.

        Args:
            reading: The nodes whose heartbeats were known to end next, as they are now.
            of: How many such nodes there are.
        """
        with self._lock:
            self._late = reading.at, self._count_late(reading, of)
        return self.judge(reading)

    def found(self, names: Collection[bytes], since: float) -> None:
        """Take note that keys of these nodes are in Redis.

        Args:
            names: The nodes.
            since: Monotonic time at which the search for them began.
        """
        with self._lock:
            for name in [name for name, lost in self._lost.items() if lost < since and name in names]:
                del self._lost[name]

    def keep(self, names: Collection[bytes]) -> None:
        """Forget all nodes but these, which are all that are known, and those that Redis lost the data of."""
        with self._lock:
            for name in self._known().difference(names, self._lost):
                self._drop(name)

    # --- what the judge is asked ---------------------------------------------------------

    def awaited(self, now: float) -> Collection[bytes]:
        """Return nodes whose keys Redis lost: to be read although discovery does not find them."""
        with self._lock:
            for name in [name for name, lost in self._lost.items() if now - lost >= REMEMBER_LOST]:
                self._leave(name, State.GONE, now)
                self._drop(name)
            changes, self._changes = self._changes, []
            awaited = tuple(self._lost)
        self._tell(changes, ())
        return awaited

    def undecided(self) -> list[bytes]:
        """Return the nodes whose next look may decide: those without heartbeat that are not offline.

        A node whose heartbeat vanished before its time is among them, so that its next beat is seen.
        """
        with self._lock:
            return [name for name, node in self._missing.items() if not node.offline]

    def ending_soon(self, now: float) -> list[bytes]:
        """Return the nodes that die within a beat, as far as is known, unless they have beaten since."""
        with self._lock:
            return self._heartbeats.ending(now, now + self._beat)

    def offline(self) -> Mapping[bytes, Missing]:
        """Return the offline nodes."""
        with self._lock:
            return {name: node for name, node in self._missing.items() if node.state is State.OFFLINE}

    def members(self) -> Collection[bytes]:
        """Return the nodes that are lost in a mass loss."""
        with self._lock:
            return self._mass_loss.members

    def mass_loss_since(self) -> float | None:
        """Return when the first heartbeat of the mass losses that last ended; None without any."""
        with self._lock:
            return min((loss.first for loss in self._mass_loss.losses), default=None)

    def writes_refused_since(self) -> float | None:
        """Return since when Redis is taken to refuse writes, in monotonic seconds; None while it takes them."""
        with self._lock:
            return self._faults.writes_refused_since

    @property
    def server(self) -> Server | None:
        """What Redis said of itself at the last look; None before the first."""
        return self._faults.server

    def last_beat(self, name: bytes) -> bytes | None:
        """Return what a node wrote as its last heartbeat that was seen; None if none was."""
        with self._lock:
            heartbeat = self._heartbeats.get(name)
            return heartbeat and heartbeat.text

    def due(self, name: bytes) -> float | None:
        """Return when a node is to be looked at, in monotonic seconds.

        That is its deadline while it is online; None while it is offline, undecided or not known.
        """
        with self._lock:
            node = self._missing.get(name)
            return self._deadline(name) if node is None or node.state is State.ONLINE else None

    def offline_since(self, name: bytes) -> tuple[float | None, float | None]:
        """Return since when a node is offline, None if it is not; and when its heartbeat ended, if that is what it is.

        A node may also be offline since it was first seen so, or since its time after a fault of Redis was up.
        """
        with self._lock:
            node = self._missing.get(name)
            since = node.died if node and node.offline else None
            return since, since if node and node.ended else None

    # --- the rules -----------------------------------------------------------------------

    def _note(self, server: Server, at: float) -> list[Kind]:
        new = self._faults.note(server, at)
        for kind, hit in new:
            if kind in LOSES_DATA:
                for name in self._known():
                    if hit(name):
                        self._lost.setdefault(name, at)
        return [kind for kind, _ in new]

    def _judge(self, reading: Reading, of: int) -> Verdicts:
        ttl_ms = reading.ttl_ms
        odd = [position for position, ttl in enumerate(ttl_ms) if ttl <= 0] if min(ttl_ms, default=1) <= 0 else []
        states = [State.ONLINE] * len(ttl_ms)
        self._heartbeats.note(reading, odd)
        if self._faults.writes_refused_since is not None:
            self._note_renewed(reading)
        if self._missing or self._lost:
            living = set(reading.names).difference(reading.names[position] for position in odd)
            for name in living.intersection(self._lost):
                del self._lost[name]
            for name in living.intersection(self._missing):
                self._leave(name, State.ONLINE, reading.asked)
        deaths = []
        for position in odd:
            state = self._without_heartbeat(reading, position)
            if state is None:
                deaths.append(position)
            else:
                states[position] = state
        if deaths:
            self._declare(reading, deaths, of)
            for position in deaths:
                states[position] = self._missing[reading.names[position]].state or State.UNDECIDED
        return Verdicts(states, odd)

    def _without_heartbeat(self, reading: Reading, position: int) -> State | None:
        """Return the state of a node without heartbeat; None if it has just died."""
        # As of when Redis was asked: its answer may have waited for long.
        name, at = reading.names[position], reading.asked
        if position in reading.unread:
            return State.UNDECIDED
        never_expires = reading.ttl_ms[position] == NO_EXPIRY
        if never_expires or position not in reading.without_hash:
            self._lost.pop(name, None)
        elif name not in self._lost or at - self._lost[name] >= REMEMBER_LOST:
            self._leave(name, State.GONE, at)
            self._drop(name)
            return State.GONE
        node = self._missing.get(name) or self._first_missed(name, at)
        if not node.offline:
            state = None if never_expires else self._waits(name, node, at)
            if state and node.died is not None:
                node.died = None  # its death was held back, and now a fault excuses it
                self._mass_loss.leave(name)
            return state and self._set(name, node, state, at)
        return self._set_offline(name, node, at)

    def _first_missed(self, name: bytes, at: float) -> Missing:
        """Return the record of a node that is seen without heartbeat for the first time.

        Its chance counts from its last beat that was seen. But if nobody looked when that
        heartbeat ended, and a fault began later, it may have beaten until the fault.
        """
        end, faults = self._end(name), self._faults.of(name)
        if end == NEVER:
            node = Missing(at, max((fault.start for fault in faults), default=None), None)
        else:
            unseen = [fault.start for fault in faults if chance(faults, end, fault.start) > 0]
            node = Missing(at, max([end - self._ttl, *unseen]), State.ONLINE)
        self._missing[name] = node
        return node

    def _waits(self, name: bytes, node: Missing, at: float) -> State | None:
        """Return the state of a node that is not dead yet; None if it is."""
        faults = self._faults.of(name)
        end = self._end(name)
        if end == NEVER:
            seen_twice = at - node.first >= LOOK_AGAIN
            excused = node.since is not None and chance(faults, node.since, at) < self._grace
            return None if seen_twice and not excused else State.UNDECIDED
        excused = node.since is not None and (
            node.since > end - self._ttl or any(fault.end > node.since for fault in faults)
        )
        if node.since is not None and excused:
            return None if chance(faults, node.since, at) >= self._grace else State.UNDECIDED
        deadline = self._deadline(name)
        return node.state if deadline is not None and at < deadline else None

    def _may_die(self, name: bytes, at: float) -> bool:
        node = self._missing.get(name)
        if node and node.state is not State.ONLINE:
            return not node.offline and node.died is not None
        deadline = self._deadline(name)
        return deadline is not None and at >= deadline

    def _declare(self, reading: Reading, deaths: Sequence[int], of: int) -> None:
        """Declare nodes dead, each by itself or as part of a mass loss; or wait until that is clear."""
        at = reading.asked
        dead: dict[bytes, float] = {}
        for position in deaths:
            name = reading.names[position]
            node, end = self._missing[name], self._end(name)
            if node.died is None:
                # A heartbeat that ended long before anybody looked may have been renewed in between.
                node.ended = node.state is State.ONLINE and at - self._ttl <= end <= at
                node.died = end if node.ended else at
            if end == NEVER:
                self._set_offline(name, node, at)
            else:
                dead[name] = node.died
        if not dead:
            return
        alive = len(self._heartbeats) - sum(
            node.offline and name in self._heartbeats for name, node in self._missing.items()
        )
        late = self._late_now(reading, of)
        for name, ruling in self._mass_loss.rule(dead, at, alive=alive, late=late).items():
            if ruling is Ruling.HELD:
                self._set(name, self._missing[name], State.UNDECIDED, at)
            else:
                self._set_offline(name, self._missing[name], at)

    def _late_now(self, reading: Reading, of: int) -> float:
        """Return how many living nodes are likely to die within a beat."""
        at = reading.asked
        seen, late = self._late
        count = self._count_late(reading, of)
        if at - seen <= FRESH:
            count = max(count, late)
        for name, node in self._missing.items():
            if node.state is State.UNDECIDED and node.since is not None and name not in self._mass_loss.held:
                count += chance(self._faults.of(name), node.since, at) >= self._ttl
        return count

    def _count_late(self, reading: Reading, of: int) -> float:
        least = LATE * self._ttl * 1000
        return sum(0 < ms < least for ms in reading.ttl_ms) * of / max(1, len(reading.ttl_ms))

    def _note_renewed(self, reading: Reading) -> None:
        """Tell the faults of the latest beats: a beat shows that Redis takes writes."""
        for name, ms in zip(reading.names, reading.ttl_ms, strict=True):
            if ms > 0:
                self._faults.renewed(name, reading.asked - self._ttl + min(ms / 1000, self._ttl))

    def _deadline(self, name: bytes) -> float | None:
        """Return when a node that does not beat is dead; None if it was never seen alive.

        What is known of its heartbeat is up to a TTL old: it may have been renewed
        since, and then evicted. If Redis evicted anything meanwhile, the node has
        one more beat to show itself.
        """
        end = self._end(name)
        if self._faults.evicted_at(name) > end - self._ttl:
            end += self._beat
        return None if end == NEVER else end

    def _end(self, name: bytes) -> float:
        """Return when a node's last heartbeat ended or will end; ``NEVER`` if none was seen.

        One that lives for longer than it should is seen again before it ends.
        """
        heartbeat = self._heartbeats.get(name)
        return min(heartbeat.deadline, heartbeat.seen + self._ttl) if heartbeat else NEVER

    def _set_offline(self, name: bytes, node: Missing, at: float) -> State:
        node.offline = True
        if self._forget_after is None or node.died is None or at - node.died <= self._forget_after:
            return self._set(name, node, State.OFFLINE, at)
        self._mass_loss.leave(name)
        return self._set(name, node, State.FORGOTTEN, at)

    def _set(self, name: bytes, node: Missing, state: State, at: float) -> State:
        if node.state is not state:
            self._changes.append(Change(name, node.state, state, at))
            node.state = state
        node.looked = max(node.looked, at)
        return state

    def _leave(self, name: bytes, state: State, at: float) -> None:
        """Drop the record of a node that beats again, or is gone."""
        if node := self._missing.pop(name, None):
            self._mass_loss.leave(name)
            self._set(name, node, state, at)

    def _known(self) -> set[bytes]:
        return self._heartbeats.names() | self._missing.keys()

    def _drop(self, name: bytes) -> None:
        self._heartbeats.forget(name)
        self._mass_loss.leave(name)
        self._missing.pop(name, None)
        self._lost.pop(name, None)

    def _tell(self, changes: Sequence[Change], faults: Sequence[Kind]) -> None:
        for told in self._told if changes else ():
            told(changes)
        for told_of in self._told_of_faults:
            for fault in faults:
                told_of(fault)
