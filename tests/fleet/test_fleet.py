"""The fleet over a simulated or real Redis: reads, discovery, threads, and what a thousand reads leave behind."""

import gc
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from unittest.mock import patch

import pytest
import redis
from clusters import cluster
from structlog.testing import capture_logs

from exporter.errors import SourceError, SourceTimeoutError, SourceTooLargeError
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.journal.event import DROPS, Query
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.liveness import Change, State, View
from exporter.liveness.judge import ENDED
from exporter.settings import load
from exporter.source.reading import Server
from exporter.telemetry import Telemetry
from fleet_world import World, states
from lab.nodes import ALIVE, CRASHED, Pair, beat
from lab.servers import RedisServer, wait_for


@contextmanager
def hanging(world: World) -> Iterator[Event]:
    """Have scrapes hang until the event is set, or the block ends."""
    go_on = Event()
    world.meanwhile = lambda: bool(go_on.wait(60)) and None
    try:
        yield go_on
    finally:
        go_on.set()


def sample(fleet: Fleet, name: str, **labels: str) -> float:
    return fleet.telemetry.registry.get_sample_value(f"ginkgo_exporter_{name}_total", labels) or 0


def errors(fleet: Fleet, part: str) -> float:
    return sample(fleet, "internal_errors", part=part)


def timed(world: World, **flags: object) -> Fleet:
    """Return a fleet that is not started, by the clock of its world."""
    return Fleet(load(flags), source=world, clock=lambda: world.at)  # type: ignore[arg-type]


def test_reads_leave_nothing_in_memory(client: "redis.Redis", shared_redis: RedisServer) -> None:
    for number in range(50):
        beat(client, f"node-{number}", 600, queue_size="abc" if number % 10 == 0 else "5")
    with Fleet(load({"redis.url": [shared_redis.url], "heartbeat.ttl": "10m"})) as fleet:

        def read(times: int) -> None:
            for _ in range(times):
                assert len(fleet.read().ids) == 50
                list(exposition(fleet.read(), (), Format.TEXT))

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


def test_a_read_that_shows_drops_is_told_in_the_journal(client: "redis.Redis", shared_redis: RedisServer) -> None:
    beat(client, "a", 600)
    with Fleet(load({"redis.url": [shared_redis.url], "heartbeat.ttl": "2s"})) as fleet:
        fleet.read()
        beat(client, "a", 600, dropped_events=9)
        wait_for(lambda: fleet.read() and DROPS in [event.after for event in fleet.journal.page(Query(), 10)[0]])


# --- reads -------------------------------------------------------------------------------------


def test_redis_that_answers_and_cannot_be_read_is_unreadable_until_it_is_read_again_without_a_scrape() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({}), source=world) as fleet:
        assert fleet.read().ids == ["a"]
        world.refused = True
        with pytest.raises(SourceError):
            fleet.read()
        outages, discovered = fleet.view().outages, fleet.discovery.last
        assert fleet.view().errors
        reads = len(world.asked)
        wait_for(lambda: len(world.asked) > reads + 8, "for looks that succeed")
        view = fleet.view()
        assert view.errors
        assert view.outages == outages
        assert not fleet.not_ready
        assert fleet.discovery.last is discovered, "a read that fails is no reason to look for names"
        world.refused = False
        wait_for(lambda: not fleet.view().errors, "for the fleet to read again by itself", 5)
        wait_for(lambda: fleet.last_known[1][State.ONLINE] == 1)


def test_a_primary_that_cannot_be_read_makes_a_read_incomplete_though_it_holds_no_node() -> None:
    world = World({b"a": ALIVE}, cluster())
    fleet = timed(world)
    assert fleet.look().complete
    world.server, world.at = cluster("B"), 1
    assert not fleet.look().complete
    assert fleet.view().errors, "a part of Redis that cannot be read is an outage, which is pushed"


