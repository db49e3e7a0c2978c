"""The watch: timers, what a look shows, and a Redis that fails. Time and Redis's answers are handed in."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from exporter.errors import SourceError
from exporter.liveness.judge import LOOK_AGAIN, Judge
from exporter.names import Names, names_of
from exporter.push.watch import SLACK, Changes, Watch
from exporter.source.reading import Reading
from readings import ALIVE, CRASHED, ENDLESS, GONE, SERVER, Pair, reading_of

TTL, BEAT = 30.0, 10.0
AGAIN = 4.0


class World:
    """Redis as a table, a clock that is set by hand, and a watch over both."""

    def __init__(self, forget_after: float | None = None, **pairs: Pair) -> None:
        self.now = 1000.0
        self.pairs = {name.encode(): pair for name, pair in pairs.items()}
        self.broken = False
        self.server = SERVER
        self.reads: list[Sequence[bytes]] = []
        self.judge = Judge(TTL, BEAT, forget_after)
        self.watch = Watch(self.judge, self, TTL)
        self.watch.know(self.names(), self.now)

    def names(self) -> Names:
        return names_of(self.pairs, 1000)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        assert deadline > self.now
        if self.broken:
            raise SourceError("broken")
        self.reads.append(tuple(names))
        return reading_of(self.pairs, self.now, self.server, names)

    def step(self, after: float = 0.0) -> Changes:
        """Let time pass, Redis being asked for now and then, and do what the bridge does: look at what is due."""
        end = self.now + after
        while not self.broken and self.now < end - 1:
            self.now += 1
            self.judge.answered(self.server, self.now)
        self.now = end
        if names := self.watch.due(self.now):
            return self.watch.look(names, self.now + AGAIN, self.now + 5)
        return Changes()

    def beat(self, name: str, left: float = TTL) -> None:
        self.pairs[name.encode()] = replace(ALIVE, ttl=left)

    def at_deadline(self, name: str) -> Changes:
        """Let the heartbeat run out."""
        self.pairs[name.encode()] = CRASHED
        return self.step(TTL + SLACK)


def test_a_new_node_is_due_at_once_and_then_at_its_deadline() -> None:
    world = World(a=Pair(ttl=20))
    assert world.watch.next_due == world.now
    world.step()
    assert world.watch.next_due == pytest.approx(world.now + 20 + SLACK)
    assert world.reads == [(b"a",)]


def test_a_node_that_beats_is_read_once_a_ttl() -> None:
    world = World(a=ALIVE)
    for _ in range(300):
        world.beat("a")
        world.step(1.0)
    assert len(world.reads) <= 11


def test_a_node_whose_beat_a_scrape_saw_is_not_read() -> None:
    world = World(a=ALIVE)
    world.step()
    world.step(15)
    world.judge.judge(reading_of({b"a": ALIVE}, world.now))
    world.step(15 + SLACK)
    assert len(world.reads) == 1
    assert world.watch.next_due == pytest.approx(world.now + 15)


def test_a_node_is_found_dead_at_its_deadline_not_before() -> None:
    world = World(a=ALIVE)
    world.step()
    world.pairs[b"a"] = CRASHED  # vanished: not proof before the deadline
    assert not world.step(TTL - 0.001)
    assert world.watch.offline == {}
    changes = world.step(0.001 + SLACK)
    assert changes.offline == changes.died == ["a"]
    assert world.watch.offline == {"a": (1000 + TTL, 1000 + TTL)}
    assert world.watch.online == 0


def test_a_dead_node_that_beats_is_back_at_the_next_look() -> None:
    world = World(a=ALIVE)
    world.step()
    world.at_deadline("a")
    world.beat("a")
    assert not world.step(AGAIN - 0.1)
    assert world.step(0.1).back == ["a"]
    assert world.watch.offline == {}
    assert world.watch.online == 1


def test_a_return_that_a_scrape_was_first_to_see_is_found_at_the_next_look_too() -> None:
    world = World(a=ALIVE)
    world.step()
    world.at_deadline("a")
    world.beat("a")
    world.judge.judge(reading_of(world.pairs, world.now))
    assert world.step(AGAIN).back == ["a"]


def test_a_graceful_stop_is_no_death_and_is_looked_at_no_more_often_than_a_dead_node() -> None:
    world = World(a=ALIVE)
    world.step()
    world.pairs[b"a"] = GONE
    assert not world.step(TTL + SLACK)
    reads = len(world.reads)
    for _ in range(100):
        world.step(0.05)
    assert len(world.reads) - reads <= 2
    assert world.watch.online == 0


def test_a_node_that_stopped_and_came_back_under_its_name_is_watched_again() -> None:
    world = World(a=ALIVE)
    world.step()
    world.pairs[b"a"] = GONE
    world.step(TTL + SLACK)
    world.beat("a")
    world.step(AGAIN)
    assert world.watch.next_due == pytest.approx(world.now + TTL + SLACK)
    assert world.at_deadline("a").died == ["a"]


def test_a_pair_never_seen_before_is_read_once_more_before_it_is_called_dead() -> None:
    world = World(a=CRASHED)
    assert not world.step()
    assert world.watch.next_due == pytest.approx(world.now + LOOK_AGAIN)
    changes = world.step(LOOK_AGAIN)
    assert changes.offline == ["a"]
    assert changes.died == []  # it was never seen to beat
    since, expired = world.watch.offline["a"]
    assert since == world.now
    assert expired is None


def test_a_graceful_stop_seen_halfway_by_a_new_watch_is_no_death() -> None:
    world = World(a=CRASHED)
    world.step()
    world.pairs[b"a"] = GONE
    assert not world.step(LOOK_AGAIN)
    assert world.watch.offline == {}


def test_a_heartbeat_without_expiry_is_a_death() -> None:
    world = World(a=ENDLESS)
    assert world.step().offline == ["a"]


def test_a_node_that_is_unknown_now_is_let_go() -> None:
    world = World(a=ALIVE, b=ALIVE)
    world.step()
    world.at_deadline("a")
    del world.pairs[b"a"]
    world.watch.know(world.names(), world.now)
    assert world.watch.offline == {}
    for _ in range(10):
        world.step(AGAIN)
    assert b"a" not in {name for read in world.reads[3:] for name in read}


def test_a_failing_redis_changes_nothing_and_the_nodes_stay_due() -> None:
    world = World(a=ALIVE, b=CRASHED)
    world.step()
    world.step(LOOK_AGAIN)
    world.pairs[b"a"] = CRASHED
    world.broken = True
    with pytest.raises(SourceError):
        world.step(TTL + SLACK)
    assert set(world.watch.offline) == {"b"}
    assert world.watch.next_due == world.now + AGAIN
    world.broken = False
    world.step(AGAIN)  # it was silent for over 5 s: the node gets time to beat
    assert set(world.watch.offline) == {"b"}
    world.step(TTL + BEAT - (AGAIN - 1) - 0.1)  # counted from the first answer, a second after
    assert set(world.watch.offline) == {"b"}
    assert world.step(0.1 + SLACK).died == ["a"]


def test_every_node_has_one_timer_however_redis_fails() -> None:
    world = World(a=ALIVE, b=CRASHED, c=GONE)
    for i in range(50):
        world.broken = i % 3 == 0
        with suppress(SourceError):
            world.step(1.0)
        assert sorted(name for _, name in world.watch._timers) == [b"a", b"b", b"c"]
        assert world.watch._timed == {b"a", b"b", b"c"}


def test_a_forgotten_node_is_not_offline_and_is_read_twice_a_ttl_only() -> None:
    world = World(forget_after=60.0, a=CRASHED, b=ALIVE)
    world.step()
    world.step(LOOK_AGAIN)
    assert set(world.watch.offline) == {"a"}
    for _ in range(20):
        world.beat("b")
        world.step(AGAIN)
    assert world.watch.offline == {}
    assert world.watch.online == 1  # it does not count as one that lives, either
    reads = sum(b"a" in read for read in world.reads)
    for _ in range(15):
        world.beat("b")
        world.step(AGAIN)
    assert sum(b"a" in read for read in world.reads) - reads <= 5


@pytest.mark.parametrize(("late", "share"), [(0, 0.0), (1, 0.25), (4, 1.0)])
def test_the_share_of_late_nodes_is_that_of_two_missed_beats(late: int, share: float) -> None:
    world = World(a=ALIVE, b=ALIVE, c=ALIVE, d=ALIVE)
    world.step()
    for i, name in enumerate(world.pairs):
        world.pairs[name] = replace(ALIVE, ttl=9.9 if i < late else 10.1)
    assert world.watch.late(world.now + 5) == share


def test_no_node_is_late_where_none_beats() -> None:
    assert World(a=CRASHED).watch.late(2000) == 0.0
