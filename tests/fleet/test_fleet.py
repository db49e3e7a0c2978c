"""The fleet over a simulated or real Redis: reads, outages, and what a thousand reads leave behind."""

import gc
import time
import tracemalloc
from pathlib import Path
from unittest.mock import Mock

import pytest
import redis
from structlog.testing import capture_logs

from exporter.errors import SourceError, SourceTimeoutError
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.journal import refusal
from exporter.journal.event import EventKind
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.journal.lines import line_of
from exporter.journal.restore import portfolio_faults
from exporter.liveness.faults import Kind
from exporter.settings import load
from exporter.snapshot.portfolio_stage import PortfolioStage
from exporter.source.reading import Server
from exporter.telemetry import Telemetry
from fleet_world import World, states
from journal_events import T0, event, told
from lab.nodes import beat
from lab.readings import ALIVE, CRASHED
from lab.servers import RedisServer, wait_for


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
    fleet.discovery.discover()

    def fail() -> None:
        now[0] += 3
        raise SourceError("broken")

    world.meanwhile = fail
    with pytest.raises(SourceError):
        fleet.reader.read()
    assert fleet.info.collect_duration == 3


def test_a_fault_that_comes_again_and_again_is_logged_once_a_minute() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    with capture_logs() as logs:
        for second in range(122):
            world.at = second
            fleet.judge.observe(Server(f"run-{second}", "master"), second)
    assert [entry["fault"] for entry in logs] == ["another run"] * 3, "at 1, 61 and 121 s"


def test_each_request_has_the_timeout_of_redis() -> None:
    world = World({b"a": ALIVE})
    now = [100.0]
    fleet = Fleet(load({"redis.timeout": "2s"}), source=world, clock=lambda: now[0])
    states(fleet)
    fleet.rounds.look()
    assert set(world.deadlines) == {102}


def test_info_has_the_facts_beside_the_nodes() -> None:
    world = World({b"a": ALIVE}, Server("run-1", "master", refused={"MISCONF": 0}))
    telemetry = Telemetry()
    fleet = Fleet(load({"nodes.expected": "3"}), telemetry, world, clock=lambda: world.at)
    assert fleet.telemetry is telemetry
    assert fleet.not_ready == "node names are not discovered yet"
    fleet.discovery.discover()
    assert fleet.not_ready == "Redis was not asked yet"
    fleet.rounds.look()
    assert not fleet.not_ready
    info = fleet.info
    assert (info.server, info.writes_refused, info.expected) == (world.server, False, 3)
    world.server, world.at = Server("run-1", "master", refused={"MISCONF": 1}), 1
    fleet.rounds.look()
    assert fleet.info.writes_refused


@pytest.mark.parametrize(("error", "since"), [(SourceTimeoutError("no answer"), 0.25), (SourceError("refused"), 1.0)])
def test_outage_begins_with_the_probe_that_fails_but_a_hang_soon_after_the_last_answer(
    monkeypatch: pytest.MonkeyPatch, error: SourceError, since: float
) -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    fleet.rounds.look()
    world.at = 1
    monkeypatch.setattr(world, "read", Mock(side_effect=error))
    assert not fleet.rounds.probe()
    assert fleet.outages.since == since


def test_a_change_wakes_the_watch_and_a_fault_is_logged() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    states(fleet)
    fleet.rounds._bell.rung.clear()
    world.at = 1
    fleet.reader.read()
    assert not fleet.rounds._bell.rung.is_set()
    for second in range(2, 32):
        fleet.judge.observe(world.server, second)
    world.pairs[b"a"], world.at = CRASHED, 32
    fleet.reader.read()
    assert fleet.rounds._bell.rung.is_set()
    world.server, world.at = Server("run-2", "master"), 33
    fleet.rounds._bell.rung.clear()
    with capture_logs() as logs:
        fleet.discovery.discover()
    assert fleet.rounds._bell.rung.is_set()
    assert [entry["fault"] for entry in logs if "at fault" in entry["event"]] == [Kind.RESTARTED]


def test_a_fleet_that_was_not_started_reads_on_request() -> None:
    assert Fleet(load({}), source=World({b"a": ALIVE})).look().ids == ["a"]


def test_a_look_that_fails_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.fleet.fleet.explained", lambda error, _: SourceError(f"{error}, because of TLS"))
    with pytest.raises(SourceError, match="no right, because of TLS"):
        Fleet(load({}), source=World({}, hidden="no right")).look()


