"""Redis's faults: which looks give nodes no chance to beat, for how long, and what is told of them."""

from dataclasses import replace
from typing import Any

import pytest
from clusters import cluster
from looks import BEAT, GRACE, SERVER, TTL, Looks, living

from exporter.liveness import Gap, Kind, State
from exporter.liveness.chance import chance
from exporter.source.reading import Server
from lab.nodes import CRASHED, GONE

ONLINE, OFFLINE, UNDECIDED = State.ONLINE, State.OFFLINE, State.UNDECIDED
A = b"a"
REPLICA = replace(SERVER, role="slave")


def refusing(count: int, error: str = "MISCONF") -> dict[str, Any]:
    return {"refused": {**(SERVER.refused or {}), error: count}}


def verdict_after(looks: Looks, seconds: float) -> State:
    """Return the state of the node when it was looked at once a second without a heartbeat."""
    return looks.wait(seconds, {A: CRASHED})[0]


def seen(server: Server = SERVER) -> Looks:
    """Return looks that have just seen a node alive, with a whole TTL left."""
    looks = Looks(server)
    looks.see({A: living()})
    return looks


def test_gaps_that_overlap_count_once_and_from_the_beat_on() -> None:
    gaps = [Gap(20, 30, ""), Gap(4, 6, ""), Gap(5, 8, "")]
    assert [chance(each, since, 10) for each, since in (((), 3), (gaps, 0), (gaps, 7))] == [7, 6, 2]


@pytest.mark.parametrize(
    ("why", "first", "after", "server"),
    [
        ("no answer", SERVER, 5.1, {}),
        ("another run", SERVER, 1.0, {"run_id": "run-2"}),
        ("another role", SERVER, 1.0, {"role": "slave"}),
        ("data deleted", SERVER, 1.0, {"flushes": 1}),
        ("replica cut off from its master", REPLICA, 1.0, {"silence": 13.0}),
        ("writes paused", SERVER, 1.0, {"paused": True}),
        ("writes refused", SERVER, 1.0, refusing(1)),
        ("writes refused", SERVER, 1.0, refusing(1, "OOM")),
        ("writes refused", SERVER, 1.0, refusing(1, "NOREPLICAS")),
    ],
)
def test_each_fault_leaves_a_node_undecided_until_it_has_had_a_ttl_and_a_beat(
    why: str, first: Server, after: float, server: dict[str, Any]
) -> None:
    looks = seen(first)
    looks.fault(after, **server)
    assert looks.told(Kind.REDIS) == [(b"", None, why)]
    view = looks.judge.view()
    assert not view.calm
    assert (view.refused_since is not None) == (why == "writes refused")
    assert verdict_after(looks, TTL - after) == UNDECIDED
    assert looks.absent().why == why
    looks.server = replace(first, run_id=looks.server.run_id, role=looks.server.role, flushes=looks.server.flushes)
    if why == "writes refused":
        looks.server = replace(looks.server, refused=server.get("refused"))
    looks.see({A: CRASHED}, 1)
    gap = looks.absent().gap
    assert gap
    left = GRACE - chance([gap], 1000, looks.now)
    verdict = [verdict_after(looks, 1) for _ in range(int(left) + 2)]
    assert verdict.index(OFFLINE) in (int(left) - 1, int(left))
    assert looks.absent().change.why == "no heartbeat came, although Redis gave the time for one"
    assert not looks.absent().change.exact


def test_no_fault_is_a_silence_of_five_seconds_or_readonly_or_what_lies_before_the_last_beat() -> None:
    for after, server in ((5.0, {}), (1.0, refusing(9, "READONLY"))):
        looks = seen()
        looks.fault(after, **{**server, **({"refused": SERVER.refused} if server else {})})
        assert looks.see({A: CRASHED}, TTL - after) == [OFFLINE]
    looks = seen()
    looks.fault(run_id="run-2")
    looks.see({A: living()}, 20)
    assert looks.see({A: CRASHED}, TTL) == [OFFLINE]


