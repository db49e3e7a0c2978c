"""The fleet over a real Redis: what a thousand reads leave behind; and names, whatever happens to Redis meanwhile."""

import gc
import time
import tracemalloc

import pytest
import redis
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet, ReadInfo
from exporter.liveness.faults import Kind
from exporter.liveness.judge import LOOK_AGAIN, State
from exporter.liveness.outages import PROBED
from exporter.settings import load
from exporter.source.reading import Server
from exporter.telemetry import Telemetry
from fleet_world import World, states
from nodes import beat
from readings import ALIVE, CRASHED, GONE, reading_of
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
        fleet.judge.observe(world.server, second)
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


def test_a_node_that_discovery_drops_during_a_read_is_forgotten() -> None:
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


def test_nodes_beyond_the_limit_that_redis_lost_are_forgotten_after_an_hour() -> None:
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
            fleet.judge.observe(Server(f"run-{second}", "master"), second)
    assert [entry["fault"] for entry in logs] == ["another run"] * 2


def test_a_discovery_is_reported_with_its_duration_its_end_and_the_number_of_dropped_nodes() -> None:
    now = [100.0]
    world = World({b"a": ALIVE, b"b": ALIVE, b"c": ALIVE})

    def scan() -> None:
        now[0] += 3

    world.scanned = scan
    fleet = Fleet(load({"collector.max-nodes": "2"}), source=world, clock=lambda: now[0])
    before = time.time()
    fleet._discover(10)
    found = fleet.discovered
    assert found
    assert (found.duration, found.over_limit) == (3, 1)
    assert before <= found.timestamp <= time.time()
    assert fleet.info.discovered is found


def test_each_request_has_the_timeout_of_redis() -> None:
    world = World({b"a": ALIVE})
    now = [100.0]
    fleet = Fleet(load({"redis.timeout": "2s"}), source=world, clock=lambda: now[0])
    states(fleet)
    fleet._look()
    assert set(world.deadlines) == {102}


def test_too_many_nodes_are_logged_once_and_only_then() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    fleet = Fleet(load({"collector.max-nodes": "2"}), source=world)
    with capture_logs() as logs:
        fleet._discover(10)
        assert not logs
        world.pairs[b"c"] = ALIVE
        fleet._discover(10)
        fleet._discover(10)
    assert [(entry["log_level"], entry["left_out"]) for entry in logs if "too many" in entry["event"]] == [("error", 1)]


def test_a_failed_discovery_is_logged_once_and_not_during_an_outage() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world)
    with capture_logs() as logs:
        for error in ("no right", "no right", "no memory"):
            fleet._log_failed_discovery(error)
        fleet._discover(10)
        fleet._log_failed_discovery("no memory")
        fleet.outages.failed(PROBED, SourceError("gone"), 1)
        fleet._log_failed_discovery("gone")
        fleet.outages.succeeded(PROBED)
        fleet.close()
        fleet._log_failed_discovery("closed")
    told = [entry["error"] for entry in logs if entry["event"] == "node names cannot be discovered"]
    assert told == ["no right", "no memory", "no memory"]


def test_a_node_that_is_gone_is_read_for_one_more_round_and_then_forgotten() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    fleet = Fleet(load({}), source=world)
    states(fleet)
    del world.pairs[b"a"]
    fleet._discover(10)
    assert fleet.names.raw == (b"a", b"b")
    fleet._discover(10)
    assert fleet.names.raw == (b"b",)
    assert not fleet.judge.last_beat(b"a")


def test_names_stay_known_while_a_server_cannot_be_scanned() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    fleet = Fleet(load({}), source=world)
    states(fleet)
    world.pairs, world.complete = {b"a": ALIVE}, False
    for _ in range(4):
        fleet._discover(10)
    assert fleet.names.raw == (b"a", b"b")


def test_a_node_that_discovery_saw_on_a_redis_without_data_and_that_stopped_is_gone() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    states(fleet)
    world.pairs, world.server, world.at = {}, Server("run-2", "master"), 1
    fleet._discover(10)
    world.pairs, world.at = {b"a": ALIVE}, 11
    fleet._discover(10)
    world.pairs = {}
    for second in range(12, 60):
        fleet.judge.observe(world.server, second)
    world.at = 60
    assert states(fleet) == {}
    assert fleet._read().states == []


