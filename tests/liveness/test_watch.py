"""The watch: timers, what a look shows, and a Redis that fails. Time and Redis's answers are passed in."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from exporter.errors import SourceError
from exporter.liveness.faults import NEVER
from exporter.liveness.judge import Change, Judge, State
from exporter.liveness.watch import CALM_PROBE, PROBE, SLACK, SLOT, Watch
from exporter.source.reading import Reading, Server
from exporter.source.requests import KeyNames
from exporter.source.topology import Primaries, Topology
from lab.readings import ALIVE, CRASHED, ENDLESS, GONE, SERVER, Pair, reading_of

TTL, BEAT = 30.0, 10.0
AGAIN = 4.0


class World:
    """Redis as a table, a clock that is set by hand, and a watch over both.

    Args:
        deadlines: Whether the watch keeps deadlines, as for an exporter that pushes.
        forget_after: See ``Judge``.
        pairs: What Redis holds.
    """

    def __init__(self, *, deadlines: bool = True, forget_after: float | None = None, **pairs: Pair) -> None:
        self.now = 1000.0
        self.pairs = {name.encode(): pair for name, pair in pairs.items()}
        self.broken = False
        self.unread: set[bytes] = set()  # nodes whose primary does not answer
        self.refused: list[Sequence[bytes]] | None = None  # reads that Redis refused, once it refuses all but INFO
        self.server: Server = SERVER
        self.reads: list[Sequence[bytes]] = []
        self.probes = 0
        self.judge = Judge(TTL, BEAT, forget_after)
        self.changes: list[Change] = []
        self.judge.on_changes(self.changes.extend)
        self.watch = Watch(self.judge, self, 5.0, lambda: self.now)
        if deadlines:
            self.watch.keep_deadlines(AGAIN)
        self.names: tuple[bytes, ...] = tuple(self.pairs)
        self.step()

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        assert deadline > self.now
        self.probes += not names
        if self.broken:
            raise SourceError("broken")
        if names and self.refused is not None:
            self.refused.append(names)
            raise SourceError("refused")
        if names:
            self.reads.append(tuple(names))
        pairs = {name: GONE if name in self.unread else self.pairs.get(name, GONE) for name in names}
        unread = frozenset(position for position, name in enumerate(names) if name in self.unread)
        return replace(reading_of(pairs, self.now, self.server, names), unread=unread)

    def parts(self, names: Sequence[bytes], deadline: float) -> None:
        raise NotImplementedError

    def step(self) -> bool:
        self.watch.probe()
        return self.watch.look(self.names)

    def live(self, seconds: float, *beating: str) -> None:
        """Let time pass: some nodes beat, heartbeats run out, and the watch looks whenever it wants to."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            step = min(max(self.watch.wait(), 0.001), end - self.now)
            self.now += step
            for name, pair in self.pairs.items():
                if pair.ttl is not None and pair.ttl > 0:
                    left = pair.ttl - step
                    if name.decode() in beating and left <= TTL - BEAT:
                        left = TTL
                    self.pairs[name] = replace(pair, ttl=left) if left > 0 else CRASHED
            with suppress(SourceError):
                self.step()

    def probes_in(self, seconds: float) -> int:
        """Let time pass in which nodes beat, and return the number of probes in it."""
        before = self.probes
        self.live(seconds, *(name.decode() for name in self.pairs))
        return self.probes - before

    def beat(self, name: str, left: float = TTL) -> None:
        self.pairs[name.encode()] = replace(ALIVE, ttl=left)

    @property
    def offline(self) -> set[str]:
        return {name.decode() for name in self.judge.offline()}

    def reads_of(self, name: str) -> int:
        return sum(name.encode() in read for read in self.reads)


def test_node_that_beats_is_read_once_a_ttl() -> None:
    world = World(a=ALIVE)
    world.live(300, "a")
    assert world.reads_of("a") <= 16


def test_without_deadlines_nobody_is_read_who_is_alive() -> None:
    world = World(deadlines=False, a=ALIVE)
    world.judge.judge(reading_of(world.pairs, world.now))
    world.live(100)
    assert world.reads == []


