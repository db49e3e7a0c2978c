"""The fleet over a real Redis: what a thousand reads leave behind; and names, whatever happens to Redis meanwhile."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import redis
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.settings import load
from exporter.source.discovery import Found
from exporter.source.reading import Reading, Server
from fleets import parts_of
from nodes import beat
from readings import ALIVE, CRASHED, GONE, Pair, reading_of
from servers import RedisServer, wait_for


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
    asked: list[Sequence[bytes]] = field(default_factory=list)
    hidden: str = ""
    meanwhile: Callable[[], None] = lambda: None
    scanned: Callable[[], None] = lambda: None

    def reader(self) -> "World":
        return self

    def discover(self, timeout: float) -> Found:  # noqa: ARG002
        if self.hidden:
            raise SourceError(self.hidden)
        found = Found(frozenset(self.pairs), 0.0)
        self.scanned()
        return found

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        reading = self.read(names, deadline)
        self.meanwhile()
        yield from parts_of(reading, self.size)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:  # noqa: ARG002
        self.asked.append(names)
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
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    assert states(fleet) == {"a": State.ONLINE}
    world.pairs, world.at = {}, 1  # it was restarting: its keys were gone for a moment
    fleet._discover(10)
    world.pairs = {b"a": ALIVE}
    assert fleet._read().states == [State.ONLINE]
    world.pairs, world.server, world.at = {}, Server("run-2", "master"), 2
    assert states(fleet) == {"a": State.UNDECIDED}
    for second in range(3, 45):
        fleet.judge.answered(world.server, second)
    world.at = 44
    assert states(fleet) == {"a": State.OFFLINE}


def test_node_that_beats_during_a_scan_after_redis_lost_its_data_is_not_gone() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    assert states(fleet) == {"a": State.ONLINE}
    world.pairs, world.server, world.at = {}, Server("run-2", "master"), 1
    for _ in range(2):
        assert states(fleet) == {"a": State.UNDECIDED}

    def beat_and_be_read() -> None:
        world.pairs = {b"a": ALIVE}
        world.at = 2
        assert fleet._read().states == [State.ONLINE]

    world.scanned = beat_and_be_read
    assert states(fleet) == {"a": State.ONLINE}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_new_nodes_that_read_as_crashed_are_decided_by_the_first_scrape_that_reads_them(size: int) -> None:
    pairs = {b"a": CRASHED, b"b": ALIVE, b"c": CRASHED, b"d": ALIVE, b"e": ALIVE, b"f": CRASHED, b"g": CRASHED}
    world = World(pairs, size=size)
    fleet = Fleet(load({}), source=world)
    fleet._discover(10)
    world.pairs.update({b"c": ALIVE, b"f": GONE})
    world.at = 0.02
    snapshot = fleet._read()
    online, offline = State.ONLINE, State.OFFLINE
    states = {"a": offline, "b": online, "c": online, "d": online, "e": online, "g": offline}
    assert dict(zip(snapshot.ids, snapshot.states, strict=True)) == states
    assert len(world.reads) == 2


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
        since, discovered = fleet.outages.since, fleet.discovered
        assert since
        reads = len(world.asked)
        wait_for(lambda: len(world.asked) > reads + 8, "for probes that succeed")
        with pytest.raises(SourceError):
            fleet.read()
        assert fleet.outages.since == since
        assert not fleet.not_ready
        assert fleet.discovered is discovered, "a read that fails is no reason to look for names"
        world.refused = False
        fleet.read()
        assert fleet.outages.since is None


def test_redis_that_can_be_read_again_is_noticed_without_a_scrape() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({}), source=world) as fleet:
        fleet.read()
        world.refused = True
        with pytest.raises(SourceError):
            fleet.read()
        world.refused = False
        wait_for(lambda: fleet.outages.since is None, "for the fleet to read again by itself", 5)


def test_a_read_that_fails_has_a_duration_too() -> None:
    world = World({b"a": ALIVE})
    now = [100.0]
    fleet = Fleet(load({}), source=world, clock=lambda: now[0])
    fleet._discover(10)

    def fail() -> None:
        now[0] += 3
        raise SourceError("broken")

    world.meanwhile = fail
    with pytest.raises(SourceError):
        fleet._read()
    assert fleet.info.collect_duration == 3


def test_before_the_first_discovery_a_read_waits_for_it_and_says_why_it_fails() -> None:
    world = World({b"a": ALIVE})
    world.hidden = "no right to SCAN"
    with Fleet(load({"redis.timeout": "500ms"}), source=world) as fleet:
        with pytest.raises(SourceError, match="no right to SCAN"):
            fleet.read()
        assert fleet.not_ready == "no right to SCAN"
        world.hidden = ""
        fleet._wake_discovery.set()
        wait_for(lambda: not fleet.not_ready, "for discovery")
        assert fleet.read().ids == ["a"]


def test_a_fault_that_a_scrape_is_first_to_see_wakes_discovery() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world)
    fleet._discover(10)
    fleet._read()
    fleet._wake_discovery.clear()
    world.server, world.at = Server("run-2", "master"), 1
    fleet._read()
    assert fleet._wake_discovery.is_set()


def test_nodes_beyond_the_limit_that_redis_lost_are_let_go_after_an_hour() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    now = [0.0]
    fleet = Fleet(load({"collector.max-nodes": "1"}), source=world, clock=lambda: now[0])
    fleet._discover(10)
    fleet.judge.judge(reading_of({b"b": ALIVE}, 0))
    world.pairs, world.server, world.at = {}, Server("run-2", "master"), 1
    fleet._discover(10)
    now[0] = world.at = 3602
    for _ in range(3):
        fleet._discover(10)
    assert fleet.names.raw == ()
    assert fleet.names.over_limit == 0


def test_a_fault_that_comes_again_and_again_is_logged_once_a_minute() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    with capture_logs() as logs:
        for second in range(121):
            world.at = second
            fleet.judge.answered(Server(f"run-{second}", "master"), second)
    assert [entry["fault"] for entry in logs] == ["another run"] * 2
