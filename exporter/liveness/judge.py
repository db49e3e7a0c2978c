"""The one judge of which nodes are alive, shared by scrapes, the page, the table and the push.

A crash leaves the hash, and the heartbeat expires. A graceful stop deletes both keys. A fault of Redis can take either
key from a living node, so a fault alone never makes a node dead. The judge holds the lock; the rules are in ``table``.
"""

from collections.abc import Collection, Iterable
from threading import Lock
from types import MappingProxyType
from typing import Final

from exporter.liveness.chance import NEVER, Outages
from exporter.liveness.changes import Change, State, Verdicts, View
from exporter.liveness.table import LATE, Leftovers, Rules, Table
from exporter.source.reading import Reading

MOST_WAITING: Final = 1000
"""Largest number of undecided nodes in one look, so that it is short: the others come with the next one."""
AHEAD: Final = 1.0
"""Seconds before a deadline from which on the late nodes are read: so at the deadline it is known which of them beat."""


class Judge:
    """Decides each node's state. It has no clock: each look carries its time, in monotonic seconds.

    Args:
        rules: The settings.
        earlier: The changes of nodes in earlier runs of the exporter, the oldest first.
        epoch: Unix time at the monotonic time 0, until a reading tells it.
    """

    def __init__(self, rules: Rules, earlier: Iterable[Change] = (), epoch: float = 0.0) -> None:
        last = {change.name: change for change in earlier}
        self.rules = rules
        self._lock = Lock()
        self._table = Table(rules, (each for each in last.values() if each.after in (State.OFFLINE, State.FORGOTTEN)))
        self._outages = Outages()
        self._epoch = epoch

    def look(self, reading: Reading) -> Verdicts:
        """Record a look at some nodes, or at none, and return their states."""
        with self._lock:
            self._epoch = reading.wall - reading.at
            return self._table.look(reading)

    def ask(self, at: float) -> None:
        """Record that Redis is asked: a first answer long after that shows a silence."""
        with self._lock:
            self._table.chances.ask(at)

    def failed(self, what: str, error: str, began: float) -> None:
        """Record that Redis could not be read by an operation of a kind, which began at ``began``."""
        with self._lock:
            self._table.tell(self._outages.failed(what, error, began), began)

    def succeeded(self, what: str, at: float) -> None:
        """Record that an operation of this kind could read Redis at ``at``."""
        with self._lock:
            self._table.tell(self._outages.succeeded(what, at), at)

    def error(self, what: str) -> str:
        """Return why the last operation of a kind failed; empty if it did not."""
        with self._lock:
            return self._outages.error(what)

    def let_go(self, leftovers: Leftovers | None, at: float) -> bool:
        """Record what plan and lists say of dead nodes; see ``Table.let_go``."""
        with self._lock:
            return self._table.let_go(leftovers, at)

    def keep(self, names: Collection[bytes], found: Collection[bytes], since: float) -> None:
        """Record which nodes are read from now on, and which ones a scan found; see ``Table.keep``."""
        with self._lock:
            self._table.keep(names, found, since)

    def names(self) -> set[bytes]:
        """Return all nodes that have not left: a whole read asks for them, and for what discovery found."""
        with self._lock:
            return self._table.names()

    def due(self, now: float, *, deadlines: bool, offline: bool) -> list[bytes]:
        """Return the nodes to read now.

        These are the nodes that do not beat and are not dead, as many as one look may read. If a death is near, they are
        also all that are late, since it depends on them whether it is held back.

        Args:
            now: The time.
            deadlines: Whether to return the nodes whose heartbeats should have ended, too.
            offline: Whether to return the nodes that are offline, too.
        """
        with self._lock:
            table = self._table
            waiting = sorted((node.looked, name) for name, node in table.absent.items() if not node.dead)
            names = [name for _, name in waiting[:MOST_WAITING]]
            if offline:
                names += [name for name, node in table.absent.items() if node.state is State.OFFLINE]
            near = table.deaths_held or (deadlines and any(table.ending(now + AHEAD)))
            by = now + LATE * self.rules.ttl if near else now if deadlines else NEVER
            return names + [name for _, name in table.ending(by)]

    def next_due(self, by: float) -> float:
        """Return when the next node should be read that may be dead by a moment; infinity if there is none."""
        with self._lock:
            ends = (end for end, _ in self._table.ending(by))
            until = (node.until for node in self._table.absent.values() if not node.dead and node.until is not None)
            return min((*ends, *until), default=-NEVER)

    def pace(self) -> tuple[float, bool]:
        """Return when Redis answered last, and whether all is well."""
        with self._lock:
            return self._table.chances.at, self._calm

    @property
    def changed(self) -> bool:
        """Whether there are changes that the watch has not taken yet."""
        return bool(self._table.log)

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
        return self._table.chances.calm and not self._table.counts[State.UNDECIDED]

    def _view(self) -> View:
        table, chances = self._table, self._table.chances
        refused = (each.refused_since for each in chances.each.values() if each.refused_since is not None)
        return View(
            MappingProxyType({name: node.shown for name, node in table.absent.items()}),
            MappingProxyType({state: table.counts[state] for state in State if state is not State.GONE}),
            tuple(sorted(table.members, key=lambda loss: (loss.first, loss.name))),
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