def test_node_that_kept_its_heartbeat_or_was_dead_before_stays_what_it_was() -> None:
    looks = seen()
    looks.fault(run_id="run-2")
    assert looks.see({A: living(20)}, 1) == [ONLINE]
    looks.see({A: CRASHED}, GRACE)
    assert looks.absent().change.after == OFFLINE
    looks.fault(run_id="run-3")
    assert looks.see({A: CRASHED}, 1) == [OFFLINE]


def test_chance_adds_up_over_faults_however_short_the_times_between_them() -> None:
    looks = seen()
    looks.see({A: CRASHED}, 10)
    for _ in range(4):
        looks.fault(6.0)
        assert verdict_after(looks, 7) == UNDECIDED
    assert verdict_after(looks, 2) == OFFLINE


def test_node_that_nobody_looked_at_before_a_fault_has_its_chance_from_the_fault_on() -> None:
    looks = seen()
    looks.see({}, TTL + 20)
    looks.fault(run_id="run-2", uptime=0.0)
    looks.see({A: CRASHED}, 0.5)
    assert looks.absent().until is None, "the run is young"
    verdicts = [verdict_after(looks, 1) for _ in range(50)]
    assert verdicts.index(OFFLINE) in (38, 39, 40)


def test_crash_loop_kills_no_node_and_a_run_that_lasts_was_a_chance_from_its_first_second_on() -> None:
    looks = seen()
    for run in range(2, 12):
        looks.fault(20.0, run_id=f"run-{run}", uptime=0.0)
        for second in range(1, 15):
            looks.server = replace(looks.server, uptime=float(second))
            assert looks.see({A: CRASHED}, 1) == [UNDECIDED]
    looks.server = replace(looks.server, uptime=15.0)
    looks.see({A: CRASHED}, 1)
    assert looks.absent().until == looks.now + GRACE - 15


def test_exporter_that_starts_beside_a_redis_that_was_just_restored_or_silent_waits() -> None:
    looks = Looks(replace(SERVER, uptime=7.0, restored=True))
    looks.judge.let_go(None, 0)
    looks.see({A: CRASHED})
    assert verdict_after(looks, GRACE - 2) == UNDECIDED
    assert verdict_after(looks, 3) == OFFLINE
    for server in (replace(SERVER, uptime=7.0), replace(SERVER, uptime=GRACE, restored=True)):
        looks = Looks(server)
        looks.judge.let_go(None, 0)
        looks.see({A: CRASHED})
        assert verdict_after(looks, 1) == OFFLINE
    looks = Looks()
    looks.judge.let_go(None, 0)
    looks.judge.failed("probe", "hangs", looks.now - 6)
    looks.see({A: CRASHED})
    assert verdict_after(looks, 1) == UNDECIDED


@pytest.mark.parametrize(
    ("server", "refuses"),
    [
        (SERVER, False),
        (replace(SERVER, **refusing(3)), False),
        (replace(SERVER, **refusing(3), last_save_ok=False), True),
        (replace(SERVER, last_save_ok=False), False),
        (replace(SERVER, **refusing(1, "OOM"), memory_used_ratio=0.94), False),
        (replace(SERVER, **refusing(1, "OOM"), memory_used_ratio=0.95), True),
        (replace(SERVER, **refusing(1, "NOREPLICAS")), True),
        (replace(SERVER, refused=None, blocked=True), True),
    ],
)
def test_first_answer_shows_a_refusal_that_may_still_last(server: Server, *, refuses: bool) -> None:
    looks = Looks(server)
    looks.see()
    assert (looks.judge.view().refused_since is not None) is refuses


