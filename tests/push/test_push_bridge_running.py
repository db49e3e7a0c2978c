"""The bridge at work in an event loop: its tasks, its metrics, and what it remembers of posts."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import pytest
from bridge_world import BEAT, EPOCH, TTL, World

from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, WRITES_REFUSED, Alert
from lab.readings import CRASHED

URL = "http://127.0.0.1:1"


class Poster:
    """An Alertmanager whose posting does what a test says."""

    url = URL
    last_accepted = float("-inf")

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self.run, self.closed = work, False
        self.offers: list[tuple[str, str]] = []

    def offer(self, alerts: Iterable[Alert], _: float) -> None:
        self.offers += [alert.key for alert in alerts]

    def end(self, alerts: Iterable[Alert], *, resolve: bool) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def bridged(world: World, work: Callable[[], Awaitable[None]]) -> Poster:
    """Put a poster in the place of the Alertmanager."""
    poster = Poster(work)
    world.bridge._alertmanagers = [poster]  # type: ignore[list-item]
    return poster


def value(world: World, name: str, **labels: str) -> float | None:
    return world.telemetry.registry.get_sample_value(name, labels)


def posted(world: World, taken: bool, alerts: Iterable[Alert]) -> None:  # noqa: FBT001 - as the bridge is told
    world.bridge._posted(world, taken, alerts)  # type: ignore[arg-type]


def test_nothing_is_offered_before_the_start_and_after_the_stop() -> None:
    world = World({b"old": CRASHED}, started=False)
    running = 0

    async def work() -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1

    poster = bridged(world, work)
    world.live(1)
    assert poster.offers == []

    async def scenario() -> None:
        world.bridge.start()
        world.live(5)
        await asyncio.sleep(0)
        assert running == 1
        await asyncio.sleep(0)
        assert set(poster.offers) == {(NODE_OFFLINE, "old")}
        await world.bridge.stop()
        assert (running, poster.closed) == (0, True)
        poster.offers.clear()
        world.live(5)
        await asyncio.sleep(0)
        assert poster.offers == []

    asyncio.run(scenario())


def test_a_bridge_that_never_started_can_be_stopped() -> None:
    world = World({}, started=False)
    poster = bridged(world, lambda: asyncio.sleep(0))
    asyncio.run(world.bridge.stop())
    assert poster.closed


def test_an_internal_error_is_counted_and_posting_goes_on_after_a_pause() -> None:
    world = World({}, started=False)
    times: list[float] = []
    third = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        times.append(time.monotonic())
        if len(times) < 3:
            raise RuntimeError("broken")
        third.set()
        await asyncio.Event().wait()

    bridged(world, work)

    async def scenario() -> None:
        world.bridge.start()
        async with asyncio.timeout(30):
            await third.wait()
        await world.bridge.stop()

    asyncio.run(scenario())
    assert value(world, "ginkgo_exporter_internal_errors_total", part="push") == 2
    assert times[2] - times[0] >= 0.4


def test_the_metrics_are_there_before_the_first_post() -> None:
    world = World({})
    for result in ("ok", "error"):
        assert value(world, "ginkgo_bridge_posts_total", alertmanager=URL, result=result) == 0
    assert value(world, "ginkgo_bridge_active") == 0
    assert value(world, "ginkgo_bridge_detection_delay_seconds_count") == 0


def test_posts_are_counted_by_whether_they_were_taken(world: World) -> None:
    alert = Alert(NODE_OFFLINE, "a", world.now - TTL, world.now)
    posted(world, False, [alert])
    assert value(world, "ginkgo_bridge_posts_total", alertmanager=URL, result="error") == 1
    assert value(world, "ginkgo_bridge_posts_total", alertmanager=URL, result="ok") == 0
    posted(world, True, [alert])
    posted(world, True, [])
    assert value(world, "ginkgo_bridge_posts_total", alertmanager=URL, result="error") == 1
    assert value(world, "ginkgo_bridge_posts_total", alertmanager=URL, result="ok") == 2


def test_the_delay_is_measured_once_for_each_death_whose_moment_is_known(world: World) -> None:
    name = "ginkgo_bridge_detection_delay_seconds"
    alert = Alert(NODE_OFFLINE, "a", world.now - TTL, world.now)
    world.bridge._alerts = {alert.key: alert}
    posted(world, False, [alert])
    world.now += 2.0
    posted(world, True, [alert])
    world.now += 4.0
    posted(world, True, [alert])
    posted(world, True, [Alert(NODE_OFFLINE, "old", world.now)])
    assert (value(world, f"{name}_count"), value(world, f"{name}_sum")) == (1, 2)


def test_nothing_is_remembered_of_an_alert_that_is_over(world: World) -> None:
    world.crash(b"a")
    world.live(TTL + 1)
    posted(world, True, world.alerts.values())
    assert world.bridge._delivered
    world.start(b"a")
    world.live(BEAT)
    assert not world.bridge._delivered


def test_the_delay_tells_the_promised_times_apart() -> None:
    (family,) = (
        family for family in World({}).telemetry.registry.collect() if family.name.endswith("detection_delay_seconds")
    )
    bounds = [sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")]
    assert bounds == ["0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0", "+Inf"]


def test_the_alerts_that_last_are_counted_and_listed(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    (pushed,) = world.bridge.pushed()
    assert pushed["labels"]["node_id"] == "a"
    began = world.alerts[NODE_OFFLINE, "a"].began
    assert pushed["since"] == pytest.approx(began + EPOCH)
    families = {family.name: family for family in world.bridge.collect()}
    counts = {sample.labels["alertname"]: sample.value for sample in families["ginkgo_bridge_alerts"].samples}
    assert counts == {NODE_OFFLINE: 1, MASS_LOSS: 0, REDIS_UNREACHABLE: 0, WRITES_REFUSED: 0}


def test_push_is_active_while_a_post_was_taken_in_the_last_minute_and_the_watch_runs(world: World) -> None:
    assert not World({}).bridge.active
    assert not world.bridge.active
    world.bridge._stepped = world.last_accepted = world.now
    assert world.bridge.active
    world.last_accepted = world.now - 59.5
    assert world.bridge.active
    world.last_accepted = world.now - 60
    assert not world.bridge.active
    world.last_accepted = world.now
    world.bridge._stepped = world.now - 29.5
    assert world.bridge.active
    world.bridge._stepped = world.now - 30
    assert not world.bridge.active
