"""The fleet's threads: shared reads, errors at their edges, and their end. Redis is handed in."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from unittest.mock import Mock

import pytest

from exporter.errors import SourceError, SourceTimeoutError
from exporter.fleet import Fleet
from exporter.liveness.watch import PROBE
from exporter.settings import load
from fleet_world import World
from lab.readings import ALIVE
from lab.servers import wait_for


@contextmanager
def hanging(world: World) -> Iterator[Event]:
    """Have scrapes hang until the event is set, or the block ends."""
    go_on = Event()
    world.meanwhile = lambda: bool(go_on.wait(60)) and None
    try:
        yield go_on
    finally:
        go_on.set()


def faults(fleet: Fleet, part: str) -> float:
    return fleet.telemetry.registry.get_sample_value("ginkgo_exporter_internal_errors_total", {"part": part}) or 0


def test_overlapping_scrapes_share_one_read_and_nothing_is_kept_of_it() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({}), source=world) as fleet, hanging(world) as go_on:
        first = fleet.request()
        assert fleet.request() is first
        go_on.set()
        assert first.result(30).ids == ["a"]
        wait_for(lambda: not fleet._shared.running, "for the fleet to let go of the snapshot")
        assert fleet.request() is not first


def test_a_scrape_waits_for_no_longer_than_it_asks_for_and_redis_may_take() -> None:
    world = World({b"a": ALIVE})
    with Fleet(load({"redis.timeout": "200ms"}), source=world) as fleet, hanging(world):
        wait_for(lambda: fleet.discovered)
        for timeout in (None, 0.01, 60):
            start = time.monotonic()
            with pytest.raises(SourceTimeoutError, match="did not answer in time"):
                fleet.read(timeout)
            assert time.monotonic() - start < 30


def test_a_read_does_not_wait_for_a_discovery_that_hangs() -> None:
    world = World({b"a": ALIVE})
    go_on = Event()
    world.scanned = lambda: bool(go_on.wait(60)) and None
    with Fleet(load({"redis.timeout": "50ms"}), source=world) as fleet:
        try:
            with pytest.raises(SourceError, match="node names are not discovered yet"):
                fleet.request().result(30)
        finally:
            go_on.set()


def test_a_read_fails_at_once_if_the_first_discovery_failed() -> None:
    world = World({}, hidden="no right to SCAN")
    with Fleet(load({"redis.timeout": "1m"}), source=world) as fleet, pytest.raises(SourceError, match="no right"):
        fleet.request().result(30)


def test_discovery_and_watch_go_on_after_an_internal_error_and_count_it() -> None:
    world = World({b"a": ALIVE})
    looks: list[float] = []

    def attend(_: bool) -> None:  # noqa: FBT001 - as the fleet calls it
        looks.append(time.monotonic())
        if len(looks) < 3:
            raise RuntimeError("broken")

    def fail() -> None:
        if world.discoveries == 1:
            raise RuntimeError("broken")

    world.scanned = fail
    fleet = Fleet(load({}), source=world)
    fleet.attend(attend, 4)
    with fleet:
        wait_for(lambda: faults(fleet, "discovery") == 1)
        fleet.discovery.wake()
        wait_for(lambda: fleet.discovered and len(looks) > 3)
        assert (faults(fleet, "discovery"), faults(fleet, "watch")) == (1, 2)
    assert looks[2] - looks[0] >= 2 * PROBE, "the watch rests after an error"


def test_the_threads_wait_between_two_looks_and_an_unattended_watch_makes_no_error() -> None:
    world = World({b"a": ALIVE})
    looks: list[object] = []
    start = time.monotonic()
    with Fleet(load({}), source=world) as fleet:
        wait_for(lambda: fleet.discovered)
        look, fleet.rounds.look = fleet.rounds.look, lambda: looks.append(None) or look()  # type: ignore[func-returns-value, method-assign]
        fleet.rounds.wake()
        fleet.discovery.wake()
        wait_for(lambda: sum(not names for names in world.asked) >= 6)
        assert world.discoveries <= 3
        assert faults(fleet, "watch") == 0
        assert len(looks) < 20
    assert time.monotonic() - start > 1


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="only Linux tells of the end of a connection")
@pytest.mark.parametrize(("dropped", "rests"), [(0, True), (1, False)])
def test_the_watch_rests_after_the_end_of_a_connection_that_nobody_drops(dropped: int, *, rests: bool) -> None:
    world = World({b"a": ALIVE})
    ours, theirs = socket.socketpair()
    theirs.close()
    pool = Mock(idle_sockets=lambda: [ours], drop_ended=lambda: dropped)
    world.pools = lambda: (pool,)  # type: ignore[method-assign, assignment]
    looks: list[float] = []
    fleet = Fleet(load({}), source=world)
    fleet.attend(lambda _: looks.append(time.monotonic()), 4)
    with fleet:
        wait_for(lambda: len(looks) >= 6)
    ours.close()
    assert (looks[5] - looks[0] >= 5 * PROBE) is rests


@pytest.mark.parametrize("pushes", [False, True])
def test_the_watch_waits_between_two_looks_while_redis_is_away_and_scrapes_fail(*, pushes: bool) -> None:
    world = World({b"a": ALIVE})
    looks: list[object] = []
    fleet = Fleet(load({}), source=world)
    if pushes:
        fleet.attend(Mock(), 0.1)
    with fleet:
        wait_for(lambda: fleet.discovered)
        world.down = True
        with pytest.raises(SourceError):
            fleet.read()
        look, fleet.rounds.look = fleet.rounds.look, lambda: looks.append(None) or look()  # type: ignore[func-returns-value, method-assign]
        before = len(world.asked)
        wait_for(lambda: sum(not names for names in world.asked[before:]) >= 5, "for five probes")
    assert len(looks) < 20


def test_closing_ends_the_threads_at_once_though_a_read_hangs() -> None:
    world = World({b"a": ALIVE})
    before = set(threading.enumerate())
    with hanging(world):
        with Fleet(load({"discovery.interval": "1h"}), source=world) as fleet:
            wait_for(lambda: fleet.discovered)
            fleet.request()
            own = {thread for thread in threading.enumerate() if thread not in before}
            threads = [thread for thread in own if thread.name in ("discovery", "watch")]
            assert len(threads) == 2
            assert all(thread.daemon for thread in threads), "none keeps a program alive that forgets to close"
            start = time.monotonic()
        assert time.monotonic() - start < 30
        assert world.closed
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    wait_for(lambda: not fleet._shared.running)
    with pytest.raises(RuntimeError):
        fleet.request()
