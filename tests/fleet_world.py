"""A simulated Redis for the tests of the fleet."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import current_thread

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.liveness import State
from exporter.source.discovery import Found
from exporter.source.plan import Plan
from exporter.source.reading import Reading, Server
from fleets import parts_of
from lab.nodes import GONE, Pair, reading_of


class WithoutKeys:
    """What simulated Redis servers share: they have no connections, and nothing beside the nodes."""

    def gather(self, keys: Sequence[bytes], *_: object) -> list[SourceError]:
        return [SourceError("nothing to ask")] * len(keys)

    def plan(self, deadline: float) -> Plan:  # noqa: ARG002
        raise SourceError("nothing to ask")


@dataclass
class World(WithoutKeys):
    """A simulated Redis with the test's keys, which a fleet reads.

    Attributes:
        pairs: The nodes' keys.
        server: The values of ``INFO``.
        at: Time of its answers, in monotonic seconds.
        down: Whether it does not answer at all.
        refused: Whether it refuses to read nodes.
        size: Number of nodes in one part of a reading.
        reads: The names of each reading of nodes.
        asked: The names of each read, also of a read that fails; empty for a probe.
        deadlines: The deadline of each read.
        hidden: The error of discovery; empty if names can be discovered.
        complete: Whether discovery scans all servers.
        workers: The workers' keys that discovery finds.
        discoveries: Number of discoveries.
        busy: Seconds of Redis's time that a discovery takes.
        meanwhile: Called before each answer to a scrape.
        scanned: Called after each scan, before the answer to a discovery.
        closed: Whether the fleet closed it.
    """

    pairs: dict[bytes, Pair]
    server: Server = field(default_factory=lambda: Server("run-1", "master"))
    at: float = 0.0
    down: bool = False
    refused: bool = False
    size: int = 100
    reads: list[Sequence[bytes]] = field(default_factory=list)
    asked: list[Sequence[bytes]] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    hidden: str = ""
    complete: bool = True
    workers: frozenset[bytes] = frozenset()
    discoveries: int = 0
    busy: float = 0.0
    meanwhile: Callable[[], None] = lambda: None
    scanned: Callable[[], None] = lambda: None
    closed: bool = False

    def reader(self) -> "World":
        return self

    def discover(self, timeout: float) -> Found:  # noqa: ARG002
        self.discoveries += 1
        if self.hidden:
            raise SourceError(self.hidden)
        found = Found(frozenset(self.pairs), self.busy, self.complete, self.workers)
        self.scanned()
        return found

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        reading = self.read(names, deadline)
        if current_thread().name != "discovery":
            self.meanwhile()
        yield from parts_of(reading, self.size)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        self.asked.append(names)
        self.deadlines.append(deadline)
        if self.down:
            raise SourceError("no answer")
        if names and self.refused:
            raise SourceError("no permission")
        self.reads += [names] if names else []
        return reading_of({name: self.pairs.get(name, GONE) for name in names}, self.at, self.server, names)

    def close(self) -> None:
        self.closed = True


def states(fleet: Fleet) -> dict[str, State]:
    """Discover names, read the nodes, and return each node's state."""
    snapshot = fleet.look()
    return dict(zip(snapshot.ids, snapshot.states, strict=True))
