"""The bridge between watch and Alertmanagers: what is offered, refreshed and ended. Time and Redis are handed in."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.liveness.judge import Judge
from exporter.liveness.outages import PROBED, Outages
from exporter.liveness.watch import Watch
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, WRITES_REFUSED, Alert
from exporter.push.bridge import ACTIVE, BLIND, REFRESH, UNREACHABLE_FOR, Bridge
from exporter.push.clock import Clocks
from exporter.settings import load
from exporter.source.names import Names, names_of
from exporter.source.reading import Reading
from exporter.telemetry import Telemetry
from readings import ALIVE, CRASHED, GONE, SERVER, Pair, reading_of

TTL, BEAT, HOLD = 30.0, 10.0, 15.0


class World:
    """A fleet in front of a table instead of Redis, a clock set by hand, and the bridge over both.

    Attributes:
        offered: For each time that the bridge offered alerts: when, and which.
        ended: The alerts that it ended, and whether they are to be resolved.
    """

    def __init__(self, pairs: dict[bytes, Pair], *flags: tuple[str, Any]) -> None:
        self.now = 1000.0
        self.pairs = pairs
        self.beating: dict[bytes, float] = {}
        self.broken_since: float | None = None
        self.last_taken = float("-inf")
        self.clocks = Clocks("http://127.0.0.1:1")
        self.server = replace(SERVER, refused={"MISCONF": 0})
        self.settings = load({"alertmanager.url": ["http://127.0.0.1:1"], **dict(flags)})
        self.judge = Judge(TTL, BEAT, self.settings.nodes.forget_after)
        self.outages = Outages(self.clock)
        self.watch = Watch(self.judge, self, 5, self.clock)
        self.telemetry = Telemetry()
        self.names = Names()
        self.offered: list[tuple[float, list[tuple[str, str]]]] = []
        self.ended: list[tuple[tuple[str, str], bool]] = []
        self.bridge = Bridge(self, clock=self.clock)  # type: ignore[arg-type]
        self.bridge._alertmanagers[0].close()
        self.bridge._alertmanagers = [self]  # type: ignore[list-item]
        self.bridge._loop = self  # type: ignore[assignment]
        self.find()

    # what the bridge asks of a fleet, a reader, a loop and an Alertmanager

    def clock(self) -> float:
        return self.now

    def attend(self, attendant: Callable[[bool], None], refresh: float) -> None:
        self.attendant = attendant
        self.watch.keep_deadlines(refresh)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        assert deadline >= self.now
        if self.broken_since is not None:
            raise SourceError("broken")
        return reading_of(self.pairs, self.now, self.server, names)

    def parts(self, names: Sequence[bytes], deadline: float) -> None:
        raise NotImplementedError

    def call_soon_threadsafe(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)

    def offer(self, alerts: Iterable[Alert], at: float) -> None:
        assert at == self.now
        self.offered.append((self.now, [alert.key for alert in alerts]))

    def end(self, alerts: Iterable[Alert], *, resolve: bool) -> None:
        self.ended += [(alert.key, resolve) for alert in alerts]

    # what happens

    def find(self) -> None:
        self.names = names_of(self.pairs, self.settings.collector.max_nodes)

    def live(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass: living nodes beat, heartbeats run out, and the watch looks."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + step, end)
            for name, pair in self.pairs.items():
                if pair.ttl is not None and pair.ttl > 0:
                    left = TTL if self.now >= self.beating.get(name, float("inf")) else pair.ttl - step
                    self.pairs[name] = replace(pair, ttl=left if left > 0 else None)
                    if left == TTL:
                        self.beating[name] = self.now + BEAT
            self.look()

    def look(self) -> None:
        """Do what the fleet's watch does."""
        refreshed = False
        try:
            if self.watch.probe():
                self.outages.succeeded(PROBED)
            refreshed = self.watch.look(self.names.raw)
        except SourceError as error:
            self.outages.failed(PROBED, error, self.now)
        self.attendant(refreshed)

    def start(self, *names: bytes) -> None:
        for i, name in enumerate(names):
            self.pairs[name] = ALIVE
            self.beating[name] = self.now + BEAT * i / len(names)

    def crash(self, *names: bytes) -> None:
        for name in names:
            del self.beating[name]

    def told(self) -> set[tuple[str, str]]:
        return {key for _, keys in self.offered for key in keys}

    def times(self, name: str, node_id: str = "") -> list[float]:
        return [at for at, keys in self.offered if (name, node_id) in keys]


