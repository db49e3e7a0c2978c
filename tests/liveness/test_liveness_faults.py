"""Redis's faults: which looks show one, when it begins and ends, and how much chance it leaves. Time is passed in."""

from dataclasses import replace

import pytest

from exporter.liveness.all_faults import Faults
from exporter.liveness.faults import HALF, ONGOING, Fault, Kind, ServerFaults, chance
from exporter.liveness.server_evidence import ServerEvidence
from exporter.source.reading import Server
from lab.readings import Pair, cluster, reading_of

TTL, BEAT = 30.0, 10.0
SHORT, CUT_OFF = 15.0, 12.0
SERVER = Server("run-1", "master", refused={"MISCONF": 0, "OOM": 0, "NOREPLICAS": 0})


def refusing(count: int) -> Server:
    return replace(SERVER, refused={"MISCONF": count, "OOM": 0, "NOREPLICAS": 0})


class Looks:
    """Looks at one Redis, a second apart unless it is said otherwise."""

    def __init__(self, first: Server = SERVER) -> None:
        self.faults = ServerFaults(TTL, BEAT)
        self.now = 100.0
        self.faults.observe(first, self.now)

    def see(self, server: Server, after: float = 1.0) -> list[Kind]:
        self.now += after
        return self.faults.observe(server, self.now)

    @property
    def spans(self) -> list[tuple[Kind, float, float]]:
        return [(fault.kind, fault.start, fault.end) for fault in self.faults.faults]


def test_what_redis_says_of_itself_is_kept_as_evidence() -> None:
    looks = Looks()
    looks.see(replace(SERVER, evicted=3))
    assert looks.faults.evidence == ServerEvidence("run-1", "master", evicted=3, evicted_at=101.0)


# --- chance ------------------------------------------------------------------------------------


def test_time_without_faults_is_all_chance() -> None:
    assert chance([], 3, 10) == 7


def test_faults_that_overlap_count_once() -> None:
    faults = [Fault(Kind.SILENT, 4, 6), Fault(Kind.RESTARTED, 5, 8), Fault(Kind.ROLE, 20, 30)]
    assert chance(faults, 0, 10) == 6


def test_fault_that_lasts_gives_no_chance_until_now() -> None:
    assert chance([Fault(Kind.REFUSED, 4)], 0, 10) == 4


def test_fault_of_before_counts_from_the_beat_on() -> None:
    assert chance([Fault(Kind.SILENT, 0, 5)], 3, 10) == 5


def test_half_a_fault_gives_half_a_chance() -> None:
    assert chance([Fault(Kind.REFUSED, 2, 6, share=HALF)], 0, 10) == 8


# --- sudden faults -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "after", "kind"),
    [
        (SERVER, 5.1, Kind.SILENT),
        (replace(SERVER, run_id="run-2"), 1.0, Kind.RESTARTED),
        (replace(SERVER, role="slave"), 1.0, Kind.ROLE),
        (replace(SERVER, flushes=1), 1.0, Kind.FLUSHED),
    ],
)
def test_sudden_fault_lasts_from_the_last_answer_to_this_one(server: Server, after: float, kind: Kind) -> None:
    looks = Looks()
    assert looks.see(server, after) == [kind]
    assert looks.spans == [(kind, 100, 100 + after)]


def test_flush_is_seen_though_the_role_changes_before_the_next_look() -> None:
    looks = Looks()
    assert looks.see(replace(SERVER, role="slave", flushes=1), 1.0) == [Kind.ROLE, Kind.FLUSHED]
    assert looks.spans == [(Kind.FLUSHED, 100, 101)]


def test_silence_of_five_seconds_is_no_fault() -> None:
    looks = Looks()
    assert looks.see(SERVER, 5.0) == []
    assert looks.spans == []


def test_look_that_is_taken_in_late_is_ignored() -> None:
    looks = Looks()
    looks.see(replace(SERVER, run_id="run-2"), 10)
    assert looks.faults.observe(SERVER, 105) == []
    assert looks.see(replace(SERVER, run_id="run-2")) == []


def test_server_that_may_not_be_asked_shows_no_restart() -> None:
    looks = Looks(Server("", "", info_allowed=False))
    assert looks.see(SERVER) == []
    assert looks.see(Server("", "", info_allowed=False)) == []
    assert looks.see(Server("", "", info_allowed=False), 6) == [Kind.SILENT]


