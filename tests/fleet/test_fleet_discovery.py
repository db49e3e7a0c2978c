"""Which nodes a fleet knows, whatever happens to Redis meanwhile."""

import time

import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.liveness.faults import Kind
from exporter.liveness.judge import LOOK_AGAIN, State
from exporter.liveness.outages import PROBED
from exporter.settings import load
from exporter.source.discovery import SHARE
from exporter.source.reading import Server
from fleet_world import World, states
from lab.readings import ALIVE, CRASHED, GONE, reading_of
from lab.servers import wait_for


def test_node_that_a_scan_missed_before_redis_lost_its_data_is_not_gone() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    assert states(fleet) == {"a": State.ONLINE}
    world.pairs, world.at = {}, 1  # it was restarting: its keys were gone for a moment
    fleet.discovery.discover()
    world.pairs = {b"a": ALIVE}
    assert fleet.reader.read().states == [State.ONLINE]
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
        assert fleet.reader.read().states == [State.ONLINE]

    world.scanned = beat_and_be_read
    assert states(fleet) == {"a": State.ONLINE}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_new_nodes_that_read_as_crashed_are_decided_by_the_first_scrape_that_reads_them(size: int) -> None:
    pairs = {b"a": CRASHED, b"b": ALIVE, b"c": CRASHED, b"d": ALIVE, b"e": ALIVE, b"f": CRASHED, b"g": CRASHED}
    world = World(pairs, size=size)
    fleet = Fleet(load({}), source=world)
    fleet.discovery.discover()
    world.pairs.update({b"c": ALIVE, b"f": GONE})
    world.at = 0.02
    snapshot = fleet.reader.read()
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
        fleet.discovery.discover()

    world.meanwhile = find_another
    assert fleet.reader.read().ids == ["a", "z"]
    assert fleet.names.shown == ("a", "b")
    assert fleet.judge.last_beat(b"a")
    assert not fleet.judge.last_beat(b"z")


def test_before_the_first_discovery_a_read_waits_for_it_and_says_why_it_fails() -> None:
    world = World({b"a": ALIVE})
    world.hidden = "no right to SCAN"
    with Fleet(load({"redis.timeout": "500ms"}), source=world) as fleet:
        with pytest.raises(SourceError, match="no right to SCAN"):
            fleet.read()
        assert fleet.not_ready == "no right to SCAN"
        world.hidden = ""
        fleet.discovery.wake()
        wait_for(lambda: not fleet.not_ready, "for discovery")
        assert fleet.read().ids == ["a"]


def test_a_fault_that_a_scrape_is_first_to_see_wakes_discovery() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world)
    fleet.discovery.discover()
    fleet.reader.read()
    fleet.discovery._woken.clear()
    world.server, world.at = Server("run-2", "master"), 1
    fleet.reader.read()
    assert fleet.discovery._woken.is_set()


