"""The judge, sentence by sentence of what a pair of keys means; time is passed in."""

from dataclasses import replace

import pytest

from exporter.liveness.faults import Kind
from exporter.liveness.forgetting import Leftovers
from exporter.liveness.judge import LOOK_AGAIN, Change, Judge, State, Verdicts
from exporter.source.reading import Server
from lab.readings import ALIVE, CRASHED, ENDLESS, GONE, SERVER, ZOMBIE, Pair, reading_of

TTL, BEAT = 30.0, 10.0
GRACE = TTL + BEAT
RESTARTED = Server("run-2", "master")
DEMOTED = Server("run-1", "slave")
HOUR = 3600.0
FAULTS = pytest.mark.parametrize(
    ("server", "silence"),
    [
        pytest.param(RESTARTED, 1.0, id="restarted"),
        pytest.param(DEMOTED, 1.0, id="changed its role"),
        pytest.param(SERVER, 5.1, id="silent for over 5 s"),
    ],
)


class Court:
    """One judge and one node under its eyes."""

    def __init__(self, forget_after: float | None = None) -> None:
        self.judge = Judge(TTL, BEAT, forget_after)
        self.names: tuple[bytes, ...] = (b"n",)
        self.answered = 0.0
        self.server = SERVER

    def answer_until(self, at: float) -> None:
        """Answer as a healthy Redis does, to the probe that asks it every second."""
        while self.answered < at:
            self.answered = min(at, self.answered + 1)
            self.judge.observe(self.server, self.answered)

    def look(self, pair: Pair, at: float, server: Server = SERVER) -> State:
        """Judge the node as it is now, once, after a time in which Redis answered."""
        self.answer_until(at - 0.25)
        return self.look_after_silence(pair, at, server)

    def look_after_silence(self, pair: Pair, at: float, server: Server = SERVER) -> State:
        self.answered, self.server = at, server
        return self.judge.judge(reading_of({b"n": pair}, at, server, self.names)).states[0]

    def remembers(self) -> bool:
        judge = self.judge
        rules = judge._rules
        memories = (rules.heartbeats.names(), rules.missing, rules.lost, rules.regained)
        return any(b"n" in memory for memory in memories)


@pytest.fixture
def court() -> Court:
    return Court()


# --- the table ---------------------------------------------------------------------------------


def test_node_with_heartbeat_and_hash_is_online(court: Court) -> None:
    assert court.look(ALIVE, 0) is State.ONLINE


def test_node_with_heartbeat_and_no_hash_is_online(court: Court) -> None:
    assert court.look(ZOMBIE, 0) is State.ONLINE


def test_node_without_heartbeat_is_offline(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, TTL + 1) is State.OFFLINE