def test_node_whose_beat_a_scrape_saw_is_not_read() -> None:
    world = World(a=ALIVE)
    world.live(15)
    world.beat("a")
    world.judge.judge(reading_of(world.pairs, world.now))
    world.live(16)
    assert world.reads_of("a") == 1


def test_node_is_found_dead_at_its_deadline_and_not_before() -> None:
    world = World(a=ALIVE)
    world.pairs[b"a"] = CRASHED  # vanished: no proof before the deadline
    world.live(TTL - 0.001)
    assert world.offline == set()
    world.live(0.001 + SLACK)
    assert world.offline == {"a"}
    assert world.judge.offline_since(b"a") == (1000 + TTL, 1000 + TTL)


def test_death_is_found_within_a_slot_of_its_deadline() -> None:
    world = World(a=Pair(ttl=12.345), b=ALIVE)
    world.live(13, "b")
    (death,) = [change for change in world.changes if change.after is State.OFFLINE]
    assert 12.345 <= death.at - 1000 <= 12.345 + SLOT
    assert world.reads_of("a") == 2


def test_dead_node_that_beats_is_back_at_the_next_look_at_all_offline_nodes() -> None:
    world = World(a=ALIVE)
    world.live(TTL + 1)
    assert world.offline == {"a"}
    world.beat("a")
    world.live(AGAIN)
    assert world.offline == set()


def test_death_after_a_return_that_a_scrape_saw_first_is_found_at_its_deadline() -> None:
    world = World(a=ALIVE)
    world.live(TTL + 1)
    world.beat("a")
    world.judge.judge(reading_of(world.pairs, world.now))
    assert world.offline == set()
    back = world.now
    world.live(TTL + 1)
    assert world.offline == {"a"}
    assert world.judge.offline_since(b"a")[0] == pytest.approx(back + TTL)


def test_deadline_that_a_scrape_saw_move_earlier_is_kept() -> None:
    world = World(a=Pair(ttl=28))
    world.pairs[b"a"] = Pair(ttl=3)  # EXPIRE cut it short
    world.judge.judge(reading_of(world.pairs, world.now))
    world.live(16)
    world.judge.judge(reading_of(world.pairs, world.now))
    assert world.offline == {"a"}


def test_heartbeat_that_loses_its_expiry_is_found_within_a_ttl() -> None:
    world = World(a=ALIVE)
    world.pairs[b"a"] = ENDLESS
    world.live(TTL + 1)
    assert world.offline == {"a"}


def test_nodes_whose_heartbeats_end_in_an_hour_since_the_clock_was_set_back_are_found_dead_within_a_ttl() -> None:
    world = World(a=Pair(ttl=3600), b=Pair(ttl=3600))
    world.beat("a", 25)  # it beat after the clock was set back, and died
    world.pairs[b"b"] = CRASHED
    world.live(TTL + 1)
    assert world.offline == {"a", "b"}


def test_graceful_stop_is_no_death_and_is_looked_at_rarely() -> None:
    world = World(a=ALIVE)
    world.pairs[b"a"] = GONE
    world.live(TTL + 1)
    assert world.offline == set()
    reads = world.reads_of("a")
    world.live(40)
    assert world.reads_of("a") - reads <= 5


def test_node_that_stopped_and_came_back_under_its_name_is_watched_again() -> None:
    world = World(a=ALIVE)
    world.pairs[b"a"] = GONE
    world.live(TTL + 1)
    world.beat("a")
    world.live(TTL + 11)
    assert world.offline == {"a"}


def test_pair_never_seen_before_is_read_with_the_next_probe_before_it_is_called_dead() -> None:
    world = World(a=CRASHED)
    assert world.offline == set()
    world.live(2 * PROBE)
    assert world.offline == {"a"}
    assert world.judge.offline_since(b"a")[1] is None


def test_graceful_stop_seen_halfway_by_a_new_watch_is_no_death() -> None:
    world = World(a=CRASHED)
    world.pairs[b"a"] = GONE
    world.live(1)
    assert world.offline == set()


def test_node_that_is_unknown_now_is_let_go() -> None:
    world = World(a=ALIVE, b=ALIVE)
    world.names = (b"b",)
    world.judge.keep(world.names)
    world.live(TTL + 1, "b")
    assert world.reads_of("a") == 1


