"""The rules that decide which nodes are alive, in the order in which they apply.

1. A node with a heartbeat is online.
2. A node without heartbeat and hash is gone, unless Redis lost its data.
3. An offline node stays offline. After ``--nodes.forget-after`` it is forgotten: only counted.
4. A heartbeat that never expires proves no life: its node is dead with the second look.
5. A node that was never seen alive is dead after two reads without heartbeat, and its chance after the last fault.
6. A known node is dead at its deadline. After a fault since its last beat, it is dead when it had its chance.
7. A death is a single one, or part of a mass loss, or held back until that is clear.

The file is longer than others, so that the rules stand in one place and in their order.
"""

from collections.abc import Collection, Sequence
from typing import Final

from exporter.liveness.all_faults import Faults
from exporter.liveness.earlier_run import EarlierRun
from exporter.liveness.faults import LOSES_DATA, NEVER, Kind, chance
from exporter.liveness.forgetting import Forgetting
from exporter.liveness.heartbeats import Dropped, Heartbeat, Heartbeats
from exporter.liveness.mass_loss import MassLoss, Ruling, Thresholds, count_late
from exporter.liveness.states import Change, Missing, State, Verdicts
from exporter.source.reading import NO_EXPIRY, Reading, Server

LOOK_AGAIN: Final = 0.02
"""Seconds until the second read of a node that was never seen before and reads as crashed."""
REMEMBER_LOST: Final = 3600.0
"""Seconds for which a node is remembered after Redis lost its keys."""
FRESH: Final = 1.0
"""Seconds for which the number of late nodes is remembered."""
EVICTION_BEATS: Final = 1.5
"""Beats that a node has after its heartbeat's end where Redis evicts keys. A beat comes late by the node's own work."""