@pytest.mark.parametrize(("planned", "discoveries"), [(b"a", 1), (b"b", 2)])
def test_a_look_searches_once_more_if_the_plan_names_an_unknown_node(
    monkeypatch: pytest.MonkeyPatch, planned: bytes, discoveries: int
) -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world)
    monkeypatch.setattr(fleet.reader._portfolios, "series", lambda *_: None)
    fleet.reader._portfolios.planned_nodes = frozenset({planned})
    assert fleet.look().ids == ["a"]
    assert world.discoveries == discoveries


def test_push_comes_before_the_journal_in_each_round() -> None:
    fleet = Fleet(load({}), source=World({}))
    first, second = Mock(), Mock()
    fleet.attend(first, 4)
    fleet.attend(second, 4)
    assert fleet.rounds.attendants[:2] == [second, first]
    assert len(fleet.rounds.attendants) == 3


def test_a_fleet_whose_journal_has_a_file_tells_and_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "QUIET", 0.0)
    remembered: list[object] = []
    monkeypatch.setattr(PortfolioStage, "remember", lambda _, faults: remembered.append(faults))
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line_of(event(1, "p", kind=EventKind.PORTFOLIO, after="untraded", evidence={"since": T0})))
    world = World({b"a": ALIVE}, Server("run-1", "master", refused={"OOM": 0}))
    journal = Journal(JournalFile(path, 1 << 20), Telemetry())
    with Fleet(load({"heartbeat.ttl": "1s"}), source=world, journal=journal) as fleet:
        assert remembered == [portfolio_faults(journal.earlier)] != [{}]
        assert fleet.watch._refresh == 4
        wait_for(lambda: "online" in {after for _, after in told(journal)}, "for the first node")
        wait_for(lambda: path.read_bytes().count(b"\n") > 1, "for the first node in the file", 10)
        world.server = Server("run-1", "master", refused={"OOM": 1})
        wait_for(lambda: "writes refused" in {after for _, after in told(journal)}, "for the refusal")

        def takes_writes_again() -> bool:
            world.at = time.monotonic()
            return "takes writes again" in {after for _, after in told(journal)}

        wait_for(takes_writes_again)
    JournalFile(path, 1 << 20).append(b"")  # nobody holds the lock any more


def test_a_fleet_without_a_file_reads_no_offline_node_for_the_journal() -> None:
    assert Fleet(load({}), source=World({})).watch._refresh is None


def test_an_internal_error_of_a_read_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(load({}), source=World({b"a": ALIVE}))
    assert fleet.planned_portfolios(b"a") == 0
    states(fleet)
    monkeypatch.setattr(fleet.reader._maker, "part", Mock(side_effect=RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        fleet.reader.read()


def test_a_closed_fleet_records_no_outage() -> None:
    world = World({b"a": ALIVE}, down=True)
    fleet = Fleet(load({}), source=world)
    fleet.close()
    fleet.rounds.probe()
    assert fleet.outages.since is None
    assert world.closed


def test_reading_is_tried_again_once_a_second_after_a_read_that_failed() -> None:
    world = World({b"a": ALIVE})
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    fleet.discovery.discover()

    def live(seconds: float) -> list[float]:
        """Return when the fleet read all nodes."""
        times, end = [], world.at + seconds
        while world.at < end:
            before = len(world.asked)
            fleet.rounds.look()
            wait_for(lambda: not fleet._shared.running)
            if b"a" in {name for names in world.asked[before:] for name in names}:
                times.append(world.at)
            world.at += 0.25
        return times

    assert live(2) == []
    world.refused = True
    with pytest.raises(SourceError):
        fleet.reader.read()
    assert live(2.5) == [2, 3, 4]
    fleet.close()


def test_a_round_of_the_watch_that_cannot_read_nodes_has_not_read_the_offline_ones() -> None:
    world = World({b"a": CRASHED}, at=1.0)
    fleet = Fleet(load({}), source=world, clock=lambda: world.at)
    fleet.attend(lambda _: None, 4)
    states(fleet)
    assert fleet.rounds.look()
    world.refused, world.at = True, 6.0
    with capture_logs() as logs:
        assert not fleet.rounds.look()
    assert [entry["error"] for entry in logs] == ["no permission"]