def test_info_has_the_facts_beside_the_nodes_and_a_read_that_fails_has_a_duration() -> None:
    world = World({b"a": ALIVE}, Server("run-1", "master", refused={"MISCONF": 0}))
    fleet = timed(world, **{"nodes.expected": "3"})
    assert fleet.not_ready == "node names are not discovered yet"
    assert states(fleet) == {"a": State.ONLINE}
    assert not fleet.not_ready
    assert (fleet.info.server, fleet.info.writes_refused, fleet.info.expected) == (world.server, False, 3)
    world.server, world.at = Server("run-1", "master", refused={"MISCONF": 1}), 1
    states(fleet)

    def fail() -> None:
        world.at += 3
        raise SourceError("broken")

    world.meanwhile = fail
    with pytest.raises(SourceError):
        fleet.look()
    assert (fleet.info.writes_refused, fleet.info.collect_duration) == (True, 3)
    assert len(set(world.deadlines)) > 1


def test_plan_beyond_its_budget_costs_the_ledger_and_is_counted() -> None:
    fleet = timed(World({b"a": ALIVE}))
    with patch.object(World, "plan", side_effect=SourceTooLargeError("too large")), capture_logs() as lines:
        assert [states(fleet) for _ in range(2)] == [{"a": State.ONLINE}] * 2
    assert sample(fleet, "budget_spent", budget="replies") == 2
    assert [line["because"] for line in lines if line["event"] == "the portfolios cannot be read"] == ["too large"]


def test_overlapping_scrapes_share_one_read_and_nothing_is_kept_of_it() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({}), source=world) as fleet, hanging(world) as go_on:
        first = fleet.request()
        assert fleet.request() is first
        go_on.set()
        assert first.result(30).ids == ["a"]
        wait_for(lambda: fleet._current is None, "for the fleet to let go of the snapshot")
        assert fleet.request() is not first


def test_a_read_takes_no_longer_than_redis_may_take() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({"redis.timeout": "200ms"}), source=world) as fleet, hanging(world):
        wait_for(lambda: fleet.discovery.last)
        start = time.monotonic()
        with pytest.raises(SourceTimeoutError, match="did not answer in time"):
            fleet.read()
        assert time.monotonic() - start < 30


def test_a_read_waits_for_the_first_discovery_and_says_why_that_fails() -> None:
    world, go_on = World({b"a": ALIVE}), Event()
    world.scanned = lambda: bool(go_on.wait(60)) and None
    with Fleet(load({"redis.timeout": "50ms"}), source=world) as fleet:
        try:
            with pytest.raises(SourceError, match="node names are not discovered yet"):
                fleet.request().result(30)
        finally:
            go_on.set()
    world = World({}, hidden="no right to SCAN")
    with Fleet(load({"redis.timeout": "1m"}), source=world) as fleet, pytest.raises(SourceError, match="no right"):
        fleet.request().result(30)


# --- discovery ---------------------------------------------------------------------------------


def test_new_nodes_that_read_as_crashed_are_decided_by_the_first_scrape_that_reads_them() -> None:
    world = World({b"a": CRASHED}, at=time.monotonic())
    with Fleet(load({"nodes.forget-rehomed-after": "off"}), source=world) as fleet:
        wait_for(lambda: fleet.discovery.last)
        world.at += 0.03
        assert fleet.read().states == [State.OFFLINE]


def test_death_in_the_first_part_of_a_read_does_not_wait_for_nodes_that_the_later_parts_show_alive() -> None:
    names = [b"a", b"b", b"c", b"d", b"e"]
    world = World(dict.fromkeys(names, ALIVE), size=1)
    fleet = timed(world)
    fleet.look()
    for world.at in range(4, 32, 4):
        world.pairs = dict.fromkeys(names, Pair(ttl=30.0 - world.at))
        fleet.read_here()
    world.at, world.pairs = 31, {**dict.fromkeys(names, ALIVE), b"a": CRASHED}
    snapshot = fleet.read_here()
    assert snapshot.states == [State.OFFLINE, *[State.ONLINE] * 4]
    assert snapshot.absent["a"].change.why == ENDED


def test_discovery_reads_many_new_nodes_in_parts() -> None:
    world = World({b"%d" % number: ALIVE for number in range(6)}, size=2)
    fleet, looks = timed(world), list[int]()
    look = fleet.judge.look
    fleet.judge.look = lambda reading: looks.append(len(reading.names)) or look(reading)  # type: ignore[method-assign, func-returns-value]
    fleet.discovery.discover()
    assert looks == [2, 2, 2]