class Rules:
    """What is known of all nodes, and the rules that decide on them. Not thread-safe: the judge's lock guards it.

    Args:
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.
        forgetting: Decides which offline nodes are forgotten.
        thresholds: How many nodes must die together to be a mass loss.

    Attributes:
        faults: Redis's faults.
        mass_loss: The mass losses that last.
        heartbeats: The last living heartbeat of each node.
        missing: The records of the nodes without heartbeat.
        lost: When Redis lost a node's keys, for each node that was not seen since; in monotonic seconds.
        regained: When a node whose keys Redis had lost was seen again, in monotonic seconds.
        late: When late nodes were last counted, in monotonic seconds, and how many there were.
        earlier_run: The nodes that an earlier run of the exporter left offline.
        changes: Changes of nodes' states that ``take`` has not returned yet.
        dropped: Nodes that ``drop`` has forgotten and ``take`` has not returned yet.
    """

    def __init__(self, ttl: float, beat: float, forgetting: Forgetting, thresholds: Thresholds) -> None:
        self.faults = Faults(ttl, beat)
        self.mass_loss = MassLoss(ttl, beat, thresholds)
        self.heartbeats = Heartbeats()
        self.missing: dict[bytes, Missing] = {}
        self.lost: dict[bytes, float] = {}
        self.regained: dict[bytes, float] = {}
        self.late = NEVER, 0.0
        self.earlier_run = EarlierRun()
        self.changes: list[Change] = []
        self.dropped: dict[bytes, Dropped] = {}
        self._ttl, self._beat = ttl, beat
        self._grace = ttl + beat
        self.forgetting = forgetting

    def take(self) -> tuple[list[Change], dict[bytes, Dropped]]:
        """Return the changes of state, and the nodes that were forgotten, since the last call."""
        taken = self.changes, self.dropped
        self.changes, self.dropped = [], {}
        return taken

    def observe(self, server: Server, at: float) -> list[Kind]:
        """Record what Redis said about itself at ``at``, and return the faults that this is the first to show."""
        new = self.faults.observe(server, at)
        for kind, hit in new:
            if kind in LOSES_DATA:
                for name in self.known():
                    if hit(name):
                        self.lost.setdefault(name, at)
        return [kind for kind, _ in new]

    def judge(self, reading: Reading, of: int) -> Verdicts:
        """Return the state of each node in a reading that is a fair sample of ``of`` nodes."""
        ttl_ms = reading.ttl_ms
        without = [position for position, ttl in enumerate(ttl_ms) if ttl <= 0] if min(ttl_ms, default=1) <= 0 else []
        states = [State.ONLINE] * len(ttl_ms)  # rule 1
        self.heartbeats.update(reading, without)
        self.earlier_run.drop(self.heartbeats.arrived)
        self.faults.observe_beats(reading)
        present = self.faults.shows_present_data(reading)
        outdated = self._take_living(reading, without, present=present) if self.missing or self.lost else ()
        if outdated:
            without = sorted([*without, *(at for at, name in enumerate(reading.names) if name in outdated)])
        deaths = []
        for position in without:
            state = self._without_heartbeat(reading, position) if present else self._state_of(reading.names[position])
            if state is None:
                deaths.append(position)
            else:
                states[position] = state
        if deaths:
            self._declare(reading, deaths, of)
            for position in deaths:
                states[position] = self.missing[reading.names[position]].state or State.UNDECIDED
        return Verdicts(states, without)

    def _take_living(self, reading: Reading, without: Sequence[int], *, present: bool) -> Collection[bytes]:
        """Take the nodes of a reading that have a heartbeat for living; return those of which more is known by now.

        Readings overlap: a node may have been read without heartbeat after this reading was asked for.
        """
        living = set(reading.names).difference(reading.names[position] for position in without)
        for name in living.intersection(self.lost) if present else ():
            self.regain(name, reading.at)
        back = living.intersection(self.missing)
        outdated = {name for name in back if self.missing[name].first > reading.asked}
        for name in back - outdated:
            self.leave(name, State.ONLINE, reading.asked)
        return outdated

    def _state_of(self, name: bytes) -> State:
        """Return the state of a node of which a reading without its heartbeat shows nothing."""
        node = self.missing.get(name)
        return State.OFFLINE if node and node.state is State.OFFLINE else State.UNDECIDED

    def _seen_since(self, name: bytes, asked: float) -> bool:
        """Return whether keys of a node were seen after a reading was asked for: readings overlap."""
        heartbeat = self.heartbeats.get(name)
        return max(heartbeat.seen if heartbeat else NEVER, self.regained.get(name, NEVER)) > asked

    def regain(self, name: bytes, at: float) -> None:
        """Record that keys of a node were seen at ``at``: if Redis had lost them, they are not lost any longer."""
        if self.lost.pop(name, None) is not None:
            self.regained[name] = at

    def _without_heartbeat(self, reading: Reading, position: int) -> State | None:
        """Return the state of a node without heartbeat; None if it has just died."""
        # An answer shows the keys as they were when Redis was asked. It may have waited in a buffer since then.
        name, at = reading.names[position], reading.asked
        if position in reading.unread:
            return State.UNDECIDED
        if reading.ttl_ms[position] > 0:  # the heartbeat has ended since: see _take_living
            return self.missing[name].state or State.UNDECIDED
        never_expires = reading.ttl_ms[position] == NO_EXPIRY
        if never_expires or position not in reading.without_hash:
            self.regain(name, reading.at)
        elif name not in self.lost or at - self.lost[name] >= REMEMBER_LOST:  # rule 2
            if self._seen_since(name, at):
                return self._state_of(name)
            self.leave(name, State.GONE, at)
            self.drop(name)
            return State.GONE
        node = self.missing.get(name) or self._first_missed(name, at)
        if not node.offline:
            # rule 4. A key that changed its type between two commands of one read may look like such a heartbeat.
            endless = never_expires and _seen_twice(node, at)
            state = None if endless else self._state_before_death(name, node, at)
            if state and node.died is not None:
                node.died = None  # the death was held back, and now a fault excuses the missing heartbeat
                self.mass_loss.leave(name)
            return state and self._set(name, node, state, at)
        return self._set_offline(name, node, at)  # rule 3

    def _first_missed(self, name: bytes, at: float) -> Missing:
        """Return the record of a node that is read without heartbeat for the first time.

        Its chance counts from its last beat that was seen. But if nobody read it between the end of
        that heartbeat and a later fault, it may have beaten until the fault: its chance counts from there.
        """
        end, faults = self._end(name), self.faults.of(name)
        if end == NEVER and (known := self.earlier_run.take(name, at)):
            node, member = known
            if member:
                self.mass_loss.restore(name, node.died or at)
        elif end == NEVER:
            node = Missing(at, max((fault.start for fault in faults), default=None), None)
        else:
            unseen = [fault.start for fault in faults if chance(faults, end, fault.start) > 0]
            node = Missing(at, max([end - self._ttl, *unseen]), State.ONLINE)
        self.missing[name] = node
        return node

    def _state_before_death(self, name: bytes, node: Missing, at: float) -> State | None:
        """Return the state of a node without heartbeat that is not dead yet; None means that it is dead now."""
        faults, end, since = self.faults.of(name), self._end(name), node.since
        if end == NEVER:  # rule 5
            excused = since is not None and chance(faults, since, at) < self._grace
            return None if _seen_twice(node, at) and not excused else State.UNDECIDED
        # rule 6
        if since is not None and (since > end - self._ttl or any(fault.end > since for fault in faults)):
            return None if chance(faults, since, at) >= self._grace else State.UNDECIDED
        deadline = self.deadline(name)
        return node.state if deadline is not None and at < deadline else None

    def may_die(self, name: bytes, at: float) -> bool:
        """Return whether a node without heartbeat may be declared dead at ``at``."""
        node = self.missing.get(name)
        if node and node.state is not State.ONLINE:
            return not node.offline and node.died is not None
        deadline = self.deadline(name)
        return deadline is not None and at >= deadline

    def _declare(self, reading: Reading, deaths: Sequence[int], of: int) -> None:
        """Declare nodes dead, each as a single death or as part of a mass loss, or hold their deaths back."""
        at = reading.asked
        dead: dict[bytes, float] = {}
        for position in deaths:
            name = reading.names[position]
            node, end = self.missing[name], self._end(name)
            if node.died is None:
                # A heartbeat that ended long before this read may have been renewed in between.
                node.ended = node.state is State.ONLINE and at - self._ttl <= end <= at
                node.died = end if node.ended else at
            if end == NEVER:
                self._set_offline(name, node, at)
            else:
                dead[name] = node.died
        if not dead:
            return
        alive = len(self.heartbeats) - sum(
            node.offline and name in self.heartbeats for name, node in self.missing.items()
        )
        late = self._late_now(reading, of)
        # rule 7
        for name, ruling in self.mass_loss.rule(dead, at, alive=alive, late=late).items():
            if ruling is Ruling.HELD:
                self._set(name, self.missing[name], State.UNDECIDED, at)
            else:
                self._set_offline(name, self.missing[name], at)

    def _late_now(self, reading: Reading, of: int) -> float:
        """Return how many living nodes are expected to die within a beat."""
        at = reading.asked
        seen, late = self.late
        count = count_late(reading, of, self._ttl)
        if at - seen <= FRESH:
            count = max(count, late)
        for name, node in self.missing.items():
            if node.state is State.UNDECIDED and node.since is not None and name not in self.mass_loss.held:
                count += chance(self.faults.of(name), node.since, at) >= self._ttl
        return count

    def deadline(self, name: bytes) -> float | None:
        """Return when a node that does not beat is dead, in monotonic seconds; None if it was never seen alive.

        A heartbeat may have been renewed since it was seen, and evicted afterwards. So if Redis
        has evicted keys since then, the node gets the time of one more beat.
        """
        return self.deadline_of(self.heartbeats.get(name), self.faults.evicted_at(name))

    def deadline_of(self, heartbeat: Heartbeat | None, evicted_at: float) -> float | None:
        """Return the deadline of a node, given its last heartbeat and when its Redis last showed new evictions."""
        if heartbeat is None:
            return None
        end = min(heartbeat.deadline, heartbeat.seen + self._ttl)
        return end + EVICTION_BEATS * self._beat if evicted_at > end - self._ttl else end

    def due(self, name: bytes) -> float | None:
        """Return when to read an online node next, in monotonic seconds; None if it is not online or unknown.

        It is read when its heartbeat should end, even if it is dead only later. From then on every
        probe reads it, so that a beat is seen although the heartbeat is evicted again.
        """
        node = self.missing.get(name)
        if node is None:
            return None if (end := self._end(name)) == NEVER else end
        return self.deadline(name) if node.state is State.ONLINE else None

    def _end(self, name: bytes) -> float:
        """Return when a node's last heartbeat ended or will end, in monotonic seconds; ``NEVER`` if it had none.

        The end is at most a TTL after the read that saw the heartbeat: one that lives longer is read again before.
        """
        heartbeat = self.heartbeats.get(name)
        return min(heartbeat.deadline, heartbeat.seen + self._ttl) if heartbeat else NEVER

    def _set_offline(self, name: bytes, node: Missing, at: float) -> State:
        node.offline = True
        forgotten = node.state is State.FORGOTTEN
        if node.died is None or not self.forgetting.forgets(
            name, at - node.died, forgotten=forgotten, remembered=node.remembered
        ):
            return self._set(name, node, State.OFFLINE, at)
        self.mass_loss.leave(name)
        return self._set(name, node, State.FORGOTTEN, at)

    def _set(self, name: bytes, node: Missing, state: State, at: float) -> State:
        if node.state is not state:
            self.changes.append(Change(name, node.state, state, at))
            node.state = state
        return state

    def leave(self, name: bytes, state: State, at: float) -> None:
        """Drop the record of a node that beats again, or is gone."""
        if node := self.missing.pop(name, None):
            self.mass_loss.leave(name)
            self._set(name, node, state, at)

    def known(self) -> set[bytes]:
        """Return all nodes of which this object remembers anything."""
        return self.heartbeats.names() | self.missing.keys()

    def drop(self, name: bytes) -> None:
        """Forget all about a node."""
        node, heartbeat = self.missing.pop(name, None), self.heartbeats.get(name)
        if node or heartbeat:
            self.dropped[name] = Dropped(node.state if node else State.ONLINE, heartbeat)
        self.heartbeats.forget(name)
        self.mass_loss.leave(name)
        self.lost.pop(name, None)
        self.regained.pop(name, None)


def _seen_twice(node: Missing, at: float) -> bool:
    """Return whether a node without heartbeat was read some time before ``at``."""
    return at - node.first >= LOOK_AGAIN