def test_failing_redis_kills_nobody_and_the_nodes_stay_due() -> None:
    world = World(a=ALIVE, b=CRASHED)
    world.live(1)
    assert world.offline == {"b"}
    world.broken = True
    world.live(TTL)
    assert world.offline == {"b"}
    world.broken = False
    world.live(BEAT + TTL - 2)
    assert world.offline == {"b"}  # it had no chance for most of the time
    world.live(2 + PROBE)
    assert world.offline == {"a", "b"}


def test_undecided_nodes_are_read_with_every_probe() -> None:
    world = World(deadlines=False, a=ALIVE)
    world.judge.judge(reading_of(world.pairs, world.now))
    world.live(25)
    world.server = replace(SERVER, run_id="run-2")
    world.pairs[b"a"] = GONE
    world.judge.judge(reading_of(world.pairs, world.now, world.server))
    assert world.judge.undecided() == [b"a"]
    reads = world.reads_of("a")
    world.live(2)
    assert world.reads_of("a") - reads >= 8
    world.beat("a")
    world.live(2 * PROBE)
    assert world.judge.undecided() == []


def test_many_undecided_nodes_are_read_in_turns() -> None:
    world = World(deadlines=False)
    names = tuple(b"n%04d" % i for i in range(2500))
    world.judge.judge(reading_of(dict.fromkeys(names, CRASHED), world.now, names=names))
    world.live(4 * PROBE)
    assert max(map(len, world.reads)) == 1000
    assert world.judge.undecided() == []


def test_every_node_has_one_timer_however_redis_fails() -> None:
    world = World(a=ALIVE, b=CRASHED, c=GONE)
    for i in range(50):
        world.broken = i % 3 == 0
        world.live(1.0)
        timed = sorted(name for _, name in world.watch._timers)
        assert timed == sorted(world.watch._timed)
        assert len(timed) == len(set(timed))


def test_forgotten_node_is_not_offline_and_is_read_rarely() -> None:
    world = World(forget_after=60.0, a=CRASHED, b=ALIVE)
    world.live(80, "b")
    assert world.offline == set()
    reads = world.reads_of("a")
    world.live(60, "b")
    assert world.reads_of("a") - reads <= 7


def test_first_death_of_a_mass_loss_is_not_declared_before_the_others_were_looked_at() -> None:
    world = World(**{f"n{i}": Pair(ttl=20 + i) for i in range(6)})
    world.live(60, "n4", "n5")
    assert {name.decode() for name in world.judge.members()} == {"n0", "n1", "n2", "n3"}
    assert not [change for change in world.changes if change.after is State.OFFLINE and change.at < 1000 + 22]


def test_second_death_of_a_mass_loss_is_held_back_too_although_it_follows_at_once() -> None:
    world = World(**{f"n{i}": Pair(ttl=left) for i, left in enumerate((20, 20.2, 25, 26, 29, 30))})
    world.live(60, "n4", "n5")
    assert {name.decode() for name in world.judge.members()} == {"n0", "n1", "n2", "n3"}
    assert not [change for change in world.changes if change.after is State.OFFLINE and change.at < 1000 + 25]


def test_look_that_fails_says_so_and_what_was_due_is_read_soon() -> None:
    world = World(a=ALIVE)
    world.live(TTL)
    world.now += SLACK
    world.broken = True
    with pytest.raises(SourceError, match="broken"):
        world.watch.look(world.names)
    world.broken = False
    world.live(PROBE + SLOT)
    assert world.offline == {"a"}


def test_read_that_fails_is_tried_again_with_the_probes_and_no_more_often() -> None:
    world = World(a=ALIVE)
    world.live(TTL - 1)
    world.refused = []
    world.live(3)
    assert 2 / PROBE <= len(world.refused) + 1 <= 2 / PROBE + 2


