"""The one judge of which nodes are alive, shared by scrapes, the page, the table and the push.

The judge keeps the lock, and tells of changes. The rules themselves are in ``rules``:
a crash leaves the hash and lets the heartbeat expire; a graceful stop deletes both; and
a fault of Redis can take either from a living node, so it never makes a node dead.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock

from exporter.liveness.faults import Kind
from exporter.liveness.mass_loss import Thresholds
from exporter.liveness.rules import LOOK_AGAIN, REMEMBER_LOST, Rules
from exporter.liveness.states import Change, Missing, State, Verdicts
from exporter.source.reading import Reading, Server

__all__ = ["LOOK_AGAIN", "REMEMBER_LOST", "Change", "Judge", "Missing", "State", "Verdicts"]

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
        self._rules = Rules(ttl, beat, forget_after, thresholds or Thresholds())
        self._beat = beat
        self._lock = Lock()
        self._told: list[Told] = []
        self._told_of_faults: list[Callable[[Kind], None]] = []

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
            faults = self._rules.note(server, at)
        self._tell((), faults)
        return faults

    def judge(self, reading: Reading, *, of: int | None = None) -> Verdicts:
        """Return the state of each node read, and remember what the next judgement needs.

        Args:
            reading: What was read.
            of: How many nodes there are, where the reading is only a part of them; it is taken for a fair sample.
        """
        with self._lock:
            faults = self._rules.note(reading.server, reading.at)
            verdicts = self._rules.judge(reading, of or len(reading.names))
            changes = self._rules.take_changes()
        self._tell(changes, faults)
        return verdicts

    def may_die(self, reading: Reading) -> bool:
        """Return whether nodes of this reading may be declared dead, so that it matters how many others are late."""
        with self._lock:
            return any(
                ms <= 0 and self._rules.may_die(name, reading.asked)
                for name, ms in zip(reading.names, reading.ttl_ms, strict=True)
            )

    def look_for_late(self, reading: Reading, of: int) -> Verdicts:
        """Judge nodes that were read to see how many are late, since another one has died.

        Args:
            reading: The nodes whose heartbeats were known to end next, as they are now.
            of: How many such nodes there are.
        """
        with self._lock:
            self._rules.late = reading.at, self._rules.count_late(reading, of)
        return self.judge(reading)

    def found(self, names: Collection[bytes], since: float) -> None:
        """Take note that keys of these nodes are in Redis.

        Args:
            names: The nodes.
            since: Monotonic time at which the search for them began.
        """
        with self._lock:
            for name in [name for name, lost in self._rules.lost.items() if lost < since and name in names]:
                del self._rules.lost[name]

    def keep(self, names: Collection[bytes]) -> None:
        """Forget all nodes except these, which discovery knows, and the nodes whose keys Redis lost."""
        with self._lock:
            for name in self._rules.known().difference(names, self._rules.lost):
                self._rules.drop(name)

    # --- what the judge is asked ---------------------------------------------------------

    def awaited(self, now: float) -> Collection[bytes]:
        """Return nodes whose keys Redis lost: to be read although discovery does not find them."""
        with self._lock:
            for name in [name for name, lost in self._rules.lost.items() if now - lost >= REMEMBER_LOST]:
                self._rules.leave(name, State.GONE, now)
                self._rules.drop(name)
            changes = self._rules.take_changes()
            awaited = tuple(self._rules.lost)
        self._tell(changes, ())
        return awaited

    def undecided(self) -> list[bytes]:
        """Return the nodes whose next look may decide: those without heartbeat that are not offline.

        A node whose heartbeat vanished before its time is among them, so that its next beat is seen.
        """
        with self._lock:
            return [name for name, node in self._rules.missing.items() if not node.offline]

    def ending_soon(self, now: float) -> list[bytes]:
        """Return the nodes that die within a beat, as far as is known, unless they have beaten since."""
        with self._lock:
            return self._rules.heartbeats.ending(now, now + self._beat)

    def offline(self) -> Mapping[bytes, Missing]:
        """Return the offline nodes."""
        with self._lock:
            return {name: node for name, node in self._rules.missing.items() if node.state is State.OFFLINE}

    def members(self) -> Collection[bytes]:
        """Return the nodes that are lost in a mass loss."""
        with self._lock:
            return self._rules.mass_loss.members

    def mass_loss_since(self) -> float | None:
        """Return when the first heartbeat of the mass losses that last ended; None without any."""
        with self._lock:
            return min((loss.first for loss in self._rules.mass_loss.losses), default=None)

    def writes_refused_since(self) -> float | None:
        """Return since when Redis is taken to refuse writes, in monotonic seconds; None while it takes them."""
        with self._lock:
            return self._rules.faults.writes_refused_since

    @property
    def server(self) -> Server | None:
        """What Redis said of itself at the last look; None before the first."""
        return self._rules.faults.server

    def last_beat(self, name: bytes) -> bytes | None:
        """Return what a node wrote as its last heartbeat that was seen; None if none was."""
        with self._lock:
            heartbeat = self._rules.heartbeats.get(name)
            return heartbeat and heartbeat.text

    def due(self, name: bytes) -> float | None:
        """Return when a node is to be looked at, in monotonic seconds.

        That is its deadline while it is online; None while it is offline, undecided or not known.
        """
        with self._lock:
            node = self._rules.missing.get(name)
            return self._rules.deadline(name) if node is None or node.state is State.ONLINE else None

    def offline_since(self, name: bytes) -> tuple[float | None, float | None]:
        """Return since when a node is offline, None if it is not; and when its heartbeat ended, if that is what it is.

        A node may also be offline since it was first seen so, or since its time after a fault of Redis was up.
        """
        with self._lock:
            node = self._rules.missing.get(name)
            since = node.died if node and node.offline else None
            return since, since if node and node.ended else None

    def _tell(self, changes: Sequence[Change], faults: Sequence[Kind]) -> None:
        for told in self._told if changes else ():
            told(changes)
        for told_of in self._told_of_faults:
            for fault in faults:
                told_of(fault)