def test_node_that_a_scan_misses_stays_known_until_a_read_shows_that_it_has_left() -> None:
    world = World({b"a": ALIVE, b"b": ALIVE})
    fleet = timed(world)
    states(fleet)
    pairs, world.pairs = world.pairs, {b"b": ALIVE}
    world.scanned = lambda: setattr(world, "pairs", pairs)
    world.at = 1
    assert states(fleet) == {"a": State.ONLINE, "b": State.ONLINE}
    world.scanned = lambda: None
    world.pairs, world.at = {b"b": ALIVE}, 2
    assert states(fleet) == {"b": State.ONLINE}
    world.at = 3
    states(fleet)
    assert fleet.discovery.names.raw == (b"b",)


def test_node_whose_keys_redis_lost_during_a_scan_is_not_gone() -> None:
    world = World({b"a": ALIVE})
    fleet = timed(world)
    states(fleet)
    world.pairs, world.at, world.server = {}, 1, Server("run-2", "master")
    assert states(fleet) == {"a": State.UNDECIDED}
    assert fleet.discovery.names.raw == (b"a",)


def test_names_and_workers_stay_known_while_a_server_cannot_be_scanned() -> None:
    world = World({b"a": ALIVE}, workers=frozenset({b"w"}))
    fleet = timed(world)
    states(fleet)
    complete = fleet.discovery.last
    world.complete, world.workers, world.at = False, frozenset(), 1
    pairs, world.pairs = world.pairs, {}
    world.scanned = lambda: setattr(world, "pairs", pairs)
    assert states(fleet) == {"a": State.ONLINE}
    assert (fleet.discovery.workers, fleet.discovery.last) == ({b"w"}, complete)
    world.complete = True
    known = [fleet.discovery.discover() and fleet.discovery.workers for _ in range(2)]
    assert known == [{b"w"}, set()], "a scan that began before the worker's end may have missed its successor"


def test_too_many_nodes_are_logged_once_and_only_the_first_by_name_are_read() -> None:
    world = World({b"%d" % number: ALIVE for number in range(5)})
    fleet = timed(world, **{"collector.max-nodes": "3"})
    with capture_logs() as logs:
        for world.at in (0.0, 1.0):
            assert list(states(fleet)) == ["0", "1", "2"]
    assert [entry["left_out"] for entry in logs if "left_out" in entry] == [2]
    assert fleet.discovery.last
    assert fleet.discovery.last.over_limit == 2
    assert fleet.judge.names() == {b"0", b"1", b"2"}
    world.pairs = {b"%c" % letter: ALIVE for letter in b"!#%"} | world.pairs
    fleet.discovery.discover()
    assert fleet.judge.names() == {b"!", b"#", b"%"}, "others before them leave no room"
    world.pairs = {b"!": ALIVE}
    for world.at in (2.0, 3.0):
        assert list(states(fleet)) == ["!"]
    assert fleet.discovery.last.over_limit == 0


def test_node_that_has_beaten_on_the_data_after_a_loss_may_stop_before_anybody_reads_all_nodes_again() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({"discovery.interval": "1h"}), source=world) as fleet:
        fleet.read()
        world.pairs, world.server, world.at = {}, Server("run-1", "master", flushes=1), 1
        wait_for(lambda: b"a" in fleet.view().absent, "for a look at what the loss has taken")
        world.pairs, world.at = {b"a": ALIVE}, 2
        wait_for(lambda: not fleet.view().absent, "for its beat")
        world.pairs, world.at = {}, 3
        fleet.read()
        assert not fleet.view().absent


def test_changes_of_redis_wake_discovery_and_a_failure_does_not() -> None:
    world = World({b"a": ALIVE}, Server("run-1", "master", refused={"MISCONF": 0}))
    with Fleet(load({"discovery.interval": "1h"}), source=world) as fleet:
        wait_for(lambda: fleet.discovery.last)
        world.server, world.at = Server("run-2", "master", refused={"MISCONF": 0}), 1
        fleet.read()
        wait_for(lambda: world.discoveries == 2, "for another discovery after another run")
        world.down = True
        wait_for(lambda: fleet.view().errors)
        world.down, world.at = False, world.at + 1
        wait_for(lambda: world.discoveries == 3, "for another discovery when Redis answers again")