def test_there_is_a_pause_between_the_first_two_reads_of_a_new_node() -> None:
    fleet = Fleet(load({}), source=World({b"a": CRASHED}))
    start = time.monotonic()
    fleet._discover(10)
    assert time.monotonic() - start >= LOOK_AGAIN


def test_info_has_the_facts_beside_the_nodes() -> None:
    world = World({b"a": ALIVE}, Server("run-1", "master", refused={"MISCONF": 0}))
    telemetry = Telemetry()
    fleet = Fleet(load({"nodes.expected": "3"}), telemetry, world, clock=lambda: world.at)
    assert fleet.telemetry is telemetry
    assert fleet.not_ready == "node names are not discovered yet"
    fleet._discover(10)
    assert fleet.not_ready == "Redis was not asked yet"
    fleet._look()
    assert not fleet.not_ready
    info = fleet.info
    assert not ReadInfo().writes_refused
    assert (info.server, info.writes_refused, info.expected) == (world.server, False, 3)
    world.server, world.at = Server("run-1", "master", refused={"MISCONF": 1}), 1
    fleet._look()
    assert fleet.info.writes_refused


def test_a_change_wakes_the_watch_and_a_fault_is_logged() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    states(fleet)
    fleet._wake_watch.clear()
    world.at = 1
    fleet._read()
    assert not fleet._wake_watch.is_set()
    for second in range(2, 32):
        fleet.judge.observe(world.server, second)
    world.pairs[b"a"], world.at = CRASHED, 32
    fleet._read()
    assert fleet._wake_watch.is_set()
    world.server, world.at = Server("run-2", "master"), 33
    with capture_logs() as logs:
        fleet._discover(10)
    assert [entry["fault"] for entry in logs if "at fault" in entry["event"]] == [Kind.RESTARTED]


def test_redis_that_answers_again_wakes_discovery() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    fleet._look()
    fleet._wake_discovery.clear()
    world.at = 1
    assert fleet._probe()
    assert not fleet._wake_discovery.is_set(), "Redis answers as before"
    world.down, world.at = True, 2
    assert not fleet._probe()
    assert fleet.not_ready == "no answer"
    assert not fleet._look()
    world.down, world.at = False, 3
    assert fleet._probe()
    assert fleet._wake_discovery.is_set()


def test_a_fleet_that_was_not_started_reads_on_request() -> None:
    assert Fleet(load({}), source=World({b"a": ALIVE})).look().ids == ["a"]


def test_a_closed_fleet_records_no_outage() -> None:
    world = World({b"a": ALIVE}, down=True)
    fleet = Fleet(load({}), source=world)
    fleet.close()
    fleet._probe()
    assert fleet.outages.since is None
    assert world.closed


def test_reading_is_tried_again_once_a_second_after_a_read_that_failed() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    fleet._discover(10)

    def live(seconds: float) -> list[float]:
        """Return when the fleet read all nodes."""
        times, end = [], world.at + seconds
        while world.at < end:
            before = len(world.asked)
            fleet._look()
            wait_for(lambda: fleet._current is None)
            if b"a" in {name for names in world.asked[before:] for name in names}:
                times.append(world.at)
            world.at += 0.25
        return times

    assert live(2) == []
    world.refused = True
    with pytest.raises(SourceError):
        fleet._read()
    assert live(2.5) == [2, 3, 4]
    fleet.close()


def test_a_round_of_the_watch_that_cannot_read_nodes_has_not_read_the_offline_ones() -> None:
    world = World({b"a": CRASHED}, at=1.0)
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    fleet.attend(lambda _: None, 4)
    states(fleet)
    assert fleet._look()
    world.refused, world.at = True, 6.0
    with capture_logs() as logs:
        assert not fleet._look()
    assert [entry["error"] for entry in logs] == ["no permission"]