def test_fault_is_dropped_when_every_node_has_had_its_chance() -> None:
    looks = Looks()
    looks.see(SERVER, 6)
    for _ in range(39):
        looks.see(SERVER)
        assert looks.spans
    looks.see(SERVER)
    assert looks.spans == []


# --- runs --------------------------------------------------------------------------------------


def test_short_run_is_joined_with_the_outages_around_it() -> None:
    looks = Looks()
    for run in range(2, 6):
        looks.see(replace(SERVER, run_id=f"run-{run}", uptime=0.0), 20)
        looks.see(replace(SERVER, run_id=f"run-{run}", uptime=4.0), 4)
    looks.see(replace(SERVER, run_id="run-6", uptime=0.0), 20)
    assert looks.spans == [(Kind.RESTARTED, 100, looks.now), (Kind.SHORT, looks.now, ONGOING)]


def test_short_runs_are_joined_although_an_outage_of_before_is_remembered() -> None:
    looks = Looks()
    looks.see(SERVER, 6)
    for _ in range(10):
        looks.see(SERVER)
    for run in range(2, 6):
        looks.see(replace(SERVER, run_id=f"run-{run}", uptime=0.0), 20)
        looks.see(replace(SERVER, run_id=f"run-{run}", uptime=4.0), 4)
    looks.see(replace(SERVER, run_id="run-6", uptime=0.0), 20)
    assert looks.spans == [
        (Kind.SILENT, 100, 106),
        (Kind.RESTARTED, 116, looks.now),
        (Kind.SHORT, looks.now, ONGOING),
    ]


def test_run_that_lasts_was_a_chance_from_its_first_second_on() -> None:
    looks = Looks()
    looks.see(replace(SERVER, run_id="run-2", uptime=0.0), 20)
    for second in range(1, 15):
        looks.see(replace(SERVER, run_id="run-2", uptime=second))
    assert looks.spans[-1] == (Kind.SHORT, 120, ONGOING)
    looks.see(replace(SERVER, run_id="run-2", uptime=15.0))
    assert looks.spans == [(Kind.RESTARTED, 100, 120)]


def test_run_that_was_going_on_before_it_was_seen_is_not_short() -> None:
    looks = Looks()
    looks.see(replace(SERVER, run_id="promoted", uptime=9000.0), 8)
    assert looks.spans == [(Kind.RESTARTED, 100, 108)]


def test_redis_that_has_just_started_with_old_data_was_at_fault_before_the_first_look() -> None:
    looks = Looks(replace(SERVER, uptime=7, restored=True))
    assert looks.spans == [(Kind.RESTARTED, 93, 93), (Kind.SHORT, 93, ONGOING)]
    assert Looks(replace(SERVER, uptime=7)).spans == []
    assert Looks(replace(SERVER, uptime=TTL + BEAT, restored=True)).spans == []


# --- refused writes ----------------------------------------------------------------------------


@pytest.mark.parametrize(("answered", "spans"), [(105.0, []), (105.5, [(Kind.SILENT, 100.0, 105.5)])])
def test_first_answer_that_was_awaited_for_over_five_seconds_ends_a_silence(
    answered: float, spans: list[tuple[Kind, float, float]]
) -> None:
    faults = Faults(TTL, BEAT)
    faults.ask(100.0)
    faults.ask(104.0)
    assert faults.observe(SERVER, answered) == []
    assert [(fault.kind, fault.start, fault.end) for fault in faults.of(b"n")] == spans
    faults.ask(109.0)
    faults.observe(SERVER, 109.5)
    assert [(fault.kind, fault.start, fault.end) for fault in faults.of(b"n")] == spans


def test_first_answer_of_a_redis_that_nobody_awaited_ends_no_silence() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(SERVER, 1000.0)
    assert faults.of(b"n") == []


def test_refused_write_begins_a_refusal_at_the_look_before() -> None:
    looks = Looks()
    assert looks.see(refusing(1)) == [Kind.REFUSED]
    assert looks.faults.writes_refused_since == 100
    assert looks.see(refusing(2)) == []
    assert looks.spans == [(Kind.REFUSED, 100, ONGOING)]


def test_refusals_of_long_ago_are_none_of_now() -> None:
    looks = Looks(refusing(3))
    looks.see(refusing(3))
    assert looks.faults.writes_refused_since is None


