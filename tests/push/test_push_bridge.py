"""The bridge between watch and Alertmanagers: what is offered, refreshed and ended. Time and Redis are handed in."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.errors import SourceError
from exporter.liveness.judge import Judge
from exporter.names import Names, names_of
from exporter.push import bridge as module
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, Alert
from exporter.push.bridge import ACTIVE, BLIND, REFRESH, UNREACHABLE_AFTER, Bridge
from exporter.settings import load
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

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pairs: dict[bytes, Pair], *flags: tuple[str, Any]) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now))
        self.pairs = pairs
        self.beating: dict[bytes, float] = {}
        self.broken_since: float | None = None
        self.last_taken = float("-inf")
        self.server = SERVER
        self.settings = load({"alertmanager.url": ["http://127.0.0.1:1"], **dict(flags)})
        self.judge = Judge(TTL, BEAT, self.settings.nodes.forget_after)
        self.telemetry = Telemetry()
        self.names = Names()
        self.offered: list[tuple[float, list[tuple[str, str]]]] = []
        self.ended: list[tuple[tuple[str, str], bool]] = []
        self.bridge = Bridge(self)  # type: ignore[arg-type]
        self.bridge._alertmanagers[0].close()
        self.bridge._alertmanagers = [self]  # type: ignore[list-item]
        self.bridge._loop = self  # type: ignore[assignment]
        self.find()

    # what the bridge asks of a fleet, a reader, a loop and an Alertmanager

    @property
    def unreadable_since(self) -> float | None:
        return self.broken_since

    def reader(self) -> "World":
        return self

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        assert deadline >= self.now
        if self.broken_since is not None:
            raise SourceError("broken")
        return reading_of(self.pairs, self.now, self.server, names)

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
        """Let time pass: living nodes beat, heartbeats run out, Redis is asked for, the bridge takes its steps."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + step, end)
            for name, pair in self.pairs.items():
                if pair.ttl is not None and pair.ttl > 0:
                    left = TTL if self.now >= self.beating.get(name, float("inf")) else pair.ttl - step
                    self.pairs[name] = replace(pair, ttl=left if left > 0 else None)
                    if left == TTL:
                        self.beating[name] = self.now + BEAT
            if self.broken_since is None:
                self.judge.answered(self.server, self.now)
            self.bridge._step(self.now)

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
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch, {})
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


def test_a_recovery_is_resolved_by_the_sole_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {}, ("alertmanager.sole-writer", True))
    world.start(b"a", b"b")
    world.find()
    world.live(BEAT)
    world.crash(b"a")
    world.live(40)
    world.start(b"a")
    world.live(5)
    assert world.ended == [((NODE_OFFLINE, "a"), True)]


def test_those_offline_at_the_start_are_pushed_and_are_no_mass_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    # Hashes of containers of long ago: most of what is known, and no event.
    world = World(monkeypatch, {b"old-%d" % i: CRASHED for i in range(20)})
    world.start(b"a", b"b", b"c")
    world.find()
    world.live(2)
    assert world.told() == {(NODE_OFFLINE, f"old-{i}") for i in range(20)}


def test_nodes_that_crashed_long_ago_do_not_hide_a_mass_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {b"old-%d" % i: CRASHED for i in range(20)}, ("nodes.forget-after", 60.0))
    living = [b"n%d" % i for i in range(6)]
    world.start(*living)
    world.find()
    world.live(90)
    world.offered.clear()
    world.crash(*living[:5])
    world.live(TTL + BEAT)
    assert (MASS_LOSS, "") in world.told()


def test_a_mass_loss_is_told_at_once_and_no_single_death_before_the_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {})
    nodes = [b"n%03d" % i for i in range(200)]
    world.start(*nodes)
    world.find()
    world.live(2 * BEAT)
    world.crash(*nodes)
    crashed = world.now
    world.live(TTL + BEAT + HOLD + REFRESH)
    mass = world.times(MASS_LOSS)[0]
    assert crashed + TTL - BEAT < mass < crashed + TTL
    singles = [at for at, keys in world.offered if any(name == NODE_OFFLINE for name, _ in keys)]
    assert singles[0] >= mass + HOLD
    assert len(world.told()) == len(nodes) + 1


def test_a_mass_death_during_an_outage_of_redis_is_a_mass_loss_after_it(world: World) -> None:
    world.broken_since = world.now
    world.crash(b"a", b"b", b"c", b"d")
    world.live(TTL)
    world.broken_since = None
    world.live(TTL + BEAT + 1)
    assert world.told() == {(MASS_LOSS, "")}


def test_redis_that_cannot_be_read_for_a_minute_is_an_alert_while_it_lasts(world: World) -> None:
    world.broken_since = world.now
    world.live(UNREACHABLE_AFTER - 1)
    assert world.offered == []
    world.live(1 + REFRESH)
    assert world.told() == {(REDIS_UNREACHABLE, "")}
    world.broken_since = None
    world.live(REFRESH)
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


def test_the_sole_writer_pushes_on_however_long_it_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {}, ("alertmanager.sole-writer", True))
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


def test_forgotten_nodes_are_not_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {b"old": CRASHED}, ("nodes.forget-after", 60.0))
    world.find()
    world.live(70)
    count = len(world.offered)
    world.live(30)
    assert len(world.offered) == count
    assert [key for key, _ in world.ended] == [(NODE_OFFLINE, "old")]


def test_nodes_beyond_the_limit_are_not_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {b"n%d" % i: CRASHED for i in range(5)}, ("collector.max-nodes", 3))
    world.live(2)
    assert world.told() == {(NODE_OFFLINE, f"n{i}") for i in range(3)}


def test_of_two_ids_that_show_alike_the_one_that_is_text_is_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {b"n\xff": CRASHED, rb"n\xff": ALIVE})
    world.live(2)
    assert world.offered == []


def test_the_alerts_that_last_are_counted_and_listed(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    (pushed,) = world.bridge.pushed()
    assert pushed["labels"]["node_id"] == "a"
    families = {family.name: family for family in world.bridge.collect()}
    counts = {sample.labels["alertname"]: sample.value for sample in families["ginkgo_bridge_alerts"].samples}
    assert counts == {NODE_OFFLINE: 1, MASS_LOSS: 0, REDIS_UNREACHABLE: 0}


def test_push_is_active_while_a_post_was_taken_in_the_last_minute_and_the_watch_runs(world: World) -> None:
    assert not world.bridge.active
    world.bridge._stepped = world.last_taken = world.now
    assert world.bridge.active
    world.last_taken = world.now - ACTIVE
    assert not world.bridge.active
    world.last_taken = world.now
    world.bridge._stepped = world.now - 31
    assert not world.bridge.active
