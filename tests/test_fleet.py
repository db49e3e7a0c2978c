"""The fleet over a real Redis: what a thousand reads leave behind; and names, whatever befalls Redis meanwhile."""

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import redis

from exporter.errors import SourceError
from exporter.exposition import Format, exposition
from exporter.fleet import PROBE, Fleet
from exporter.liveness.judge import State
from exporter.settings import load
from exporter.source.discovery import Found
from exporter.source.reading import Reading, Server
from fleets import parts_of
from nodes import beat
from readings import ALIVE, CRASHED, GONE, Pair, reading_of
from servers import RedisServer


def test_reads_leave_nothing_in_memory(client: "redis.Redis", shared_redis: RedisServer) -> None:
    for number in range(50):
        beat(client, f"node-{number}", 600, queue_size="abc" if number % 10 == 0 else "5")
    with Fleet(load({"redis.url": [shared_redis.url], "heartbeat.ttl": "10m"})) as fleet:

        def read(times: int) -> None:
            for _ in range(times):
                assert len(fleet.read().ids) == 50
                list(exposition(fleet.read(), Format.TEXT))

        read(20)
        tracemalloc.start()
        try:
            read(20)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            read(100)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The texts of the TTLs seen are kept, some 100 bytes each, up to a bound.
    assert after - before < 100 * 50 * 200


@dataclass
class World:
    """A Redis that holds what the test says, and is read in parts of so many nodes; it notes who was read at once."""

    pairs: dict[bytes, Pair]
    server: Server = field(default_factory=lambda: Server("run-1", "master"))
    at: float = 0.0
    refused: bool = False
    size: int = 100
    reads: list[Sequence[bytes]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def reader(self) -> "World":
        return self

    def discover(self, timeout: float) -> Found:  # noqa: ARG002
        return Found(frozenset(self.pairs), 0.0)

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        reading = self.read(names, deadline)
        self.meanwhile()
        yield from parts_of(reading, self.size)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:  # noqa: ARG002
        if names and self.refused:
            raise SourceError("no permission")
        self.reads += [names] if names else []
        return reading_of({name: self.pairs.get(name, GONE) for name in names}, self.at, self.server, names)

    def missing_rights(self) -> frozenset[str]:
        return frozenset()

    def close(self) -> None:
        pass


def states(fleet: Fleet) -> dict[str, State]:
    """Look for names, read them, and return the state of each."""
    fleet._discover(10)
    snapshot = fleet._read()
    return dict(zip(snapshot.ids, snapshot.states, strict=True))


def test_node_that_a_scan_missed_before_redis_lost_its_data_is_not_gone() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world)
    assert states(fleet) == {"a": State.ONLINE}
    world.pairs, world.at = {}, 1  # it was restarting: its keys were gone for a moment
    fleet._discover(10)
    world.pairs = {b"a": ALIVE}
    assert fleet._read().states == [State.ONLINE]
    world.pairs, world.server, world.at = {}, Server("run-2", "master"), 2
    assert states(fleet) == {"a": State.UNDECIDED}
    world.at = 43
    assert states(fleet) == {"a": State.OFFLINE}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_nodes_that_read_as_crashed_at_first_are_read_once_more_all_at_once(size: int) -> None:
    pairs = {b"a": CRASHED, b"b": ALIVE, b"c": CRASHED, b"d": ALIVE, b"e": ALIVE, b"f": CRASHED, b"g": CRASHED}
    world = World(pairs, size=size)
    fleet = Fleet(load({}), source=world)
    world.meanwhile = lambda: world.pairs.update({b"c": ALIVE, b"f": GONE})
    online, offline = State.ONLINE, State.OFFLINE
    assert states(fleet) == {"a": offline, "b": online, "c": online, "d": online, "e": online, "g": offline}
    assert world.reads == [(b"a", b"b", b"c", b"d", b"e", b"f", b"g"), [b"a", b"c", b"f", b"g"]]


def test_nothing_is_kept_of_a_node_that_discovery_drops_while_it_is_read() -> None:
    world = World({b"a": ALIVE, b"z": ALIVE})
    fleet = Fleet(load({"collector.max-nodes": "2"}), source=world)
    assert states(fleet) == {"a": State.ONLINE, "z": State.ONLINE}

    def find_another() -> None:
        world.pairs[b"b"] = ALIVE
        fleet._discover(10)

    world.meanwhile = find_another
    assert fleet._read().ids == ["a", "z"]
    assert fleet.names.shown == ("a", "b")
    assert fleet.judge.last_beat(b"a")
    assert not fleet.judge.last_beat(b"z")


def test_redis_that_answers_and_cannot_be_read_is_unreadable_until_it_is_read() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({}), source=world) as fleet:
        assert fleet.read().ids == ["a"]
        world.refused = True
        with pytest.raises(SourceError):
            fleet.read()
        since, discovered = fleet.unreadable_since, fleet.discovered
        assert since
        time.sleep(3 * PROBE)  # it goes on to say who it is
        with pytest.raises(SourceError):
            fleet.read()
        assert fleet.unreadable_since == since
        assert fleet.ready
        assert fleet.discovered is discovered, "a read that fails is no reason to look for names"
        world.refused = False
        fleet.read()
        assert fleet.unreadable_since is None