@pytest.mark.parametrize(
    ("server", "refuses"),
    [
        (SERVER, False),
        (refusing(3), False),
        (replace(refusing(3), last_save_ok=False), True),
        (replace(SERVER, last_save_ok=False), False),
        (replace(SERVER, refused={"OOM": 1}), False),
        (replace(SERVER, refused={"OOM": 1}, memory_used_ratio=0.94), False),
        (replace(SERVER, refused={"OOM": 1}, memory_used_ratio=0.95), True),
        (replace(SERVER, refused={"NOREPLICAS": 1}), True),
        (Server("run-1", "master", blocked=True), True),
        (Server("run-1", "master", last_save_ok=False), False),
    ],
)
def test_first_look_shows_a_refusal_that_may_still_last(server: Server, refuses: bool) -> None:  # noqa: FBT001
    assert (Looks(server).faults.writes_refused_since is not None) is refuses


def test_counts_of_another_run_begin_at_nothing() -> None:
    looks = Looks(refusing(3))
    looks.see(replace(refusing(1), run_id="run-2"))
    assert looks.faults.writes_refused_since is not None


def test_refusal_ends_when_no_write_was_refused_for_half_a_ttl() -> None:
    looks = Looks()
    looks.see(refusing(1))
    looks.see(refusing(1), SHORT - 0.1)
    assert looks.faults.writes_refused_since is not None
    looks.see(refusing(1), 0.1)
    assert looks.faults.writes_refused_since is None
    assert looks.spans[-1] == (Kind.REFUSED, 100, looks.now) or looks.spans[-1][0] is Kind.SILENT


def test_heartbeat_that_is_renewed_ends_a_refusal_that_began_before_it() -> None:
    looks = Looks()
    looks.see(refusing(1))
    looks.faults.observe_beat(101)  # no later than the look that showed the refusal
    assert looks.faults.writes_refused_since == 100
    for count in range(2, 30):
        looks.see(refusing(count))
    looks.faults.observe_beat(128.5)
    assert looks.spans == [(Kind.REFUSED, 100, 128.5)]
    assert chance(looks.faults.faults, 100, 130) == 1.5


def test_refusal_between_beats_that_succeed_gives_half_a_chance() -> None:
    looks = Looks()
    looks.see(refusing(1))
    looks.faults.observe_beat(104)
    assert chance(looks.faults.faults, 100, 110) == 8
    looks.see(refusing(2), 9)
    assert looks.faults.writes_refused_since == 101


def test_refusal_of_half_a_ttl_before_a_beat_gives_no_chance() -> None:
    looks = Looks()
    for count in range(1, 17):
        looks.see(refusing(count))
    looks.faults.observe_beat(100 + SHORT)
    assert chance(looks.faults.faults, 100, 120) == 120 - 100 - SHORT


def test_old_redis_that_says_so_refuses_writes_as_long_as_it_says_so() -> None:
    old = Server("run-1", "master")
    looks = Looks(old)
    assert looks.see(replace(old, blocked=True)) == [Kind.REFUSED]
    looks.see(replace(old, blocked=True), 4)
    assert looks.faults.writes_refused_since == 100
    for _ in range(15):
        looks.see(old)
    assert looks.faults.writes_refused_since is None


# --- pauses and replicas -----------------------------------------------------------------------


def test_pause_lasts_while_the_server_says_so() -> None:
    looks = Looks()
    assert looks.see(replace(SERVER, paused=True)) == [Kind.PAUSED]
    assert looks.see(replace(SERVER, paused=True)) == []
    looks.see(SERVER)
    assert looks.spans == [(Kind.PAUSED, 100, 103)]


def test_replica_that_hears_nothing_is_at_fault_since_its_masters_last_word() -> None:
    replica = replace(SERVER, role="slave")
    looks = Looks(replica)
    for second in range(1, 13):
        assert looks.see(replace(replica, silence=second)) == []
    assert looks.see(replace(replica, silence=13)) == [Kind.CUT_OFF]
    assert looks.spans == [(Kind.CUT_OFF, 100, ONGOING)]
    looks.see(replica)
    assert looks.spans == [(Kind.CUT_OFF, 100, 114)]


