"""The one judge of which nodes are alive, shared by scrapes, the page, the table and the push.

The judge holds the lock. The rules themselves are in ``rules``, and the listeners in ``announcer``.
A crash leaves the hash, and the heartbeat expires. A graceful stop deletes both keys. A fault of
Redis can take either key from a living node, so a fault alone never makes a node dead.
"""

from collections.abc import Collection, Mapping, Sequence
from threading import Lock

from exporter.liveness.announcer import Announcer
from exporter.liveness.doubts import Doubt, doubt_of
from exporter.liveness.earlier_run import WasOffline
from exporter.liveness.evidence import Finding, Judgement, Why, findings
from exporter.liveness.faults import NEVER, Kind
from exporter.liveness.forgetting import Forgetting, Leftovers
from exporter.liveness.mass_loss import Thresholds, count_late
from exporter.liveness.rules import LOOK_AGAIN, REMEMBER_LOST, Rules
from exporter.liveness.states import Change, Missing, State, Verdicts
from exporter.source.reading import Reading, Server

__all__ = ["LOOK_AGAIN", "REMEMBER_LOST", "Change", "Judge", "Missing", "State", "Verdicts"]


class Judge(Announcer):
    """Decides each node's state by its last heartbeat and by Redis's faults since then.

    The judge has no clock: each reading carries its time. One lock guards the judge's state.
    The judge forgets a node that is gone.

    Args:
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.
        forget_after: Seconds after which an offline node is only counted; None counts and exports it without limit.
        thresholds: How many nodes must die together to be a mass loss.
        forget_rehomed_after: Seconds after which an offline node is only counted whose work has moved; None for never.

    Attributes:
        ttl: Seconds that a heartbeat lives.
    """

    def __init__(
        self,
        ttl: float,
        beat: float,
        forget_after: float | None = None,
        thresholds: Thresholds | None = None,
        *,
        forget_rehomed_after: float | None = None,
    ) -> None:
        super().__init__()
        self._rules = Rules(ttl, beat, Forgetting(forget_after, forget_rehomed_after), thresholds or Thresholds())
        self.ttl, self._beat = ttl, beat
        self._lock = Lock()

    def observe(self, server: Server, at: float) -> list[Kind]:
        """Record what Redis said about itself, and return the faults that this answer is the first to show.

        Args:
            server: What Redis said.
            at: Monotonic time of the answer.
        """
        with self._lock:
            faults = self._rules.observe(server, at)
        self._notify((), (), faults)
        return faults

    def ask(self, at: float) -> None:
        """Record that Redis is asked at ``at`` (monotonic seconds): a first answer long after that shows a silence."""
        with self._lock:
            self._rules.faults.ask(at)

    def judge(self, reading: Reading, *, of: int | None = None) -> Verdicts:
        """Return the state of each node in a reading, and remember what the next judgement needs.

        Args:
            reading: What was read.
            of: Number of nodes in the fleet, if the reading holds only some of them. The reading counts as a
                fair sample of the fleet. None if it holds all nodes.
        """
        with self._lock:
            faults = self._rules.observe(reading.server, reading.at)
            verdicts = self._rules.judge(reading, of or len(reading.names))
            changes, found = self._take(reading.asked, self._rules.heartbeats.arrived, reading)
        self._notify(changes, found, faults)
        return verdicts

    def may_die(self, reading: Reading) -> bool:
        """Return whether a node of this reading may be declared dead now.

        If so, the number of other nodes that are late matters: see ``look_for_late``.
        """
        with self._lock:
            return any(
                ms <= 0 and position not in reading.unread and self._rules.may_die(name, reading.asked)
                for position, (name, ms) in enumerate(zip(reading.names, reading.ttl_ms, strict=True))
            )

    def look_for_late(self, reading: Reading, of: int) -> Verdicts:
        """Count the late nodes in a reading, and judge its nodes. The caller does so when another node may be dead.

        Args:
            reading: The nodes whose heartbeats will end next, as far as the judge knew.
            of: Number of such nodes; the reading may hold only some of them.
        """
        with self._lock:
            self._rules.late = reading.at, count_late(reading, of, self.ttl)
        return self.judge(reading)

    def remember(self, nodes: Mapping[str, WasOffline]) -> None:
        """Record which nodes an earlier run of the exporter left offline, by their ids as text."""
        with self._lock:
            self._rules.earlier_run.remember(nodes)

    def found(self, names: Collection[bytes], since: float) -> None:
        """Record that keys of these nodes are in Redis: their data are not lost.

        Args:
            names: The nodes.
            since: Monotonic time at which the search for their keys began.
        """
        with self._lock:
            for name in [name for name, lost in self._rules.lost.items() if lost < since and name in names]:
                self._rules.regain(name, self._rules.faults.at)

    def keep(self, names: Collection[bytes]) -> None:
        """Forget all nodes except ``names``, which discovery knows, and except the nodes whose keys Redis lost."""
        with self._lock:
            for name in self._rules.known().difference(names, self._rules.lost):
                self._rules.drop(name)
            changes, found = self._take(self._rules.faults.at)
        self._notify(changes, found, ())

    def awaited(self, now: float) -> Collection[bytes]:
        """Return the nodes whose keys Redis lost. The caller reads them although discovery does not find them."""
        with self._lock:
            for name in [name for name, lost in self._rules.lost.items() if now - lost >= REMEMBER_LOST]:
                self._rules.leave(name, State.GONE, now)
                self._rules.drop(name)
            changes, found = self._take(now, why=Why.LOST)
            awaited = tuple(self._rules.lost)
        self._notify(changes, found, ())
        return awaited

    def undecided(self) -> list[bytes]:
        """Return the nodes without heartbeat that are not offline: the next read may decide their state.

        A node whose heartbeat vanished before its deadline is one of them. Its next beat must be seen.
        """
        with self._lock:
            return [name for name, node in self._rules.missing.items() if not node.offline]

    def ending_soon(self, now: float) -> list[bytes]:
        """Return the nodes whose last seen heartbeat ends within a beat from ``now``."""
        with self._lock:
            return self._rules.heartbeats.ending(now, now + self._beat)

    def offline(self, heard_since: float = NEVER) -> Mapping[bytes, Missing]:
        """Return the offline nodes whose Redis has answered since a moment, in monotonic seconds."""
        with self._lock:
            heard, missing = self._rules.faults.heard_since(heard_since), self._rules.missing
            return {name: node for name, node in missing.items() if node.state is State.OFFLINE and heard(name)}

    def members(self) -> Collection[bytes]:
        """Return the members of the mass losses that last."""
        with self._lock:
            return self._rules.mass_loss.members

    def mass_loss_since(self) -> float | None:
        """Return when the earliest mass loss that lasts began, in monotonic seconds; None without a mass loss.

        A mass loss begins when the first heartbeat of its members ends.
        """
        with self._lock:
            return min((loss.first for loss in self._rules.mass_loss.losses), default=None)

    def writes_refused_since(self) -> float | None:
        """Return since when the judge assumes that Redis refuses writes, in monotonic seconds; None if it does not."""
        with self._lock:
            return self._rules.faults.writes_refused_since

    def set_leftovers(self, leftovers: Leftovers | None) -> None:
        """Record what the plan and the loaded lists say of offline nodes: some may be forgotten, some must not.

        Args:
            leftovers: What they say; None if there is neither, so that what they said before still counts.
        """
        with self._lock:
            forgetting = self._rules.forgetting
            forgetting.leftovers = leftovers or forgetting.leftovers or Leftovers()

    def excuses_heartbeats(self) -> bool:
        """Return whether a fault of Redis lasts, or ended so recently that it may excuse any missing heartbeat."""
        with self._lock:
            return self._rules.faults.excuse_heartbeats

    def is_calm(self) -> bool:
        """Return whether all is well: all of Redis answered, no fault of Redis counts, and all states are clear."""
        with self._lock:
            return self._rules.faults.calm and all(node.offline for node in self._rules.missing.values())

    @property
    def answered_at(self) -> float:
        """When Redis last answered, in monotonic seconds."""
        return self._rules.faults.at

    @property
    def server(self) -> Server | None:
        """What Redis said about itself in its last answer; None before the first answer."""
        return self._rules.faults.server

    def last_beat(self, name: bytes) -> bytes | None:
        """Return the value of a node's last heartbeat; None if no heartbeat of the node was ever seen."""
        with self._lock:
            heartbeat = self._rules.heartbeats.get(name)
            return heartbeat and heartbeat.text

    def due(self, name: bytes) -> float | None:
        """Return when to read an online node next, in monotonic seconds; None if it is not online or unknown."""
        with self._lock:
            return self._rules.due(name)

    def offline_since(self, name: bytes) -> tuple[float | None, float | None]:
        """Return since when a node is offline, and when its heartbeat ended, both in monotonic seconds.

        The first time is None if the node is not offline. The second time equals the first one if the
        node is offline since its heartbeat ended. It is None if the node was already offline when it was
        first seen, or was declared dead after a fault of Redis.
        """
        with self._lock:
            node = self._rules.missing.get(name)
            since = node.died if node and node.offline else None
            return since, since if node and node.ended else None

    def doubt(self, name: bytes) -> Doubt | None:
        """Return why a node is undecided; None if it is not, or if its Redis could not be read."""
        with self._lock:
            return doubt_of(self._rules, name, self.ttl + self._beat)

    def _take(
        self, at: float, arrived: Sequence[bytes] = (), reading: Reading | None = None, why: Why = Why.NOT_FOUND
    ) -> tuple[Sequence[Change], Sequence[Finding]]:
        """Return what a judgement changed, and the same with evidence if anybody listens for that."""
        changes, dropped = self._rules.take()
        if not self.wants_findings or not (changes or dropped or arrived):
            return changes, ()
        return changes, findings(self._rules, Judgement(at, changes, dropped, arrived, reading, why))