def test_redis_that_counts_no_refusals_is_taken_to_refuse_from_a_failed_save_on_until_a_node_beats() -> None:
    looks = Looks(replace(SERVER, refused=None))
    looks.see({A: living()})
    looks.fault(blocked=True)
    looks.wait(TTL)
    assert looks.judge.view().refused_since == 1000
    looks.see({A: living()}, 1)
    assert looks.judge.view().refused_since is None
    looks.wait(GRACE, {A: living()})
    assert looks.see({A: CRASHED}, 1) == [OFFLINE], "its save still fails"


def test_refusal_ends_with_a_beat_after_it_or_after_half_a_ttl_and_is_told_once() -> None:
    looks = seen()
    looks.fault(**refusing(1))
    assert looks.judge.view().refused_since == 1000
    looks.see({b"b": living(TTL - 1)}, 1)
    assert looks.judge.view().refused_since == 1000, "that beat is no later than the look that showed the refusal"
    looks.see({b"c": living(TTL + 1)}, 0)
    assert looks.judge.view().refused_since == 1000, "a heartbeat with a longer TTL does not show when it was written"
    looks.see({b"b": living(TTL)}, 1)
    assert looks.judge.view().refused_since is None
    looks.fault(**refusing(2))
    assert looks.judge.view().refused_since == 1003
    looks.see({}, 14.9)
    assert looks.judge.view().refused_since
    looks.see({}, 0.2)
    assert looks.judge.view().refused_since is None
    looks.see({}, 11)
    looks.fault(run_id="run-2", **refusing(9, "NOREPLICAS"))
    assert looks.judge.view().refused_since is None, "another server refused them, some time ago"
    told = [change for change in looks.changes if change.kind is Kind.REDIS]
    assert [change.after for change in told] == ["writes refused", "takes writes again", "another run"]
    assert told[1].evidence.gap
    assert told[1].evidence.gap.start == 1000


def test_replica_that_becomes_a_master_had_data_as_old_as_the_last_word_of_its_master() -> None:
    looks = seen(replace(REPLICA, silence=8.0))
    looks.fault(role="master", silence=0.0)
    looks.see({A: CRASHED}, TTL)
    assert looks.absent().gap == Gap(992.0, 1001.0, "another role")


def test_answer_that_comes_late_is_ignored() -> None:
    looks = seen()
    looks.fault(10.0, run_id="run-2")
    told = len(looks.changes)
    looks.server, looks.now = SERVER, looks.now - 5
    looks.see()
    assert len(looks.changes) == told


# --- a cluster ---------------------------------------------------------------------------------


def in_cluster() -> Looks:
    looks = Looks(cluster())
    looks.see({b"a1": living(), b"b1": living()})
    return looks


def test_fault_of_one_primary_is_that_of_its_nodes_alone() -> None:
    looks = in_cluster()
    usual = looks.server.members["B"]
    looks.server = cluster(B=replace(usual, run_id="B2"))
    assert looks.see({b"a1": CRASHED, b"b1": CRASHED}, TTL) == [OFFLINE, UNDECIDED]
    assert looks.told(Kind.REDIS) == [(b"B", None, "another run")]
    looks = in_cluster()
    looks.server = cluster("B")
    looks.see({}, 5)
    assert not looks.judge.view().calm
    looks.server = cluster()
    assert looks.see({b"a1": CRASHED, b"b1": CRASHED}, TTL - 5) == [OFFLINE, UNDECIDED]
    assert looks.absent(b"b1").gap == Gap(1000, 1006, "no answer")


def test_refusal_of_one_primary_is_ended_by_its_own_nodes() -> None:
    looks = in_cluster()
    looks.server = cluster(B=replace(looks.server.members["B"], refused={"MISCONF": 1}))
    looks.see({}, 1)
    looks.see({b"a1": living()}, 1)
    assert looks.judge.view().refused_since == 1000
    looks.see({b"b1": living()}, 1)
    assert looks.judge.view().refused_since is None


def test_refusal_of_a_primary_ends_when_it_holds_no_keys_any_more() -> None:
    looks = in_cluster()
    looks.server = cluster(B=replace(looks.server.members["B"], refused={"MISCONF": 1}))
    looks.see({}, 1)
    assert looks.judge.view().refusal_since == 1000
    looks.server = cluster(owners={"a": "A", "b": "C"})
    looks.see({}, 1)
    assert looks.judge.view().refusal_since is None


