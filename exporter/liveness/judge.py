"""The one judge of which nodes are alive, shared by scrapes, the page, the table and the push.

A crash leaves the hash, and the heartbeat expires. A graceful stop deletes both keys. A fault of Redis can take either
key from a living node, so a fault alone never makes a node dead. The judge holds the lock; the rules are in ``table``.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from threading import Lock
from types import MappingProxyType
from typing import Final, NamedTuple

from exporter.liveness.chance import Outages
from exporter.liveness.changes import NEVER, Change, State, Verdicts, View
from exporter.liveness.table import LATE, Leftovers, Rules, Table
from exporter.source.reading import Reading

MOST_WAITING: Final = 1000
"""Largest number of undecided nodes in one look, so that it is short: the others come with the next one."""
AHEAD: Final = 1.0
"""Seconds before a deadline from which on the late nodes are read: at the deadline it is known which of them beat."""


class Pace(NamedTuple):
    """What decides when to look next. Times are monotonic seconds.

    Attributes:
        answered: When Redis answered last.
        calm: Whether all is well: see ``View``.
        errors: Why the last operation of each kind failed that did.
        due: When the next node may be dead.
    """

    answered: float
    calm: bool
    errors: Mapping[str, str]
    due: float


class Judge:
    """Decides each node's state. It has no clock: each look carries its time, in monotonic seconds.

    Args:
        rules: The settings.
        earlier: The changes of nodes in an earlier run of the exporter, the oldest first; the last one counts.
        epoch: Unix time at the monotonic time 0, until a reading tells it.

    Attributes:
        rules: The settings.
        wake: Called after a look or a failure that has changed anything, without the lock.
    """

    def __init__(self, rules: Rules, earlier: Iterable[Change] = (), epoch: float = 0.0) -> None:
        self.rules = rules
        self.wake: Callable[[], object] = lambda: None
        self._lock, self._table = Lock(), Table(rules, earlier)
        self._outages, self._epoch = Outages(), epoch

    def look(self, reading: Reading) -> Verdicts:
        """Record a look at some nodes, or at none, and return their states."""
        with self._lock:
            self._epoch = reading.wall - reading.at
            verdicts, changed = self._table.look(reading), bool(self._table.log)
        if changed:
            self.wake()
        return verdicts

    def failed(self, what: str, error: str, began: float) -> None:
        """Record that an operation of a kind, which began at ``began``, could not read Redis."""
        with self._lock:
            self._table.log += self._outages.failed(what, error, began)
        self.wake()

    def succeeded(self, what: str, at: float) -> None:
        """Record that an operation of this kind could read Redis at ``at``."""
        with self._lock:
            self._table.log += self._outages.succeeded(what, at)

    def let_go(self, leftovers: Leftovers | None, at: float) -> bool:
        """Record what plan and lists say of dead nodes; see ``Table.let_go``."""
        with self._lock:
            return self._table.let_go(leftovers, at)

    def keep(self, names: Collection[bytes], found: Collection[bytes], since: float) -> None:
        """Record which nodes are read from now on, and which ones a scan found; see ``Table.keep``."""
        with self._lock:
            self._table.keep(names, found, since)

    def names(self) -> set[bytes]:
        """Return all known nodes: a whole read asks for them, and for what discovery found."""
        with self._lock:
            return self._table.names()

    def due(self, now: float, *, deadlines: bool, offline: bool) -> list[bytes]:
        """Return the nodes to read now, when Redis is asked: a first answer long after that shows a silence.

        These are the nodes that do not beat and are not dead, as many as one look may read; if a death is near, also
        all that are late, since it depends on them whether it is held back.

        Args:
            now: The time.
            deadlines: Whether to return the nodes whose heartbeats should have ended, too.
            offline: Whether to return the nodes that are offline, too.
        """
        with self._lock:
            table, absent = self._table, self._table.absent.items()
            table.chances.ask(now)
            waiting = sorted((node.shown.looked, name) for name, node in absent if not node.dead)
            names = [name for _, name in waiting[:MOST_WAITING]]
            names += [name for name, node in absent if offline and node.state is State.OFFLINE]
            near = table.due or (deadlines and any(table.ending(now + AHEAD)))
            by = now + LATE * self.rules.ttl if near else now if deadlines else NEVER
            return names + [death.name for death in table.ending(by)]

    def pace(self, by: float = NEVER) -> Pace:
        """Return what decides when to look next, as far as that is not after ``by``."""
        with self._lock:
            table = self._table
            until = [node.shown.until for node in table.absent.values() if node.shown.until is not None]
            due = min((*(death.end for death in table.ending(by)), *until), default=-NEVER)
            return Pace(table.chances.at, self._calm, dict(self._outages.errors), due)

    def view(self) -> View:
        """Return all that others need to know, at one moment."""
        with self._lock:
            return self._view()

    def take(self) -> tuple[list[Change], View]:
        """Return the changes since the last call, and the view that holds them all. There is one caller: the watch."""
        with self._lock:
            changes, self._table.log = self._table.log, []
            return changes, self._view()

    @property
    def _calm(self) -> bool:
        undecided = (node for node in self._table.absent.values() if node.state is State.UNDECIDED)
        return self._table.chances.calm and not any(undecided)

    def _view(self) -> View:
        table, chances = self._table, self._table.chances
        counts = Counter(node.state for node in table.absent.values())
        counts[State.ONLINE] += len(table.living)
        refused = (each.refused_since for each in chances.each.values() if each.refused_since is not None)
        return View(
            MappingProxyType({name: node.shown for name, node in table.absent.items()}),
            MappingProxyType({state: counts[state] for state in State if state is not State.GONE}),
            tuple(sorted(table.losses, key=lambda loss: (loss.first, loss.name))),
            chances.server,
            chances.at,
            MappingProxyType({address: each.at for address, each in chances.each.items() if each.server}),
            min(refused, default=None),
            chances.excused,
            self._calm,
            self._outages.now,
            self._outages.all,
            self._epoch,
        )