@pytest.mark.parametrize(("silence", "start"), [(8, 92), (2, 98), (1, 100), (0, 100)])
def test_replica_that_lost_its_link_was_silent_since_its_masters_last_word(silence: float, start: float) -> None:
    looks = Looks(replace(SERVER, role="slave", silence=silence))
    looks.see(replace(SERVER, role="slave"), 30)
    assert looks.spans == [(Kind.SILENT, start, 130)]


# --- a cluster ---------------------------------------------------------------------------------


def test_fault_of_one_primary_hits_only_its_nodes() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster(), 100)
    ((kind, hit),) = faults.observe(cluster(B=replace(SERVER, run_id="B2")), 101)
    assert kind is Kind.RESTARTED
    assert (hit(b"a1"), hit(b"b1")) == (False, True)
    assert faults.of(b"a1") == []
    assert [fault.kind for fault in faults.of(b"b1")] == [Kind.RESTARTED]


def test_primary_that_did_not_answer_was_silent_and_the_other_was_not() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster(), 100)
    for second in range(101, 120):
        faults.observe(cluster("B"), second)
    faults.observe(cluster(), 120)
    assert faults.of(b"a1") == []
    assert [(fault.kind, fault.start, fault.end) for fault in faults.of(b"b1")] == [(Kind.SILENT, 100, 120)]


def test_slots_that_went_to_another_primary_had_no_chance_since_the_old_ones_last_answer() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster(), 100)
    for second in range(101, 110):
        faults.observe(cluster("B"), second)
    told = faults.observe(cluster(owners={"a": "A", "b": "C"}), 110)
    assert [kind for kind, _ in told] == [Kind.MOVED]
    assert faults.of(b"a1") == []
    assert [(fault.kind, fault.start, fault.end) for fault in faults.of(b"b1")] == [(Kind.MOVED, 100, 110)]


def fail_over(*moments: float, until: float) -> Faults:
    """Return the faults of a cluster that answers every second, and where B's slots go to another primary each time."""
    faults, second = Faults(TTL, BEAT), 100.0
    while second <= until:
        owner = "B" + "'" * sum(moment <= second for moment in moments)
        faults.observe(cluster(owners={"a": "A", "b": owner}), second)
        second += 1
    return faults


def moves(faults: Faults) -> list[Fault]:
    return [fault for fault in faults.of(b"b1") if fault.kind is Kind.MOVED]


def test_each_failover_costs_the_time_since_the_old_primarys_last_answer() -> None:
    faults = fail_over(101, 116, until=116)
    assert [(fault.start, fault.end) for fault in moves(faults)] == [(100, 101), (115, 116)]
    assert chance(moves(faults), 100, 140) == 38


def test_primary_of_a_failover_that_does_not_answer_is_silent_since_the_failover() -> None:
    faults = Faults(TTL, BEAT)
    before, after = {"a": "A", "b": "B"}, {"a": "A2", "b": "B"}
    faults.observe(cluster(owners=before), 100.0)
    for at in range(101, 160):
        faults.observe(cluster("A2", owners=after), float(at))
    faults.observe(cluster(owners=after), 160.0)
    assert [(fault.kind, fault.start, fault.end) for fault in faults.of(b"a1")] == [
        (Kind.SILENT, 101.0, 160.0),
        (Kind.MOVED, 100.0, 101.0),
    ]
    assert faults.of(b"b1") == []


def test_failover_from_a_primary_that_never_answered_costs_the_time_since_the_failover_to_it() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster(owners={"a": "A", "b": "B"}), 100.0)
    faults.observe(cluster("A2", owners={"a": "A2", "b": "B"}), 101.0)
    faults.observe(cluster(owners={"a": "A3", "b": "B"}), 110.0)
    assert [(fault.start, fault.end) for fault in faults.of(b"a1")] == [(100.0, 101.0), (101.0, 110.0)]


def test_failover_is_remembered_until_every_node_has_had_its_chance() -> None:
    assert [fault.end for fault in moves(fail_over(101, 140, until=140))] == [101, 140]
    assert [fault.end for fault in moves(fail_over(101, 141, until=141))] == [141]


def test_refusal_of_one_primary_is_ended_by_its_own_nodes_only() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster(), 100)
    faults.observe(cluster(B=replace(refusing(1), run_id="B")), 101)
    faults.observe_beats(reading_of({b"a1": Pair(ttl=TTL)}, 105))
    assert faults.writes_refused_since == 100
    faults.observe_beats(reading_of({b"b1": Pair(ttl=TTL)}, 105))
    assert faults.writes_refused_since is None