def test_refused_writes_that_come_and_go_wake_no_discovery() -> None:
    world = World({b"a": ALIVE}, Server("run-1", "master", refused={"OOM": 0}))
    fleet = Fleet(load({}), source=world)
    fleet.discovery.discover()
    fleet.discovery._woken.clear()
    faults: list[Kind] = []
    fleet.judge.on_faults(faults.append)
    for second in range(1, 80):
        fleet.judge.observe(Server("run-1", "master", refused={"OOM": second // 20}), second)
    assert faults == [Kind.REFUSED] * 3
    assert not fleet.discovery._woken.is_set()


def test_discoveries_that_are_woken_again_and_again_take_little_of_redis_time() -> None:
    """A proxy before two servers shows another run with each look, and each look wakes the discovery."""
    world = World({b"a": ALIVE}, busy=0.01)
    with Fleet(load({}), source=world) as fleet:
        wait_for(lambda: world.discoveries == 2, "for the first one, and for the one after the first answer")
        wait_for(lambda: time.monotonic() > fleet.discovery._rests_until, "for the rest after it")
        before, start = world.discoveries, time.monotonic()

        def woken(times: int) -> bool:
            fleet.discovery.wake()
            return world.discoveries - before >= times

        wait_for(lambda: woken(1), "for the first one, which comes at once")
        assert time.monotonic() - start < world.busy / SHARE
        wait_for(lambda: woken(5), "for four more")
        assert time.monotonic() - start > 3 * world.busy / SHARE


def test_discoveries_that_cost_nothing_follow_each_wake_at_once_even_if_the_first_ones_fail() -> None:
    world = World({b"a": ALIVE}, hidden="no right to SCAN")
    with Fleet(load({}), source=world) as fleet:
        start = time.monotonic()

        def woken(times: int) -> bool:
            fleet.discovery.wake()
            return world.discoveries >= times

        wait_for(lambda: woken(10), "for discoveries that fail")
        world.hidden = ""
        wait_for(lambda: woken(30), "for discoveries that succeed")
        assert time.monotonic() - start < 10


def test_nodes_beyond_the_limit_that_redis_lost_are_forgotten_after_an_hour() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    now = [0.0]
    fleet = Fleet(load({"collector.max-nodes": "1"}), source=world, clock=lambda: now[0])
    fleet.discovery.discover()
    fleet.judge.judge(reading_of({b"b": ALIVE}, 0))
    world.pairs, world.server, world.at = {}, Server("run-2", "master"), 1
    fleet.discovery.discover()
    now[0] = world.at = 3602
    for _ in range(3):
        fleet.discovery.discover()
    assert fleet.names.raw == ()
    assert fleet.names.over_limit == 0


def test_a_discovery_is_reported_with_its_duration_its_end_and_the_number_of_dropped_nodes() -> None:
    now = [100.0]
    world = World({b"a": ALIVE, b"b": ALIVE, b"c": ALIVE})

    def scan() -> None:
        now[0] += 3

    world.scanned = scan
    fleet = Fleet(load({"collector.max-nodes": "2"}), source=world, clock=lambda: now[0])
    before = time.time()
    fleet.discovery.discover()
    found = fleet.discovered
    assert found
    assert (found.duration, found.over_limit) == (3, 1)
    assert before <= found.timestamp <= time.time()
    assert fleet.info.discovered is found


def test_too_many_nodes_are_logged_once_and_only_then() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    fleet = Fleet(load({"collector.max-nodes": "2"}), source=world)
    with capture_logs() as logs:
        fleet.discovery.discover()
        assert not logs
        world.pairs[b"c"] = ALIVE
        fleet.discovery.discover()
        fleet.discovery.discover()
    assert [(entry["log_level"], entry["left_out"]) for entry in logs if "too many" in entry["event"]] == [("error", 1)]


def test_a_failed_discovery_is_logged_once_and_not_during_an_outage() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world)
    with capture_logs() as logs:
        for error in ("no right", "no right", "no memory"):
            fleet.discovery._note_failure(error)
        fleet.discovery.discover()
        fleet.discovery._note_failure("no memory")
        fleet.outages.failed(PROBED, SourceError("gone"), 1)
        fleet.discovery._note_failure("gone")
        fleet.outages.succeeded(PROBED)
        fleet.close()
        fleet.discovery._note_failure("closed")
    told = [entry["error"] for entry in logs if entry["event"] == "node names cannot be discovered"]
    assert told == ["no right", "no memory", "no memory"]


def test_a_node_that_is_gone_is_read_for_one_more_round_and_then_forgotten() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    fleet = Fleet(load({}), source=world)
    states(fleet)
    del world.pairs[b"a"]
    fleet.discovery.discover()
    assert fleet.names.raw == (b"a", b"b")
    fleet.discovery.discover()
    assert fleet.names.raw == (b"b",)
    assert not fleet.judge.last_beat(b"a")


def test_names_stay_known_while_a_server_cannot_be_scanned() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    fleet = Fleet(load({}), source=world)
    states(fleet)
    world.pairs, world.complete = {b"a": ALIVE}, False
    for _ in range(4):
        fleet.discovery.discover()
    assert fleet.names.raw == (b"a", b"b")


def test_a_node_that_discovery_saw_on_a_redis_without_data_and_that_stopped_is_gone() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    states(fleet)
    world.pairs, world.server, world.at = {}, Server("run-2", "master"), 1
    fleet.discovery.discover()
    world.pairs, world.at = {b"a": ALIVE}, 11
    fleet.discovery.discover()
    world.pairs = {}
    for second in range(12, 60):
        fleet.judge.observe(world.server, second)
    world.at = 60
    assert states(fleet) == {}
    assert fleet.reader.read().states == []


def test_there_is_a_pause_between_the_first_two_reads_of_a_new_node() -> None:
    fleet = Fleet(load({}), source=World({b"a": CRASHED}))
    start = time.monotonic()
    fleet.discovery.discover()
    assert time.monotonic() - start >= LOOK_AGAIN


def test_redis_that_answers_again_wakes_discovery() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    fleet.rounds.look()
    fleet.discovery._woken.clear()
    world.at = 1
    assert fleet.rounds.probe()
    assert not fleet.discovery._woken.is_set(), "Redis answers as before"
    world.down, world.at = True, 2
    assert not fleet.rounds.probe()
    assert fleet.not_ready == "no answer"
    assert not fleet.rounds.look()
    world.down, world.at = False, 3
    assert fleet.rounds.probe()
    assert fleet.discovery._woken.is_set()


def test_nodes_of_the_plan_are_known_and_looked_for_once() -> None:
    fleet = Fleet(load({}), source=World({b"a": ALIVE}))
    states(fleet)
    woken = []
    for planned in (frozenset({b"a"}), frozenset({b"a", b"b"}), frozenset({b"b", b"a"}), frozenset({b"b"})):
        fleet.discovery.expect(planned)
        woken.append(fleet.discovery._woken.is_set())
        fleet.discovery._woken.clear()
    assert woken == [False, True, False, False]
    fleet.discovery.discover()
    assert fleet.names.raw == (b"a", b"b")


def test_workers_stay_known_while_a_server_cannot_be_scanned() -> None:
    world = World({})
    fleet = Fleet(load({}), source=world)
    assert fleet.discovery.workers is None
    found = []
    for complete, worker in ((False, b"w1"), (False, b"w2"), (True, b"w3"), (False, b"w4")):
        world.complete, world.workers = complete, frozenset({worker})
        fleet.discovery.discover()
        found.append(fleet.discovery.workers)
    assert found == [{b"w1"}, {b"w1", b"w2"}, {b"w3"}, {b"w3", b"w4"}]


@pytest.mark.parametrize("cut", [False, True])
def test_nodes_beyond_the_limit_stay_known_while_a_server_cannot_be_scanned_unless_the_scan_has_no_end(
    *, cut: bool
) -> None:
    world = World({b"a": ALIVE, b"b": ALIVE, b"c": ALIVE})
    fleet = Fleet(load({"collector.max-nodes": "2"}), source=world)
    fleet.discovery.discover()
    world.pairs, world.complete, world.cut = {b"a": ALIVE, b"b": ALIVE}, False, cut
    for _ in range(3):
        fleet.discovery.discover()
    assert fleet.names.raw == (b"a", b"b")
    assert fleet.discovered
    assert fleet.discovered.over_limit == (0 if cut else 1)
