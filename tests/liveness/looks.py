"""One judge under test, and looks at nodes whose keys the test says. Time is passed in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from exporter.liveness import Change, Judge, Kind, Loss, Node, State
from exporter.settings import Heartbeat, Nodes, Settings
from exporter.source.reading import Server
from lab.nodes import Pair, reading_of

TTL, BEAT = 30.0, 10.0
GRACE = TTL + BEAT
SERVER = Server("run-1", "master", refused={"MISCONF": 0, "OOM": 0, "NOREPLICAS": 0})


def living(left: float = TTL) -> Pair:
    """Return the keys of a node whose heartbeat has some seconds left."""
    return Pair(ttl=left)


class Looks:
    """Looks at one judge.

    Attributes:
        now: The time of the last look.
        server: What Redis says about itself.
    """

    def __init__(self, server: Server = SERVER, earlier: Iterable[Change] = (), **nodes: Any) -> None:
        section = Nodes(**({"forget_rehomed_after": None} | nodes))
        self.judge = Judge(Settings(heartbeat=Heartbeat(ttl=TTL), nodes=section), earlier)
        self.now, self.server = 1000.0, server
        self.changes: list[Change] = []

    def see(
        self,
        pairs: Mapping[bytes, Pair] | None = None,
        after: float = 0.0,
        *,
        asked: float = 0.0,
        unread: str = "",
        silent: bool = False,
    ) -> Sequence[State]:
        """Look some seconds later, and return the states.

        Args:
            pairs: The keys.
            after: Seconds since the last look.
            asked: Seconds that the look took.
            unread: Nodes that begin with one of these letters are on a primary that cannot be read.
            silent: Whether Redis gave no answer meanwhile; otherwise it was asked once a second.
        """
        end = self.now + after
        while self.now + 1 < end and not silent:
            self.see({}, 1.0)
        self.now = end
        reading = reading_of(pairs or {}, self.now, self.server)
        lost = frozenset(
            i for i, name in enumerate(reading.names) if unread and name.decode().startswith(tuple(unread))
        )
        verdicts = self.judge.look(replace(reading, asked=self.now - asked, unread=lost))
        changes, _ = self.judge.take()
        self.changes += changes
        return verdicts.states

    def wait(self, seconds: float, pairs: Mapping[bytes, Pair] | None = None) -> Sequence[State]:
        """Look once a second, and return the states of the last look. Heartbeats that live are not renewed."""
        states: Sequence[State] = ()
        for passed in range(1, int(seconds) + 1):
            left = {
                name: replace(p, ttl=p.ttl - passed) if p.ttl and p.ttl > 0 else p for name, p in (pairs or {}).items()
            }
            states = self.see(left, 1.0)
        return states

    def fault(self, after: float = 1.0, **server: Any) -> None:
        """Let the next look show another state of Redis, which goes on."""
        self.server = replace(self.server, **server)
        self.see({}, after, silent=True)

    def absent(self, name: bytes = b"a") -> Node:
        return self.judge.view().absent[name]

    @property
    def losses(self) -> list[Loss]:
        """The mass losses that have members."""
        return sorted({node.change.loss for node in self.judge.view().absent.values() if node.change.loss})

    def told(self, kind: Kind = Kind.NODE) -> list[tuple[bytes, str | None, str]]:
        """Return the changes of a kind, with the states before and after."""
        return [(change.name, change.before, change.after) for change in self.changes if change.kind is kind]
