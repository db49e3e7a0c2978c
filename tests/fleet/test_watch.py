"""When the watch looks, and at which nodes. Time is simulated."""

from collections.abc import Sequence
from itertools import pairwise
from threading import Event

import pytest
from clusters import cluster
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.fleet.watch import PROBED, READ, SLACK, SLOT, Watch
from exporter.liveness import Change, Judge, State
from exporter.settings import Heartbeat, Nodes, Settings
from exporter.source.reading import Reading
from exporter.telemetry import Telemetry
from lab.nodes import ALIVE, CRASHED, GONE, Pair, reading_of

TTL, BEAT = 30.0, 10.0


class Watched:
    """A watch over keys that the test says, stepped from look to look.

    Attributes:
        reads: The time of each look, and the nodes that it read.
        requests: When reads of all nodes were begun.
    """

    def __init__(self, *, full: bool = True, ttl: float = TTL) -> None:
        self.now, self.server = 1000.0, reading_of({}).server
        self.ends: dict[bytes, float] = {}
        self.error: SourceError | None = None
        self.reads: list[tuple[float, list[bytes]]] = []
        self.requests: list[float] = []
        self.changes: list[Change] = []
        self.judge = Judge(Settings(heartbeat=Heartbeat(ttl=ttl), nodes=Nodes(forget_rehomed_after=None)))
        self.judge.let_go(None, 0.0)
        shared = Telemetry(), Event(), lambda: self.now
        self.watch = Watch(self.judge, self, self.request, 5.0, *shared)  # type: ignore[arg-type]
        self.watch.full = full
        self.watch.attendants.append(lambda changes, _: self.changes.extend(changes))

    def pair(self, name: bytes) -> Pair:
        left = self.ends.get(name, 0.0) - self.now
        return GONE if name not in self.ends else Pair(ttl=left) if left > 0 else CRASHED

    def read(self, names: Sequence[bytes], _: float) -> Reading:
        self.reads.append((round(self.now, 3), list(names)))
        if self.error:
            raise self.error
        return reading_of({name: self.pair(name) for name in names}, self.now, self.server, names)

    def request(self) -> None:
        """Read all nodes, as a fleet does."""
        self.requests.append(self.now)
        self.scrape()

    def scrape(self) -> None:
        self.watch.read_at = self.now
        names = tuple(self.ends)
        self.judge.look(reading_of({name: self.pair(name) for name in names}, self.now, self.server, names))

    def beat(self, *names: bytes, left: float = TTL) -> None:
        self.ends |= dict.fromkeys(names, self.now + left)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.watch.next()) <= until:
            self.now = max(self.now, due)
            self.watch.look()
            self.watch.tell()
        self.now = until

    def read_times(self, name: bytes) -> list[float]:
        return [at for at, names in self.reads if name in names]


def test_while_all_is_well_there_is_one_look_a_second_and_no_node_is_read() -> None:
    for full in (False, True):
        world = Watched(full=full)
        world.beat(b"a")
        world.scrape()
        for _ in range(4):
            world.run(BEAT)
            world.beat(b"a")
        assert len(world.reads) in range(35, 46)
        assert world.read_times(b"a") == []
        assert len(world.requests) == (2 if full else 0)
    assert len(Watched(ttl=3.0).judge.names()) == 0
    short = Watched(full=False, ttl=6.0)
    short.scrape()
    short.run(6.0)
    assert len(short.reads) in range(23, 31), "thirty looks in a TTL, if four a second are enough"


def test_all_nodes_are_read_every_half_ttl_whether_somebody_scrapes_or_not() -> None:
    world = Watched()
    for second in range(60):
        if second % 10 == 0:
            world.beat(b"a")
        world.run(1)
    assert [round(at) for at in world.requests][:4] == [1000, 1015, 1030, 1045]
    world = Watched()
    for _ in range(6):
        world.beat(b"a")
        world.scrape()
        world.run(10)
    assert world.requests == []


def test_death_is_found_within_a_slot_of_its_deadline_and_a_stop_is_no_death() -> None:
    for left in (3.3, 17.0):
        world = Watched()
        world.beat(b"a", left=left)
        world.beat(b"b", b"c", left=TTL)
        world.scrape()
        world.run(left - 0.01)
        assert world.changes[-1].after != State.OFFLINE
        world.run(SLACK + SLOT + 0.01)
        assert [(change.name, change.after) for change in world.changes][-1] == (b"a", State.OFFLINE)
        del world.ends[b"b"]
        world.run(TTL)
        assert (b"b", State.GONE) in [(change.name, change.after) for change in world.changes]


def test_deadline_that_moves_earlier_is_seen_without_a_scrape() -> None:
    world = Watched()
    for step in range(3):
        world.beat(b"a", b"b", left=TTL if step < 2 else 12.0)
        world.run(10 if step < 2 else 13)
    assert {change.name for change in world.changes if change.after == State.OFFLINE} == {b"a", b"b"}