@pytest.fixture
def world() -> World:
    made = World({})
    made.start(b"a", b"b", b"c", b"d", b"e")
    made.find()
    made.live(BEAT)
    assert made.offered == []
    return made


def test_a_death_is_offered_once_and_then_refreshed_every_four_seconds(world: World) -> None:
    world.crash(b"a")
    world.live(60)
    times = world.times(NODE_OFFLINE, "a")
    assert world.told() == {(NODE_OFFLINE, "a")}
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert all(step <= 5 for step in steps)
    assert all(step >= REFRESH - 0.01 for step in steps[1:])


def test_a_recovery_ends_the_refresh_and_resolves_nothing(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    world.start(b"a")
    world.live(5)
    count = len(world.offered)
    world.live(20)
    assert len(world.offered) == count
    assert world.ended == [((NODE_OFFLINE, "a"), False)]


def test_a_recovery_is_resolved_by_the_sole_writer() -> None:
    world = World({}, ("alertmanager.sole-writer", True))
    world.start(b"a", b"b")
    world.find()
    world.live(BEAT)
    world.crash(b"a")
    world.live(40)
    world.start(b"a")
    world.live(5)
    assert world.ended == [((NODE_OFFLINE, "a"), True)]


def test_those_offline_at_the_start_are_pushed_and_are_no_mass_loss() -> None:
    # Hashes of containers of long ago: most of what is known, and no event.
    world = World({b"old-%d" % i: CRASHED for i in range(20)})
    world.start(b"a", b"b", b"c")
    world.find()
    world.live(2)
    assert world.told() == {(NODE_OFFLINE, f"old-{i}") for i in range(20)}


def test_nodes_that_crashed_long_ago_do_not_hide_a_mass_loss() -> None:
    world = World({b"old-%d" % i: CRASHED for i in range(20)}, ("nodes.forget-after", 60.0))
    living = [b"n%d" % i for i in range(6)]
    world.start(*living)
    world.find()
    world.live(90)
    world.offered.clear()
    world.crash(*living[:5])
    world.live(TTL + BEAT)
    assert (MASS_LOSS, "") in world.told()


def test_a_mass_loss_is_told_at_once_and_no_member_by_itself() -> None:
    world = World({})
    nodes = [b"n%03d" % i for i in range(200)]
    world.start(*nodes)
    world.find()
    world.live(2 * BEAT)
    world.crash(*nodes)
    crashed = world.now
    world.live(TTL + BEAT + 60)
    mass = world.times(MASS_LOSS)[0]
    assert crashed + TTL - BEAT < mass < crashed + TTL
    assert world.told() == {(MASS_LOSS, "")}
    assert world.ended == []


def test_a_mass_loss_ends_with_its_last_member() -> None:
    world = World({})
    nodes = [b"n%03d" % i for i in range(100)]
    world.start(*nodes)
    world.find()
    world.live(2 * BEAT)
    world.crash(*nodes)
    world.live(TTL + BEAT)
    world.start(*nodes[:90])
    world.live(60)
    assert world.told() == {(MASS_LOSS, "")}
    assert world.ended == []
    world.start(*nodes[90:])
    world.live(BEAT)
    assert world.ended == [((MASS_LOSS, ""), False)]


def test_writes_that_are_refused_for_half_a_ttl_are_an_alert_while_that_lasts(world: World) -> None:
    beating, world.beating = world.beating, {}
    refused = 0
    began = world.now
    while world.now < began + 60:
        refused += 1
        world.server = replace(world.server, refused={"MISCONF": refused})
        world.live(2)
    assert world.told() == {(WRITES_REFUSED, "")}
    assert began + TTL / 2 <= world.times(WRITES_REFUSED)[0] <= began + TTL / 2 + 3
    world.start(*beating)
    world.live(BEAT)
    assert dict(world.ended) == {(WRITES_REFUSED, ""): False}


def test_a_redis_that_crashes_in_a_loop_is_an_alert_though_each_outage_is_short(world: World) -> None:
    for _ in range(6):
        world.broken_since = world.now
        world.live(20)
        world.broken_since = None
        world.server = replace(world.server, run_id=f"run-{world.now}", uptime=0.0)
        world.live(4)
    assert (REDIS_UNREACHABLE, "") in world.told()
    assert {name for name, _ in world.told()} == {REDIS_UNREACHABLE}


def test_a_mass_death_during_an_outage_of_redis_is_a_mass_loss_after_it(world: World) -> None:
    world.broken_since = world.now
    world.crash(b"a", b"b", b"c", b"d")
    world.live(TTL)
    world.broken_since = None
    world.live(TTL + 2 * BEAT + 1)
    assert world.told() == {(MASS_LOSS, "")}


def test_redis_that_cannot_be_read_for_a_minute_is_an_alert_while_it_lasts(world: World) -> None:
    world.broken_since = world.now
    world.live(UNREACHABLE_FOR - 1)
    assert world.offered == []
    world.live(1 + REFRESH)
    assert world.told() == {(REDIS_UNREACHABLE, "")}
    world.broken_since = None
    world.live(60 + REFRESH)
    assert world.ended == [((REDIS_UNREACHABLE, ""), False)]


def test_the_dead_are_pushed_on_while_redis_is_away_for_a_while(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    world.broken_since = world.now
    world.live(BLIND - REFRESH)
    assert world.now - world.times(NODE_OFFLINE, "a")[-1] <= REFRESH
    assert (NODE_OFFLINE, "a") not in dict(world.ended)


def test_a_bridge_that_is_blind_for_long_leaves_the_dead_to_those_who_see(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    world.broken_since = world.now
    blind = world.now
    world.live(BLIND + 60)
    assert world.times(NODE_OFFLINE, "a")[-1] <= blind + BLIND + REFRESH
    world.broken_since = None
    world.live(REFRESH)
    assert world.now - world.times(NODE_OFFLINE, "a")[-1] <= REFRESH


def test_the_sole_writer_pushes_on_however_long_it_is_blind() -> None:
    world = World({}, ("alertmanager.sole-writer", True))
    world.start(b"a", b"b")
    world.find()
    world.live(BEAT)
    world.crash(b"a")
    world.live(40)
    world.broken_since = world.now
    world.live(BLIND + 60)
    assert world.now - world.times(NODE_OFFLINE, "a")[-1] <= REFRESH


def test_a_graceful_stop_offers_nothing(world: World) -> None:
    world.crash(b"a")
    world.pairs[b"a"] = GONE
    world.live(2 * TTL)
    assert world.offered == []


def test_forgotten_nodes_are_not_pushed() -> None:
    world = World({b"old": CRASHED}, ("nodes.forget-after", 60.0))
    world.find()
    world.live(70)
    count = len(world.offered)
    world.live(30)
    assert len(world.offered) == count
    assert [key for key, _ in world.ended] == [(NODE_OFFLINE, "old")]


def test_nodes_beyond_the_limit_are_not_pushed() -> None:
    world = World({b"n%d" % i: CRASHED for i in range(5)}, ("collector.max-nodes", 3))
    world.live(2)
    assert world.told() == {(NODE_OFFLINE, f"n{i}") for i in range(3)}


def test_of_two_ids_that_show_alike_the_one_that_is_text_is_pushed() -> None:
    world = World({b"n\xff": CRASHED, rb"n\xff": ALIVE})
    world.live(2)
    assert world.offered == []


def test_the_alerts_that_last_are_counted_and_listed(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    (pushed,) = world.bridge.pushed()
    assert pushed["labels"]["node_id"] == "a"
    families = {family.name: family for family in world.bridge.collect()}
    counts = {sample.labels["alertname"]: sample.value for sample in families["ginkgo_bridge_alerts"].samples}
    assert counts == {NODE_OFFLINE: 1, MASS_LOSS: 0, REDIS_UNREACHABLE: 0, WRITES_REFUSED: 0}


def test_push_is_active_while_a_post_was_taken_in_the_last_minute_and_the_watch_runs(world: World) -> None:
    assert not world.bridge.active
    world.bridge._stepped = world.last_taken = world.now
    assert world.bridge.active
    world.last_taken = world.now - ACTIVE
    assert not world.bridge.active
    world.last_taken = world.now
    world.bridge._stepped = world.now - 31
    assert not world.bridge.active


def test_a_node_is_back_when_it_beats_and_not_when_it_is_forgotten() -> None:
    world = World({}, ("nodes.forget-after", 60.0))
    world.start(b"a", b"b")
    world.find()
    world.live(BEAT)
    with capture_logs() as logs:
        world.crash(b"a")
        world.live(150)
    told = [entry["event"] for entry in logs if entry.get("node_id") == "a"]
    assert told == ["a node is offline"]
    with capture_logs() as logs:
        world.start(b"a")
        world.live(BEAT + 1)
    assert [entry["event"] for entry in logs if entry.get("node_id") == "a"] == ["a node is back"]