def test_node_whose_primary_does_not_answer_is_read_with_the_probes_and_no_more_often() -> None:
    world = World(a=ALIVE, b=ALIVE)
    world.unread = {b"b"}
    world.live(2 * TTL, "a", "b")
    before, others = world.reads_of("b"), world.reads_of("a")
    world.live(3, "a", "b")
    assert 3 / PROBE - 1 <= world.reads_of("b") - before <= 3 / PROBE + 1
    assert world.reads_of("a") - others <= 1, "nobody dies, so nobody counts who is late"
    world.unread = set()
    world.live(PROBE + SLOT, "a", "b")
    before = world.reads_of("b")
    world.live(TTL - BEAT - 1, "a", "b")
    assert world.reads_of("b") == before


def test_refresh_tells_that_all_offline_nodes_were_looked_at() -> None:
    world = World(a=CRASHED)
    world.now += AGAIN / 2
    assert not world.step()
    world.now += AGAIN / 2
    assert world.step()
    assert world.offline == {"a"}
    world.reads.clear()
    world.now += AGAIN
    assert world.step()
    assert world.reads_of("a") == 1
    assert not world.step()


@pytest.mark.parametrize(("count", "firsts"), [(200, [100, 0, 100, 0]), (250, [100, 200, 0, 100])])
def test_while_writes_are_refused_some_nodes_are_read_with_every_probe(count: int, firsts: list[int]) -> None:
    world = World(deadlines=False, **{f"n{i:03}": ALIVE for i in range(count)})
    world.judge.judge(reading_of(world.pairs, world.now, names=world.names))
    world.live(1)
    assert world.reads == []
    world.server = replace(SERVER, refused={"OOM": 1})
    world.live(CALM_PROBE + 3 * PROBE)
    assert {name for read in world.reads for name in read} == set(world.names)
    assert [int(read[0][1:]) for read in world.reads] == firsts
    assert max(map(len, world.reads)) == 100
    assert world.judge.writes_refused_since() is not None
    world.beat("n042")
    world.live(4 * PROBE)
    assert world.judge.writes_refused_since() is None
    reads = len(world.reads)
    world.live(1)
    assert len(world.reads) == reads


def test_watch_tells_when_redis_last_answered_a_look() -> None:
    world = World(deadlines=False)
    assert Watch(Judge(TTL, BEAT), world, 5.0, lambda: world.now).looked == NEVER
    world.live(1)
    assert world.now - world.watch.looked < PROBE
    answered = world.watch.looked
    world.broken = True
    world.live(1)
    assert world.watch.looked == answered


def test_probe_says_whether_it_was_due() -> None:
    world = World()
    assert not world.watch.probe()
    world.now += CALM_PROBE
    assert world.watch.probe()
    assert not world.watch.probe()


def test_probes_come_once_a_second_while_all_is_well() -> None:
    world = World(deadlines=False, a=ALIVE)
    assert world.probes_in(60) == 60


@pytest.mark.parametrize(("ttl", "seconds"), [(3, PROBE), (15, 0.5), (30, 1.0), (3600, 1.0)])
def test_short_ttl_has_thirty_probes_while_all_is_well_if_four_a_second_are_enough(ttl: float, seconds: float) -> None:
    world = World()
    watch = Watch(Judge(ttl, ttl / 3), world, 5.0, lambda: world.now)
    assert watch.probe()
    watch._judge.observe(SERVER, world.now)
    assert watch.wait() == seconds


def test_probes_come_four_times_a_second_from_the_first_that_fails_until_all_nodes_had_their_chance() -> None:
    world = World(deadlines=False, a=ALIVE)
    world.broken = True
    world.live(CALM_PROBE)
    assert world.probes_in(10) == 10 / PROBE
    world.broken = False
    assert world.probes_in(TTL + BEAT - 1) == pytest.approx((TTL + BEAT - 1) / PROBE, abs=1)
    world.live(2)
    assert world.probes_in(10) == 10


def test_probes_come_four_times_a_second_while_a_node_is_undecided() -> None:
    world = World(a=ALIVE)
    world.pairs[b"a"] = CRASHED
    world.judge.judge(reading_of(world.pairs, world.now))  # it vanished before its deadline: its next beat must be seen
    assert world.probes_in(10) == 10 / PROBE
    world.live(TTL)
    assert world.offline == {"a"}
    assert world.probes_in(10) <= 10