def test_without_push_and_journal_only_nodes_that_are_undecided_are_read() -> None:
    world = Watched(full=False)
    world.beat(b"a", left=5)
    world.scrape()
    world.run(60)
    assert world.read_times(b"a") == []
    world.scrape()
    assert world.judge.view().absent[b"a"].change.after == State.OFFLINE
    world.beat(b"b", left=5)
    world.scrape()
    world.server = reading_of({}).server.__class__("run-2", "master")
    world.run(8)
    world.scrape()
    world.run(5)
    assert len(world.read_times(b"b")) in range(18, 23), "four times a second"


def test_offline_nodes_are_read_every_few_seconds_and_are_soon_back() -> None:
    world = Watched()
    world.beat(b"a", left=2)
    world.scrape()
    world.run(20)
    times = [at for at in world.read_times(b"a") if at > 1003]
    assert all(later - earlier <= 4.1 for earlier, later in pairwise(times))
    world.beat(b"a")
    world.run(4.1)
    assert world.changes[-1].after == State.ONLINE


def test_late_nodes_are_read_before_a_deadline_so_that_a_single_death_waits_for_nobody() -> None:
    world = Watched()
    names = [b"%02d" % number for number in range(20)]
    world.beat(b"a", left=12.5)
    world.beat(*names, left=TTL - 10)
    world.scrape()
    world.run(9)
    world.beat(*names)
    world.run(3.6)
    change = world.changes[-1]
    assert (change.name, change.after) == (b"a", State.OFFLINE)
    assert change.at - 1012.5 < SLOT
    assert max(len(read) for at, read in world.reads if at > 1012.5) == 1


def test_looks_come_four_times_a_second_while_anything_is_wrong() -> None:
    def looks(world: Watched) -> int:
        before = len(world.reads)
        world.run(5)
        return len(world.reads) - before

    for wrong in ("failing", "silent primary", "fault"):
        world = Watched()
        world.beat(b"a")
        world.scrape()
        world.run(2)
        match wrong:
            case "failing":
                world.error = SourceError("down")
            case "silent primary":
                world.server = cluster("B")
            case _:
                world.server = world.server.__class__("run-2", "master")
        world.run(1)
        assert looks(world) in range(18, 23), wrong
    world.error = SourceError("down")
    world.run(10)
    assert world.judge.view().errors


def test_outage_begins_with_the_look_that_fails_and_ends_with_the_next_answer() -> None:
    world = Watched(full=False)
    world.run(0.5)
    answered, world.error = world.reads[-1][0], SourceError("down")
    world.run(1)
    view = world.judge.view()
    assert view.errors
    assert view.outages[-1][0] == pytest.approx(answered + 1.0, abs=0.01)
    world.error = None
    world.run(1)
    assert not world.judge.view().errors


def test_reading_is_tried_again_once_a_second_after_a_read_that_failed() -> None:
    world = Watched(full=False)
    world.judge.failed(READ, "too slow", world.now)
    world.run(5)
    assert len(world.requests) in (5, 6)
    world.judge.succeeded(READ, world.now)
    world.judge.failed(PROBED, "down", world.now)
    world.error = SourceError("down")
    world.run(5)
    assert len(world.requests) in (5, 6), "while nothing answers, looks are enough"


def test_many_undecided_nodes_are_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.liveness.judge.MOST_WAITING", 10)
    world = Watched(full=False)
    names = [b"%02d" % number for number in range(25)]
    world.beat(*names, left=3)
    world.scrape()
    world.run(1)
    world.server = world.server.__class__("run-2", "master")
    world.run(4)
    world.scrape()
    world.reads.clear()
    world.run(1)
    assert max(len(read) for _, read in world.reads) == 10
    assert {name for _, read in world.reads for name in read} == set(names)


def test_attendants_get_the_same_changes_and_one_that_fails_keeps_nothing_from_the_others() -> None:
    world = Watched()
    seen: list[object] = []

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    world.watch.attendants[:0] = [fail, lambda changes, view: seen.extend((len(changes), view.counts[State.ONLINE]))]
    world.beat(b"a", b"b")
    world.scrape()
    with capture_logs() as logs:
        world.watch.tell()
        world.watch.tell()
    assert seen == [2, 2, 0, 2]
    assert len(world.changes) == 2
    assert [entry["part"] for entry in logs if entry["event"] == "internal error"] == ["watch"]


def test_mass_loss_of_many_costs_few_looks() -> None:
    world = Watched()
    names = [b"%04d" % number for number in range(2000)]
    world.ends = {name: world.now + 20 + number % 100 / 10 for number, name in enumerate(names)}
    world.scrape()
    world.run(TTL + BEAT)
    assert sum(change.after == State.OFFLINE for change in world.changes) == 2000
    assert len({node.change.loss for node in world.judge.view().absent.values() if node.change.loss}) == 1
    assert len(world.reads) < 400
    assert ALIVE.ttl == TTL