def test_node_without_heartbeat_and_hash_is_gone(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(GONE, 1) is State.GONE


def test_offline_node_whose_hash_is_deleted_is_gone(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(CRASHED, TTL + 1)
    assert court.look(GONE, TTL + 2) is State.GONE


@pytest.mark.parametrize("endless", [ENDLESS, Pair(ttl=-1, fields=None)], ids=["with a hash", "without one"])
def test_node_whose_heartbeat_never_expires_is_offline_with_the_second_look(court: Court, endless: Pair) -> None:
    assert court.look(endless, 0) is State.UNDECIDED
    assert court.look(endless, LOOK_AGAIN) is State.OFFLINE


def test_living_node_whose_heartbeat_loses_its_expiry_is_offline_with_the_second_look(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(ENDLESS, 1) is State.ONLINE
    assert court.look(ENDLESS, 1 + LOOK_AGAIN) is State.OFFLINE


def test_living_node_whose_heartbeat_seemed_to_be_endless_in_one_reading_stays_online(court: Court) -> None:
    """The key had another type when its PTTL was read, and was a heartbeat again when its value was read."""
    court.look(ALIVE, 0)
    for at in (1, 3, 5):
        assert court.look(ENDLESS, at) is State.ONLINE
        assert court.look(ALIVE, at + 1) is State.ONLINE


def test_offline_node_is_online_with_its_next_beat(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(CRASHED, TTL + 1)
    assert court.look(ALIVE, TTL + 2) is State.ONLINE


def test_heartbeat_in_its_last_millisecond_does_not_make_a_node_dead_early(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(Pair(ttl=0.0), TTL - 0.0005) is State.ONLINE


def test_heartbeat_in_its_last_milliseconds_counts_as_long_as_redis_says_that_any_is_left() -> None:
    names = (b"none", b"one", b"crashed")
    reading = reading_of({b"none": Pair(ttl=0.0), b"one": Pair(ttl=0.001), b"crashed": CRASHED}, names=names)
    assert Judge(TTL, BEAT).judge(reading).states == [State.UNDECIDED, State.ONLINE, State.UNDECIDED]
    assert Judge(TTL, BEAT).judge(reading_of({b"none": Pair(ttl=0.0)})).states == [State.UNDECIDED]


# --- deadlines ---------------------------------------------------------------------------------


def test_heartbeat_that_vanishes_early_leaves_the_node_online_until_its_deadline(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, 1) is State.ONLINE
    assert court.look(CRASHED, TTL - 0.1) is State.ONLINE
    assert court.look(CRASHED, TTL + 0.1) is State.OFFLINE


def test_answer_that_waited_to_be_taken_in_tells_only_of_when_it_was_asked_for(court: Court) -> None:
    court.look(ALIVE, 0)
    court.answer_until(TTL)
    late = replace(reading_of({b"n": CRASHED}, TTL + 3, names=court.names), asked=TTL - 1)
    assert court.judge.judge(late).states == [State.ONLINE]
    assert court.look(CRASHED, TTL + 3) is State.OFFLINE


def test_deadline_is_that_of_the_last_beat(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(ALIVE, 20)
    assert court.look(CRASHED, 20 + TTL - 0.1) is State.ONLINE
    assert court.look(CRASHED, 20 + TTL) is State.OFFLINE


def test_deadline_follows_the_ttl_that_redis_tells(court: Court) -> None:
    court.look(Pair(ttl=7), 0)
    assert court.look(CRASHED, 6.9) is State.ONLINE
    assert court.look(CRASHED, 7) is State.OFFLINE


def test_evicted_heartbeat_that_is_written_anew_goes_unnoticed(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, 9) is State.ONLINE
    assert court.look(ALIVE, 10) is State.ONLINE
    assert court.look(CRASHED, 10 + TTL - 0.1) is State.ONLINE


def test_reading_may_show_a_death_of_a_node_without_heartbeat_whose_deadline_is_over(court: Court) -> None:
    court.look(Pair(ttl=7), 0)
    assert not court.judge.may_die(reading_of({b"n": CRASHED}, 6.9))
    assert court.judge.may_die(reading_of({b"n": CRASHED}, 7))
    assert court.judge.may_die(reading_of({b"n": Pair(ttl=0.0)}, 7))
    assert not court.judge.may_die(reading_of({b"n": Pair(ttl=0.001)}, 7))
    assert not court.judge.may_die(reading_of({b"never seen": CRASHED}, 7))
    assert not court.judge.may_die(replace(reading_of({b"n": CRASHED}, 7), unread=frozenset((0,))))
    court.look(CRASHED, 7)
    assert not court.judge.may_die(reading_of({b"n": CRASHED}, 8))  # it is dead already


# --- the second look ---------------------------------------------------------------------------


def test_pair_never_seen_that_reads_as_crashed_is_undecided_at_first(court: Court) -> None:
    assert court.look(CRASHED, 0) is State.UNDECIDED
    assert court.judge.undecided() == [b"n"]
    assert court.look(CRASHED, 0.019) is State.UNDECIDED


def test_pair_never_seen_that_reads_as_crashed_twice_is_offline(court: Court) -> None:
    court.look(CRASHED, 0)
    assert court.look(CRASHED, 0.02) is State.OFFLINE


def test_pair_never_seen_that_is_deleted_meanwhile_is_gone(court: Court) -> None:
    court.look(CRASHED, 0)
    assert court.look(GONE, 0.02) is State.GONE
    assert not court.remembers()


def test_pair_never_seen_that_beats_meanwhile_is_online(court: Court) -> None:
    court.look(CRASHED, 0)
    assert court.look(ALIVE, 0.02) is State.ONLINE


def test_node_seen_before_is_not_looked_at_twice(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, TTL + 1) is State.OFFLINE


# --- faults of Redis ---------------------------------------------------------------------------


@FAULTS
def test_after_a_fault_a_node_without_heartbeat_is_undecided_until_it_had_its_chance(
    court: Court, server: Server, silence: float
) -> None:
    court.look(ALIVE, 0)
    court.answer_until(TTL - silence)
    assert court.look_after_silence(CRASHED, TTL, server) is State.UNDECIDED
    # All the time until the fault was a chance, and all the time since.
    assert court.look(CRASHED, GRACE + silence - 0.1, server) is State.UNDECIDED
    assert court.look(CRASHED, GRACE + silence, server) is State.OFFLINE


@FAULTS
def test_after_a_fault_a_node_that_beats_is_online(court: Court, server: Server, silence: float) -> None:
    court.look(ALIVE, 0)
    court.answer_until(TTL - silence)
    court.look_after_silence(CRASHED, TTL, server)
    assert court.look(ALIVE, TTL + BEAT, server) is State.ONLINE
    assert court.look(CRASHED, TTL + BEAT + TTL - 0.1, server) is State.ONLINE
    assert court.look(CRASHED, TTL + BEAT + TTL, server) is State.OFFLINE


@FAULTS
def test_after_a_fault_a_node_that_kept_its_heartbeat_is_online(court: Court, server: Server, silence: float) -> None:
    court.look(ALIVE, 0)
    court.answer_until(TTL - silence)
    assert court.look_after_silence(Pair(ttl=3), TTL, server) is State.ONLINE


@FAULTS
def test_after_a_fault_a_node_that_was_offline_stays_offline(court: Court, server: Server, silence: float) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, TTL) is State.OFFLINE
    back = TTL + silence
    assert court.look_after_silence(CRASHED, back, server) is State.OFFLINE
    assert court.look(CRASHED, back + GRACE, server) is State.OFFLINE


@FAULTS
def test_probe_that_notes_a_fault_first_says_so(court: Court, server: Server, silence: float) -> None:
    told: list[Kind] = []
    court.judge.on_faults(told.append)
    court.look(ALIVE, 0)
    faults = court.judge.observe(server, silence)
    assert len(faults) == 1
    assert not court.judge.observe(server, silence + 0.25)
    assert told == faults
    court.answered, court.server = silence, server
    assert court.look(CRASHED, TTL + 1, server) is State.UNDECIDED


@FAULTS
def test_fault_that_a_read_shows_first_is_told_too(court: Court, server: Server, silence: float) -> None:
    told: list[Kind] = []
    court.judge.on_faults(told.append)
    court.look(ALIVE, 0)
    court.look_after_silence(ALIVE, silence, server)
    assert len(told) == 1


def test_silence_of_up_to_five_seconds_changes_nothing(court: Court) -> None:
    court.look(ALIVE, 0)
    court.answer_until(TTL - 5.0)
    assert not court.judge.observe(SERVER, TTL - 5.0 + 4.99)
    assert court.look_after_silence(CRASHED, TTL, SERVER) is State.OFFLINE


@pytest.mark.parametrize("beat", [6, 7])
def test_fault_before_the_last_beat_excuses_nothing(court: Court, beat: float) -> None:
    court.look(ALIVE, 0)
    court.look_after_silence(ALIVE, 6)
    court.look(ALIVE, beat)
    assert court.look(CRASHED, beat + TTL - 0.1) is State.ONLINE  # early, by its own deadline
    assert court.look(CRASHED, beat + TTL) is State.OFFLINE


def test_chance_adds_up_over_faults(court: Court) -> None:
    court.look(ALIVE, 0)
    for back in (20.0, 40.0, 60.0):  # ten seconds of answers, ten of silence, again and again
        court.answer_until(back - 10)
        assert court.look_after_silence(CRASHED, back) is State.UNDECIDED
    # 10 s before the first silence, twice 10 s between two, and 10 s since.
    assert court.look(CRASHED, 69.9) is State.UNDECIDED
    assert court.look(CRASHED, 70) is State.OFFLINE


@pytest.mark.parametrize("began", [TTL + 0.5, 300])
def test_node_that_nobody_looked_at_before_a_fault_gets_its_whole_chance_after_it(court: Court, began: float) -> None:
    court.look(ALIVE, 0)
    court.answer_until(began)  # it may have beaten all the time
    over = began + 1
    assert court.look_after_silence(CRASHED, over, RESTARTED) is State.UNDECIDED
    assert court.look(CRASHED, over + GRACE - 0.1, RESTARTED) is State.UNDECIDED
    assert court.look(CRASHED, over + GRACE, RESTARTED) is State.OFFLINE


def test_node_nobody_looked_at_gets_its_whole_chance_from_the_first_second_of_a_run_that_lasts(court: Court) -> None:
    court.look(ALIVE, 0)
    for uptime in (0, 14, 16, 39):
        server = replace(RESTARTED, uptime=uptime)
        assert court.look(CRASHED, TTL + 1 + uptime, server) is State.UNDECIDED
    assert court.look(CRASHED, TTL + 1 + GRACE, replace(RESTARTED, uptime=GRACE)) is State.OFFLINE


@pytest.mark.parametrize("began", [TTL - 0.5, TTL])
def test_chance_before_a_fault_counts_if_it_began_while_the_last_heartbeat_lived(court: Court, began: float) -> None:
    court.look(ALIVE, 0)
    court.answer_until(began)
    over = began + 1
    assert court.look_after_silence(CRASHED, over, RESTARTED) is State.UNDECIDED
    assert court.look(CRASHED, over + GRACE - began - 0.1, RESTARTED) is State.UNDECIDED
    assert court.look(CRASHED, over + GRACE - began, RESTARTED) is State.OFFLINE


def test_node_that_nobody_looked_at_is_offline_since_it_was_seen_so(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, 300) is State.OFFLINE
    assert court.judge.offline_since(b"n") == (300, None)


def test_run_of_redis_that_ends_soon_gives_no_chance(court: Court) -> None:
    court.look(ALIVE, 0)
    at, runs = 10.0, 2
    court.answer_until(at)
    for _ in range(10):  # up for 4 s, down for 20 s
        at += 20
        server = Server(f"run-{runs}", "master", uptime=0)
        assert court.look_after_silence(CRASHED, at, server) is State.UNDECIDED
        at += 4
        assert court.look(CRASHED, at, replace(server, uptime=4)) is State.UNDECIDED
        runs += 1
    at += 20
    last = Server(f"run-{runs}", "master", uptime=0)
    court.look_after_silence(CRASHED, at, last)
    # 10 s before the first crash, and 30 s of a run that lasts.
    assert court.look(CRASHED, at + 29.9, replace(last, uptime=29)) is State.UNDECIDED
    assert court.look(CRASHED, at + 30, replace(last, uptime=30)) is State.OFFLINE


def test_hash_never_seen_is_undecided_after_a_fault(court: Court) -> None:
    court.names = ()
    court.judge.judge(reading_of({}, 0))
    court.names = (b"n",)
    assert court.look_after_silence(CRASHED, 1, RESTARTED) is State.UNDECIDED
    assert court.look(CRASHED, 1 + GRACE - 0.1, RESTARTED) is State.UNDECIDED
    assert court.look(CRASHED, 1 + GRACE, RESTARTED) is State.OFFLINE


def test_exporter_that_starts_beside_a_redis_just_restored_waits_until_nodes_could_beat(court: Court) -> None:
    restored = Server("run-1", "master", uptime=10, restored=True)
    assert court.look_after_silence(CRASHED, 0, restored) is State.UNDECIDED
    assert court.look(CRASHED, GRACE - 10 - 0.1, restored) is State.UNDECIDED
    assert court.look(CRASHED, GRACE - 10, restored) is State.OFFLINE


def test_exporter_that_starts_beside_a_redis_restored_long_ago_does_not_wait(court: Court) -> None:
    restored = Server("run-1", "master", uptime=GRACE, restored=True)
    court.look_after_silence(CRASHED, 0, restored)
    assert court.look(CRASHED, 0.02, restored) is State.OFFLINE


def test_a_ttl_that_was_cut_moves_the_deadline_earlier(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(Pair(ttl=2), 1)
    assert court.judge.due(b"n") == 3
    assert court.look(CRASHED, 3) is State.OFFLINE


def test_a_heartbeat_that_lives_for_an_hour_is_looked_at_within_a_ttl(court: Court) -> None:
    court.look(Pair(ttl=HOUR), 0)  # Redis's clock was set back
    assert court.judge.due(b"n") == TTL
    assert court.look(CRASHED, TTL) is State.OFFLINE


def test_node_on_a_primary_that_cannot_be_read_is_undecided_and_what_is_known_of_it_stays(court: Court) -> None:
    court.look(ALIVE, 0)
    unread = replace(reading_of({b"n": GONE}, 10, names=court.names), without_hash=frozenset(), unread=frozenset((0,)))
    assert court.judge.judge(unread).states == [State.UNDECIDED]
    assert court.look(ALIVE, 11) is State.ONLINE
    court.look(CRASHED, 11 + TTL)
    late = replace(unread, asked=50, at=50)
    assert court.judge.judge(late).states == [State.UNDECIDED]
    assert list(court.judge.offline()) == [b"n"]


def test_node_that_stops_gracefully_after_a_fault_is_gone(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look_after_silence(CRASHED, TTL)
    assert court.look(GONE, TTL + 1) is State.GONE
    assert not court.remembers()


# --- refused writes ----------------------------------------------------------------------------


def refusing(writes: int) -> Server:
    """Return a Redis that has refused so many writes since it started."""
    return replace(SERVER, refused={"MISCONF": 0, "OOM": writes, "NOREPLICAS": 0})


def test_beat_that_another_node_wrote_ends_a_refusal_and_the_chance_counts_from_that_beat_on(court: Court) -> None:
    names = (b"n", b"other")
    court.judge.judge(reading_of({b"n": Pair(ttl=25), b"other": ALIVE}, 100, refusing(0), names))
    court.judge.observe(refusing(1), 101)
    assert court.judge.writes_refused_since() == 100
    court.judge.judge(reading_of({b"n": Pair(ttl=23), b"other": Pair(ttl=28)}, 102, refusing(2), names))
    assert court.judge.writes_refused_since() == 100  # both beats are older than the refusal
    for writes in range(3, 21):
        court.judge.observe(refusing(writes), 100 + writes)
    court.judge.judge(reading_of({b"n": Pair(ttl=4), b"other": Pair(ttl=25)}, 121, refusing(20), names))
    assert court.judge.writes_refused_since() is None
    court.names, court.answered, court.server = names[:1], 121, refusing(20)
    # n beat at 95. It had 5 s of chance before the refusal, and the rest since the other node's beat at 116.
    assert court.look(CRASHED, 116 + GRACE - 5 - 0.01, refusing(20)) is State.UNDECIDED
    assert court.look(CRASHED, 116 + GRACE - 5, refusing(20)) is State.OFFLINE


def test_heartbeat_that_lives_for_an_hour_ends_a_refusal_now_and_no_later(court: Court) -> None:
    names = (b"n", b"other")
    court.judge.judge(reading_of({b"n": ALIVE, b"other": ALIVE}, 100, refusing(0), names))
    court.judge.observe(refusing(1), 101)
    court.judge.judge(reading_of({b"n": CRASHED, b"other": Pair(ttl=HOUR)}, 104, refusing(1), names))
    assert court.judge.writes_refused_since() is None
    court.names, court.answered, court.server = names[:1], 104, refusing(1)
    # Half of the 4 s gave no chance, since the refusal was over so soon.
    assert court.look(CRASHED, 100 + GRACE + 2 - 0.01, refusing(1)) is State.UNDECIDED
    assert court.look(CRASHED, 100 + GRACE + 2, refusing(1)) is State.OFFLINE


# --- lost data ---------------------------------------------------------------------------------


def test_node_whose_data_redis_lost_is_undecided_then_offline(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(GONE, 5, RESTARTED) is State.UNDECIDED
    assert court.look(GONE, GRACE, RESTARTED) is State.UNDECIDED
    assert court.look(GONE, GRACE + 1, RESTARTED) is State.OFFLINE


def test_node_whose_data_redis_lost_is_awaited_although_discovery_finds_nothing(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.judge.awaited(court.answered) == ()
    court.judge.observe(RESTARTED, 5)
    assert court.judge.awaited(court.answered) == (b"n",)


def test_node_whose_data_redis_lost_is_online_once_it_beats(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(GONE, 5, RESTARTED)
    assert court.look(ALIVE, 9, RESTARTED) is State.ONLINE
    assert court.judge.awaited(court.answered) == ()
    assert court.look(GONE, 20, RESTARTED) is State.GONE


def test_node_whose_data_redis_lost_is_remembered_for_an_hour_and_then_gone(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(GONE, 5, RESTARTED) is State.UNDECIDED
    assert court.look(GONE, 5 + HOUR - 1, RESTARTED) is State.OFFLINE
    assert court.look(GONE, 5 + HOUR, RESTARTED) is State.GONE
    assert court.judge.awaited(court.answered) == ()
    assert not court.remembers()
    assert court.look(GONE, 5 + HOUR + 1, RESTARTED) is State.GONE


def test_node_whose_data_redis_lost_is_gone_after_an_hour_although_nobody_reads_it(court: Court) -> None:
    told: list[Change] = []
    court.look(ALIVE, 0)
    court.look(GONE, 5, RESTARTED)
    court.look(GONE, 5 + GRACE, RESTARTED)
    court.judge.on_changes(told.extend)
    assert court.judge.awaited(5 + HOUR - 0.1) == (b"n",)
    assert told == []
    assert court.judge.awaited(5 + HOUR) == ()
    assert told == [Change(b"n", State.OFFLINE, State.GONE, 5 + HOUR)]
    assert not court.remembers()


def test_second_loss_does_not_lengthen_the_hour(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(GONE, 5, RESTARTED)
    court.look(GONE, 1800, Server("run-3", "master"))
    assert court.look(GONE, 5 + HOUR, Server("run-3", "master")) is State.GONE


def test_offline_node_whose_data_redis_lost_stays_offline(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, TTL) is State.OFFLINE
    assert court.look(GONE, TTL + 1, RESTARTED) is State.OFFLINE
    assert court.look(GONE, TTL + 1 + GRACE, RESTARTED) is State.OFFLINE


LOSSES = pytest.mark.parametrize("after", [RESTARTED, replace(SERVER, flushes=1)], ids=["restarted", "flushed"])


@LOSSES
def test_reading_of_data_that_redis_has_lost_since_takes_no_node_for_stopped(court: Court, after: Server) -> None:
    court.look(ALIVE, 0)
    court.answer_until(10)
    court.judge.observe(after, 11)
    late = reading_of({b"n": ALIVE}, 10.5, SERVER, court.names)  # it was asked for before, and comes only now
    assert court.judge.judge(late).states == [State.ONLINE]
    assert court.look_after_silence(GONE, 12, after) is State.UNDECIDED
    assert court.look(GONE, 12 + GRACE, after) is State.OFFLINE


@LOSSES
def test_reading_from_before_the_loss_shows_nothing_of_a_node_without_heartbeat(court: Court, after: Server) -> None:
    court.look(ALIVE, 0)
    court.answer_until(10)
    court.judge.observe(after, 11)
    for pair in (GONE, CRASHED, ENDLESS):
        late = reading_of({b"n": pair}, 10.5, SERVER, court.names)
        assert court.judge.judge(late).states == [State.UNDECIDED]
    assert court.look(ALIVE, 13, after) is State.ONLINE


@pytest.mark.parametrize("seen", ["by a read", "by discovery"])
def test_reading_asked_for_before_a_lost_node_beat_again_does_not_take_it_for_stopped(court: Court, seen: str) -> None:
    court.look(ALIVE, 0)
    court.answer_until(10)
    court.judge.observe(RESTARTED, 11)
    overlapping = replace(reading_of({b"n": GONE}, 11.5, RESTARTED, court.names), at=13)
    if seen == "by a read":
        court.judge.judge(reading_of({b"n": ALIVE}, 12, RESTARTED))
    else:
        court.judge.observe(RESTARTED, 12)
        court.judge.found(court.names, 11.2)
    assert court.judge.judge(overlapping).states == [State.UNDECIDED]
    assert court.look_after_silence(GONE, 14, RESTARTED) is State.GONE, "it was seen on the new data, and stopped"
    assert not court.remembers()


def test_reading_asked_for_before_a_death_does_not_take_the_dead_node_for_back(court: Court) -> None:
    changes: list[Change] = []
    court.look(ALIVE, 0)
    court.judge.on_changes(changes.extend)
    assert court.look(CRASHED, TTL + 0.01) is State.OFFLINE
    overlapping = replace(reading_of({b"n": Pair(ttl=0.001)}, TTL - 0.01, names=court.names), at=TTL + 0.02)
    verdicts = court.judge.judge(overlapping)
    assert (verdicts.states, verdicts.without_heartbeat) == ([State.OFFLINE], [0])
    assert court.look(CRASHED, TTL + 1) is State.OFFLINE
    assert [change.after for change in changes] == [State.OFFLINE]
    assert court.look(ALIVE, TTL + 2) is State.ONLINE


@pytest.mark.parametrize("silence", [1.0, 6.0], ids=["evicted early", "excused by a fault"])
def test_reading_asked_for_before_a_heartbeat_was_gone_does_not_bring_it_back(court: Court, silence: float) -> None:
    court.look(ALIVE, 0)
    state = court.look_after_silence(CRASHED, silence)
    changes: list[Change] = []
    court.judge.on_changes(changes.extend)
    overlapping = replace(reading_of({b"n": ALIVE}, silence - 0.5, names=court.names), at=silence + 0.5)
    assert court.judge.judge(overlapping).states == [state]
    assert court.look(CRASHED, silence + 1) is state
    assert changes == []


def test_reading_asked_for_before_a_death_that_is_held_back_changes_nothing(court: Court) -> None:
    names = tuple(f"n{number}".encode() for number in range(8))
    judge = court.judge
    judge.judge(reading_of(dict.fromkeys(names, ALIVE), 0))
    court.answer_until(29)
    changes: list[Change] = []
    judge.on_changes(changes.extend)
    dying = {name: CRASHED if name == b"n0" else Pair(ttl=1) for name in names}
    assert judge.judge(reading_of(dying, 30.01)).states[0] is State.UNDECIDED
    older = replace(reading_of({**dying, b"n0": Pair(ttl=0.01)}, 29.99), at=30.02)
    assert judge.judge(older).states == [State.UNDECIDED, *[State.ONLINE] * 7]
    assert judge.judge(reading_of(dict.fromkeys(names, CRASHED), 31.1)).states == [State.OFFLINE] * 8
    assert judge.members() == set(names)
    assert [change.after for change in changes if change.name == b"n0"] == [State.UNDECIDED, State.OFFLINE]


def test_reading_that_comes_late_from_the_same_data_counts(court: Court) -> None:
    court.look(ALIVE, 0)
    court.answer_until(11)
    assert court.judge.judge(reading_of({b"n": GONE}, 10.5, SERVER, court.names)).states == [State.GONE]


def test_offline_node_stays_offline_in_a_reading_from_before_the_loss(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(CRASHED, TTL + 1) is State.OFFLINE
    court.judge.observe(RESTARTED, TTL + 3)
    late = reading_of({b"n": GONE}, TTL + 2, SERVER, court.names)
    assert court.judge.judge(late).states == [State.OFFLINE]


def test_node_that_kept_its_hash_through_a_restart_is_not_lost(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(CRASHED, 5, RESTARTED)
    assert court.judge.awaited(court.answered) == ()
    assert court.look(GONE, 6, RESTARTED) is State.GONE


def test_node_gone_before_redis_lost_its_data_is_not_awaited(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look(GONE, 1) is State.GONE
    court.judge.observe(RESTARTED, 5)
    assert court.judge.awaited(court.answered) == ()


def test_node_that_vanishes_from_the_same_redis_after_a_silence_is_gone(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.look_after_silence(GONE, 20) is State.GONE


# --- forgetting --------------------------------------------------------------------------------


def test_offline_node_is_forgotten_after_the_time_set() -> None:
    court = Court(forget_after=100)
    court.look(ALIVE, 0)
    assert court.look(CRASHED, TTL) is State.OFFLINE
    assert court.look(CRASHED, TTL + 100) is State.OFFLINE
    assert court.look(CRASHED, TTL + 100.1) is State.FORGOTTEN


def test_time_to_forget_counts_from_the_deadline_not_from_when_somebody_looked() -> None:
    court = Court(forget_after=20)
    court.look(ALIVE, 0)
    assert court.look(CRASHED, TTL + 20.1) is State.FORGOTTEN


def test_forgotten_node_that_beats_is_online() -> None:
    court = Court(forget_after=100)
    court.look(ALIVE, 0)
    court.look(CRASHED, TTL)
    court.look(CRASHED, 1000)
    assert court.look(ALIVE, 1001) is State.ONLINE
    assert court.look(CRASHED, 1001 + TTL) is State.OFFLINE


def test_without_a_time_to_forget_nodes_stay_offline_for_ever(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(CRASHED, TTL)
    assert court.look_after_silence(CRASHED, 1e9) is State.OFFLINE


# --- memory ------------------------------------------------------------------------------------


def test_gone_node_leaves_nothing_in_memory(court: Court) -> None:
    court.look(ALIVE, 0)
    assert court.remembers()
    court.look(GONE, 1)
    assert not court.remembers()


def test_node_no_longer_among_the_names_leaves_nothing_in_memory(court: Court) -> None:
    court.look(ALIVE, 0)
    court.judge.keep((b"m",))
    assert not court.remembers()


def test_reading_of_others_forgets_nobody(court: Court) -> None:
    court.look(ALIVE, 0)
    court.judge.judge(reading_of({b"m": ALIVE}, 1))
    assert court.remembers()


def test_last_beat_of_an_offline_node_is_remembered(court: Court) -> None:
    court.look(Pair(ttl=30, beat=b"then"), 0)
    court.look(CRASHED, TTL)
    assert court.judge.last_beat(b"n") == b"then"


def test_online_node_is_due_at_its_deadline(court: Court) -> None:
    court.look(Pair(ttl=12), 100)
    assert court.judge.due(b"n") == 112
    assert court.judge.offline_since(b"n") == (None, None)


def test_undecided_node_is_never_due_since_every_probe_reads_it(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look_after_silence(CRASHED, TTL)
    assert court.judge.due(b"n") is None
    assert court.judge.undecided() == [b"n"]


def test_offline_node_is_never_due_and_tells_since_when(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(CRASHED, TTL + 5)
    assert court.judge.due(b"n") is None
    assert court.judge.offline_since(b"n") == (TTL, TTL)


def test_node_never_seen_alive_is_offline_since_it_was_seen_so_for_sure_and_no_heartbeat_ended(court: Court) -> None:
    court.look(CRASHED, 5)
    court.judge.judge(replace(reading_of({b"n": CRASHED}, 7, names=court.names), asked=6))
    assert court.judge.offline_since(b"n") == (6, None)


def test_judge_tells_what_redis_said_of_itself_last(court: Court) -> None:
    assert court.judge.server is None
    court.judge.observe(SERVER, 0)
    court.look(ALIVE, 1, DEMOTED)
    assert court.judge.server == DEMOTED


def test_unknown_node_is_neither_due_nor_offline(court: Court) -> None:
    assert court.judge.due(b"n") is None
    assert court.judge.offline_since(b"n") == (None, None)


def test_empty_fleet_is_judged() -> None:
    assert Judge(TTL, BEAT).judge(reading_of({})) == Verdicts([], [])


def test_a_node_whose_renewed_heartbeat_may_have_been_evicted_has_the_time_of_one_more_beat() -> None:
    court = Court()
    evicted = Server("run-1", "master", evicted=1)
    court.look(ALIVE, 0)
    court.look(CRASHED, 25, evicted)  # it beat at 10 and 20, and nobody looked
    assert court.look(CRASHED, TTL + 1.5 * BEAT - 0.1, evicted) is State.ONLINE
    assert court.look(CRASHED, TTL + 1.5 * BEAT, evicted) is State.OFFLINE


def test_a_beat_that_is_late_by_its_nodes_work_saves_a_node_whose_heartbeats_were_evicted() -> None:
    court = Court()
    evicted = Server("run-1", "master", evicted=1)
    court.look(ALIVE, 0)
    beats = (10.4, 20.8, 31.2, 41.6)  # a period is 10 s and the work of the loop
    court.look(CRASHED, beats[2] + 1, evicted)
    assert court.look(CRASHED, beats[3] - 0.1, evicted) is State.ONLINE
    assert court.look(ALIVE, beats[3], evicted) is State.ONLINE


def test_a_node_is_read_when_its_heartbeat_should_end_although_evictions_give_it_more_time() -> None:
    court = Court()
    evicted = Server("run-1", "master", evicted=1)
    court.look(ALIVE, 0)
    court.server = evicted
    court.answer_until(TTL - 1)
    assert court.judge.due(b"n") == TTL
    court.look(CRASHED, TTL, evicted)
    assert court.judge.due(b"n") == TTL + 1.5 * BEAT
    assert court.judge.undecided() == [b"n"]  # so that every probe reads it meanwhile


@pytest.mark.parametrize("beat", [25, 26])
def test_evictions_before_a_heartbeat_was_written_give_no_more_time(beat: float) -> None:
    court = Court()
    evicted = Server("run-1", "master", evicted=1)
    court.look(ALIVE, 0)
    court.look(ALIVE, 25, evicted)
    court.look(ALIVE, beat, evicted)
    assert court.look(CRASHED, beat + TTL, evicted) is State.OFFLINE


def test_run_that_lasts_gives_its_first_seconds_as_chance_and_no_more(court: Court) -> None:
    court.look(ALIVE, 0)
    back = TTL + 5
    assert court.look_after_silence(CRASHED, back, Server("run-2", "master", uptime=0)) is State.UNDECIDED
    for second in range(1, 40):
        state = court.look(CRASHED, back + second, Server("run-2", "master", uptime=second))
        assert state is State.UNDECIDED, second
    assert court.look(CRASHED, back + GRACE, Server("run-2", "master", uptime=40)) is State.OFFLINE


def test_node_that_a_scan_saw_on_the_new_redis_and_that_is_gone_afterwards_stopped(court: Court) -> None:
    court.look(ALIVE, 0)
    court.judge.observe(RESTARTED, 5)
    court.judge.found({b"n"}, since=6)
    assert court.judge.awaited(7) == ()
    court.answered, court.server = 7, RESTARTED
    assert court.look(GONE, 8, RESTARTED) is State.GONE


def test_scan_that_began_before_redis_lost_its_data_proves_nothing(court: Court) -> None:
    court.look(ALIVE, 0)
    court.judge.observe(RESTARTED, 5)
    court.judge.found({b"n"}, since=4)
    assert court.judge.awaited(7) == (b"n",)


def test_changes_are_told_once_each_with_what_was_before(court: Court) -> None:
    told: list[Change] = []
    court.judge.on_changes(told.extend)
    court.look(ALIVE, 0)
    court.look(CRASHED, TTL)
    court.look(CRASHED, TTL + 1)
    court.look(ALIVE, TTL + 2)
    assert told == [
        Change(b"n", State.ONLINE, State.OFFLINE, TTL),
        Change(b"n", State.OFFLINE, State.ONLINE, TTL + 2),
    ]


def test_offline_node_whose_hash_is_deleted_is_told_to_be_gone(court: Court) -> None:
    court.look(ALIVE, 0)
    court.look(CRASHED, TTL)
    told: list[Change] = []
    court.judge.on_changes(told.extend)
    court.look(GONE, TTL + 1)
    assert told == [Change(b"n", State.OFFLINE, State.GONE, TTL + 1)]


def test_offline_node_is_forgotten_once_its_work_has_moved_unless_it_is_needed() -> None:
    judge = Judge(TTL, BEAT, forget_rehomed_after=100)
    names = (b"moved", b"needed", b"other")
    judge.judge(reading_of(dict.fromkeys(names, ALIVE), 0))
    states = []
    for at in range(1, 135):
        states = judge.judge(reading_of(dict.fromkeys(names, CRASHED), at)).states
        judge.set_leftovers(Leftovers(needed=frozenset([b"needed"]), rehomed=frozenset([b"moved", b"needed"])))
    assert states == [State.FORGOTTEN, State.OFFLINE, State.OFFLINE]


@pytest.mark.parametrize(("silent", "states"), [(60, [State.UNDECIDED] * 3), (4, [State.UNDECIDED, State.OFFLINE])])
def test_node_without_heartbeat_has_its_chance_if_redis_did_not_answer_for_long_after_the_start(
    court: Court, silent: float, states: list[State]
) -> None:
    court.judge.ask(1.0)
    court.judge.ask(1.0 + silent / 2)
    back = 1.0 + silent
    assert court.look_after_silence(CRASHED, back) is State.UNDECIDED
    for after, state in zip((LOOK_AGAIN, 10.0, TTL + BEAT - 1), states, strict=False):
        assert court.look(CRASHED, back + after) is state
    assert court.look(CRASHED, back + TTL + BEAT) is State.OFFLINE