def test_nodes_whose_slots_move_take_their_gaps_along_and_the_move_is_one_more() -> None:
    looks = in_cluster()
    looks.server = cluster("B")
    looks.see({}, 3)
    looks.server = cluster(owners={"a": "A", "b": "C"})
    looks.see({b"b1": living(TTL - 4)}, 1)
    assert looks.told(Kind.REDIS) == [(b"", None, "another primary")]
    assert looks.see({b"a1": CRASHED, b"b1": CRASHED}, TTL - 4) == [OFFLINE, UNDECIDED]
    assert looks.absent(b"b1").gap == Gap(1000, 1004, "another primary")
    looks.server = cluster(owners={"a": "A", "b": "D"})
    looks.see({b"b1": CRASHED}, 1)
    assert looks.absent(b"b1").gap == Gap(1030, 1031, "another primary")
    assert looks.wait(13, {b"b1": CRASHED}) == [UNDECIDED], "4 s, and 1 s, gave no chance"
    assert looks.wait(2, {b"b1": CRASHED}) == [OFFLINE]
    assert not looks.judge.view().calm
    looks.see({}, GRACE)
    assert looks.judge.view().calm


def test_move_of_other_nodes_turns_no_graceful_stop_into_a_death() -> None:
    looks = in_cluster()
    looks.server = cluster(owners={"a": "B", "b": "B", "c": "A"})
    looks.see({}, 1)
    assert looks.see({b"b1": GONE}, 1) == [State.GONE], "its keys did not move"
    assert looks.see({b"a1": GONE}) == [UNDECIDED], "its keys moved, and may be lost"


def test_slots_that_move_to_and_fro_leave_one_gap() -> None:
    looks = in_cluster()
    for owners in [{"a": "B", "b": "A"}, {"a": "A", "b": "B"}] * 5:
        looks.server = cluster(owners=owners)
        looks.see({b"a1": CRASHED}, 1)
    assert looks.absent(b"a1").gap == Gap(1000, 1010, "another primary")


# --- outages -----------------------------------------------------------------------------------


def test_outage_lasts_from_the_first_failure_until_all_that_failed_has_succeeded() -> None:
    looks = Looks()
    looks.judge.succeeded("probe", 1.0)
    looks.judge.failed("probe", "no route", 100.0)
    looks.judge.failed("read", "no answer", 102.0)
    view = looks.judge.view()
    assert (view.errors, view.outages[-1][0]) == ({"probe": "no route", "read": "no answer"}, 100.0)
    assert view.unreadable(110.0) == 10.0
    looks.judge.succeeded("probe", 120.0)
    assert looks.judge.view().errors == {"read": "no answer"}
    looks.judge.succeeded("read", 130.0)
    assert not looks.judge.view().errors
    looks.judge.failed("read", "began in the last outage", 125.0)
    assert [looks.judge.view().unreadable(now) for now in (140.0, 230.0, 300.0, 400.0)] == [40.0, 120.0, 120.0, 120.0]
    changes, _ = looks.judge.take()
    assert [(each.before, each.after, each.at, each.why) for each in changes] == [
        ("answers", "cannot be read", 100.0, "no route"),
        ("cannot be read", "answers", 130.0, ""),
        ("answers", "cannot be read", 130.0, "began in the last outage"),
    ]


def test_outages_of_the_last_two_minutes_add_up() -> None:
    judge = Looks().judge
    for began in (0.0, 100.0, 150.0):
        judge.failed("probe", "down", began)
        judge.succeeded("probe", began + 30)
    assert [judge.view().unreadable(now) for now in (180.0, 240.0, 260.0, 301.0)] == [60.0, 40.0, 30.0, 0.0]
    assert BEAT < TTL
