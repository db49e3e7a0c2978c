"""The bridge between watch and Alertmanagers: what is offered, refreshed and ended. Time and Redis are handed in."""

from dataclasses import replace
from itertools import pairwise

import pytest
from bridge_world import BEAT, TTL, World
from structlog.testing import capture_logs

from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, WRITES_REFUSED
from exporter.push.bridge import REFRESH, STALE_AFTER
from lab.readings import ALIVE, CRASHED, GONE


def test_a_death_is_offered_once_and_then_refreshed_every_four_seconds(world: World) -> None:
    world.crash(b"a")
    world.live(60)
    times = world.times(NODE_OFFLINE, "a")
    assert world.told() == {(NODE_OFFLINE, "a")}
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert all(step < 4.5 for step in steps)
    assert all(step >= 4 for step in steps[1:])


def test_a_recovery_ends_the_refresh_and_resolves_nothing(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    world.start(b"a")
    world.live(5)
    count = len(world.offered)
    world.live(20)
    assert len(world.offered) == count
    assert world.ended == [((NODE_OFFLINE, "a"), False)]


def test_the_alert_of_a_dead_node_knows_how_many_portfolios_the_plan_gives_to_it(world: World) -> None:
    world.planned = {b"a": 3}
    world.crash(b"a")
    world.live(40)
    assert world.alerts[NODE_OFFLINE, "a"].value == 3
    world.planned = {}
    world.live(10)
    assert world.alerts[NODE_OFFLINE, "a"].value == 0


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
    took_writes, began = world.watch.looked, world.now
    while world.now < began + 60:
        refused += 1
        world.server = replace(world.server, refused={"MISCONF": refused})
        world.live(2)
    assert world.told() == {(WRITES_REFUSED, "")}
    assert took_writes + TTL / 2 <= world.times(WRITES_REFUSED)[0] <= began + TTL / 2 + 0.25
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
    world.live(60 + REFRESH)
    assert world.told() == {(REDIS_UNREACHABLE, "")}
    seen = world.broken_since + 0.25
    assert world.times(REDIS_UNREACHABLE)[0] == seen + 60
    assert world.alerts[REDIS_UNREACHABLE, ""].began == seen
    world.broken_since = None
    world.live(60 + REFRESH)
    assert world.ended == [((REDIS_UNREACHABLE, ""), False)]


def test_the_dead_are_pushed_on_while_redis_is_away_for_a_while(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    world.broken_since = world.now
    world.live(STALE_AFTER - REFRESH)
    times = [at for at in world.times(NODE_OFFLINE, "a") if at > world.broken_since]
    assert all(4 <= later - earlier <= 5 for earlier, later in pairwise(times))
    assert world.now - times[-1] <= 5
    assert (NODE_OFFLINE, "a") not in dict(world.ended)


def test_a_bridge_that_is_blind_for_long_leaves_the_dead_to_those_who_see(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    world.broken_since = world.now
    blind = world.now
    world.live(STALE_AFTER + 60)
    assert world.times(NODE_OFFLINE, "a")[-1] <= blind + STALE_AFTER + REFRESH
    world.broken_since = None
    world.live(REFRESH)
    assert world.now - world.times(NODE_OFFLINE, "a")[-1] <= REFRESH


def test_dead_nodes_of_a_primary_that_is_away_for_long_are_left_to_those_who_see_them() -> None:
    world = World({})
    world.silent = ()
    world.start(b"a1", b"a2", b"b1", b"b2", b"b3")
    world.find()
    world.live(BEAT)
    world.crash(b"a1")
    world.crash(b"b1")
    world.live(45)
    world.silent = ("A",)
    blind = world.now
    world.live(STALE_AFTER + 60)
    assert blind + STALE_AFTER - REFRESH <= world.times(NODE_OFFLINE, "a1")[-1] <= blind + STALE_AFTER + REFRESH
    assert world.now - world.times(NODE_OFFLINE, "b1")[-1] <= REFRESH
    world.silent = ()
    world.live(REFRESH)
    assert world.now - world.times(NODE_OFFLINE, "a1")[-1] <= REFRESH


def test_a_mass_loss_of_nodes_that_are_not_seen_for_long_is_left_to_those_who_see_them(world: World) -> None:
    for name in (b"a", b"b", b"c", b"d"):
        world.crash(name)
    world.live(60)
    assert world.told() == {(MASS_LOSS, "")}
    blind = world.broken_since = world.now
    world.live(STALE_AFTER + 90)
    assert blind + STALE_AFTER - REFRESH <= world.times(MASS_LOSS)[-1] <= blind + STALE_AFTER + REFRESH
    world.broken_since = None
    world.live(60 + REFRESH)
    assert world.now - world.times(MASS_LOSS)[-1] <= REFRESH


def test_the_sole_writer_pushes_on_however_long_it_is_blind() -> None:
    world = World({}, ("alertmanager.sole-writer", True))
    world.start(b"a", b"b")
    world.find()
    world.live(BEAT)
    world.crash(b"a")
    world.live(40)
    world.broken_since = world.now
    world.live(STALE_AFTER + 60)
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


def test_an_alert_begins_with_the_last_heartbeat_and_knows_its_end_only_if_that_was_seen_coming() -> None:
    world = World({b"old": CRASHED})
    world.start(b"a", b"b")
    world.find()
    world.live(BEAT)
    world.crash(b"a")
    ended = world.now + (world.pairs[b"a"].ttl or 0)
    world.live(TTL + 1)
    death, old = world.alerts[NODE_OFFLINE, "a"], world.alerts[NODE_OFFLINE, "old"]
    assert (death.began, death.expired) == pytest.approx((ended - TTL, ended), abs=0.01)
    assert old.expired is None


def test_a_mass_loss_begins_with_the_last_heartbeat_of_the_first_member(world: World) -> None:
    world.crash(b"a", b"b", b"c", b"d")
    ended = world.now + min(pair.ttl or 0 for name, pair in world.pairs.items() if name != b"e")
    world.live(TTL + BEAT)
    assert world.alerts[MASS_LOSS, ""].began == pytest.approx(ended - TTL, abs=0.3)


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


@pytest.mark.parametrize(("count", "named", "more"), [(10, 10, []), (11, 10, [1]), (25, 10, [15])])
def test_of_many_nodes_at_once_ten_are_logged_by_name(count: int, named: int, more: list[int]) -> None:
    world = World({b"n%02d" % i: CRASHED for i in range(count)})
    with capture_logs() as logs:
        world.live(1)
    names = [entry["node_id"] for entry in logs if entry["event"] == "a node is offline"]
    assert names == [f"n{i:02}" for i in range(named)]
    assert [entry["nodes"] for entry in logs if entry["event"] == "more nodes are offline"] == more