def test_probes_come_four_times_a_second_while_a_primary_does_not_answer() -> None:
    world = World(deadlines=False)
    topology, keys = Topology(("a:1", "b:1")), KeyNames(b"", b"")
    world.server = Primaries.of({"a:1": SERVER, "b:1": SERVER}, topology, keys)
    world.live(TTL + BEAT + 2)  # from the first look on, all is well in the cluster
    assert world.probes_in(10) == 10
    world.server = Primaries.of({"a:1": SERVER}, topology, keys)
    world.live(CALM_PROBE)
    assert world.probes_in(10) == 10 / PROBE


def test_read_of_nodes_takes_the_place_of_the_next_probe() -> None:
    world = World(deadlines=False, a=ALIVE)
    for _ in range(20):
        world.live(CALM_PROBE / 2)
        world.judge.judge(reading_of(world.pairs, world.now))
    assert world.probes == 1
    assert world.watch.looked == world.now
    assert world.watch.wait() == CALM_PROBE


def test_first_probe_of_a_watch_waits_for_nothing() -> None:
    world = World(deadlines=False, a=ALIVE)
    assert Watch(world.judge, world, 5.0, lambda: world.now).probe()


def test_first_answer_long_after_the_first_probe_leaves_nodes_their_chance() -> None:
    world = World()
    world.judge = Judge(TTL, BEAT)
    world.watch = Watch(world.judge, world, 5.0, lambda: world.now)
    world.watch.keep_deadlines(AGAIN)
    world.broken = True
    world.live(60)
    world.broken, world.pairs[b"a"], world.names = False, CRASHED, (b"a",)
    world.live(TTL + BEAT - 1)
    assert world.offline == set()
    world.live(2)
    assert world.offline == {"a"}


def test_alarm_makes_the_next_probe_due_at_once_but_no_sooner_than_in_a_fault() -> None:
    world = World(deadlines=False, a=ALIVE)
    world.now += PROBE / 2
    world.watch.alarm()
    assert world.watch.wait() == PROBE / 2
    world.now += PROBE / 2
    assert world.watch.probe()
    assert world.watch.wait() == CALM_PROBE


def test_silence_counts_from_when_a_probe_would_have_had_no_answer_that_had_come_four_times_a_second() -> None:
    world = World(deadlines=False)
    answered = world.now
    assert world.watch.silent_since(answered + 0.1) == answered + 0.1
    assert world.watch.silent_since(answered + CALM_PROBE) == answered + PROBE
    assert world.watch.silent_since(answered + 600) == answered + 600 - CALM_PROBE + PROBE
    assert Watch(Judge(TTL, BEAT), world, 5.0, lambda: world.now).silent_since(7) == 7


def test_look_at_nodes_is_an_answer_of_redis_too() -> None:
    world = World(a=ALIVE)
    world.now += TTL + SLACK
    world.watch.look(world.names)
    assert world.watch.looked == world.now


def test_node_that_a_scrape_saw_come_back_before_the_watch_knew_it_is_watched_once_it_is_known() -> None:
    world = World()
    for pair in (CRASHED, ALIVE):
        world.judge.judge(reading_of({b"a": pair}, world.now))
    world.beat("a")
    world.live(1)
    assert world.reads == []
    world.names = (b"a",)
    world.live(TTL)
    assert world.offline == {"a"}


def test_many_deaths_cost_few_reads() -> None:
    world = World(**{f"n{i:03}": Pair(ttl=20 + i / 100) for i in range(200)})
    world.live(21.9)
    assert len(world.judge.members()) > 100
    late_looks = world.reads_of("n199") - 1
    assert late_looks <= 4  # for 2 s, every LATE_EVERY
    assert len(world.reads) - late_looks <= 1 + 2 / SLOT


def test_look_that_is_overdue_is_due_now() -> None:
    world = World(a=ALIVE)
    world.now += 60
    assert world.watch.wait() == 0


def test_while_redis_does_not_answer_only_the_next_probe_is_due() -> None:
    world = World(a=ALIVE)
    world.now += 60
    world.broken = True
    with pytest.raises(SourceError, match="broken"):
        world.step()
    assert world.watch.wait() == PROBE
    world.broken = False
    world.now += PROBE
    world.step()
    assert world.reads_of("a") == 2