def test_discoveries_that_are_woken_again_and_again_take_little_of_redis_time() -> None:
    world = World({b"a": ALIVE}, busy=1.0)
    with Fleet(load({"discovery.interval": "1h"}), source=world) as fleet:
        wait_for(lambda: fleet.discovery.last)
        for _ in range(5):
            fleet.discovery.wake()
            time.sleep(0.02)
        assert world.discoveries <= 2


def test_a_failed_discovery_is_logged_once_and_not_during_an_outage() -> None:
    world = World({}, hidden="no right")
    fleet = timed(world)
    with capture_logs() as logs:
        for world.hidden in ("no right", "no right", "too slow"):
            fleet.discovery.turn()
        fleet.judge.failed("probe", "down", 0.0)
        world.hidden = "down"
        fleet.discovery.turn()
    assert [entry["error"] for entry in logs] == ["no right", "too slow"]


# --- the journal, and the end ------------------------------------------------------------------


def test_a_journal_with_a_file_watches_deadlines_and_remembers_what_was_offline(tmp_path: Path) -> None:
    settings = load({"journal.file": str(tmp_path / "journal"), "heartbeat.ttl": "3s"})

    def fleet(world: World) -> Fleet:
        telemetry = Telemetry()
        return Fleet(settings, telemetry, world, journal=Journal(JournalFile(tmp_path / "journal", 1 << 20), telemetry))

    world = World({b"a": Pair(ttl=0.2)}, at=time.monotonic())
    with fleet(world) as first:
        wait_for(lambda: first.last_known[0], "for a read that nobody asked for")
        world.pairs = {b"a": CRASHED}

        def tick() -> bool:
            world.at = time.monotonic()
            absent = first.view().absent.get(b"a")
            return absent is not None and absent.change.after == State.OFFLINE

        wait_for(tick, "for the death")
        died = first.view().absent[b"a"].change.died
        assert died
        unix = first.journal.unix(died)
    with fleet(world) as second:
        wait_for(lambda: b"a" in second.view().absent)
        change = second.view().absent[b"a"].change
        assert (change.after, change.exact) == (State.OFFLINE, True)
        assert change.died
        assert abs(second.journal.unix(change.died) - unix) < 5


def test_discovery_and_watch_go_on_after_an_internal_error_and_a_read_counts_one_too() -> None:
    world, looks = World({b"a": ALIVE}), list[float]()

    def attend(changes: Sequence[Change], view: View) -> None:  # noqa: ARG001
        looks.append(time.monotonic())
        if len(looks) < 3:
            raise RuntimeError("broken")

    def fail() -> None:
        if world.discoveries == 1:
            raise RuntimeError("broken")

    world.scanned = world.meanwhile = fail
    fleet = Fleet(load({}), source=world)
    fleet.attend(attend)
    with fleet:
        wait_for(lambda: errors(fleet, "discovery") == 1)
        fleet.discovery.wake()
        wait_for(lambda: fleet.discovery.last and len(looks) > 3)
        assert (errors(fleet, "discovery"), errors(fleet, "watch")) == (1, 2)
        world.discoveries = 1
        fleet.request()
        wait_for(lambda: errors(fleet, "read"))


def test_closing_ends_the_threads_at_once_though_a_read_hangs() -> None:
    world, before = World({b"a": ALIVE}), set(threading.enumerate())
    with hanging(world):
        with Fleet(load({"discovery.interval": "1h"}), source=world) as fleet:
            wait_for(lambda: fleet.discovery.last)
            fleet.request()
            own = {*threading.enumerate()} - before
            threads = [thread for thread in own if thread.name in ("discovery", "watch")]
            assert all(thread.daemon for thread in threads), "none keeps a program alive that forgets to close"
            start = time.monotonic()
        assert time.monotonic() - start < 30
        assert world.closed
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert len(threads) == 2
    wait_for(lambda: fleet._current is None)
    with pytest.raises(RuntimeError):
        fleet.request()