@pytest.mark.parametrize(
    ("ttl", "end"),
    [
        pytest.param(None, ONGOING, id="no heartbeat"),
        pytest.param(TTL - 5, ONGOING, id="beat before the refusal"),
        pytest.param(TTL - 0.5, 104.5, id="beat after the refusal"),
        pytest.param(3600, 105, id="heartbeat that lives for an hour: no later than now"),
    ],
)
def test_beat_in_a_reading_ends_a_refusal_that_was_seen_before_it(ttl: float | None, end: float) -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster(), 100)
    faults.observe(cluster(B=replace(refusing(1), run_id="B")), 101)
    faults.observe_beats(reading_of({b"b1": Pair(ttl=ttl)}, 105))
    assert [fault.end for fault in faults.of(b"b1")] == [end]


def test_node_is_heard_of_when_each_primary_of_its_keys_has_answered() -> None:
    faults = Faults(TTL, BEAT)
    assert faults.heard_since(100)(b"a1"), "nobody was asked"
    faults.observe(cluster(), 100)
    assert faults.heard_since(100)(b"a1")
    assert not faults.heard_since(100.1)(b"a1")
    faults.observe(cluster("B"), 101)
    assert [faults.heard_since(101)(name) for name in (b"a1", b"b1")] == [True, False]
    assert faults.heard_since(100)(b"b1")


def test_evictions_are_each_primarys_own() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster(), 100)
    faults.observe(cluster(B=replace(SERVER, run_id="B", evicted=5)), 101)
    assert faults.evicted_at(b"b1") == 101
    assert faults.evicted_at(b"a1") < 0


# --- readings that come late -------------------------------------------------------------------

RESTARTED = Server("run-2", "master", restored=True)


@pytest.mark.parametrize(
    ("answered", "read_from", "at", "expected"),
    [
        pytest.param(SERVER, SERVER, 9, True, id="the same data"),
        pytest.param(RESTARTED, SERVER, 9, False, id="another run since"),
        pytest.param(replace(SERVER, flushes=1), SERVER, 9, False, id="data deleted since"),
        pytest.param(RESTARTED, SERVER, 10, True, id="not read before the answer"),
    ],
)
def test_reading_shows_present_data_unless_an_answer_told_of_their_loss(
    answered: Server, read_from: Server, at: float, *, expected: bool
) -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(answered, 10)
    assert faults.shows_present_data(reading_of({}, at, read_from)) is expected


def test_before_the_first_answer_every_reading_shows_present_data() -> None:
    assert Faults(TTL, BEAT).shows_present_data(reading_of({}, 9, SERVER))


# --- calm --------------------------------------------------------------------------------------


def test_redis_is_calm_from_its_first_answer_on() -> None:
    faults = Faults(TTL, BEAT)
    assert faults.calm is False
    faults.observe(SERVER, 10)
    assert faults.calm is True


def test_redis_is_not_calm_while_a_primary_is_silent() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(cluster("B"), 10)
    assert faults.calm is False
    faults.observe(cluster(), 11)
    assert faults.calm is True


def test_redis_is_not_calm_until_every_node_had_its_chance_after_a_fault() -> None:
    faults = Faults(TTL, BEAT)
    faults.observe(SERVER, 10)
    faults.observe(replace(SERVER, flushes=1), 11)
    for second in range(12, 11 + int(TTL + BEAT)):
        faults.observe(replace(SERVER, flushes=1), second)
        assert (faults.calm, faults.excuse_heartbeats) == (False, True)
    faults.observe(replace(SERVER, flushes=1), 11 + TTL + BEAT)
    assert (faults.calm, faults.excuse_heartbeats) == (True, False)


def test_slots_that_moved_excuse_heartbeats_until_their_nodes_had_their_chance() -> None:
    for since, expected in ((TTL - BEAT, True), (TTL + BEAT - 1, True), (TTL + BEAT, False)):
        faults = fail_over(110, until=110 + since)
        assert faults.excuse_heartbeats is expected
        assert faults.calm is not expected
    assert fail_over(until=111).moved is False
    assert fail_over(110, until=111).moved is True
