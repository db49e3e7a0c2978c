"""What one pair of keys means, look by look: the promises on a single node."""

from dataclasses import replace

import pytest
from looks import GRACE, SERVER, TTL, Looks, living

from exporter.liveness import Change, Evidence, Leftovers, Loss, State
from exporter.source.reading import NO_EXPIRY
from lab.nodes import CRASHED, ENDLESS, GONE, ZOMBIE

ONLINE, OFFLINE, UNDECIDED, FORGOTTEN = State.ONLINE, State.OFFLINE, State.UNDECIDED, State.FORGOTTEN
A = b"a"


def seen() -> Looks:
    """Return looks that have just seen a node alive, with a whole TTL left."""
    looks = Looks()
    assert looks.see({A: living()}) == [ONLINE]
    return looks


def test_pairs_of_keys_are_online_offline_or_gone() -> None:
    looks = Looks()
    looks.judge.let_go(None, 0)
    pairs = {b"a": living(), b"b": ZOMBIE, b"c": CRASHED, b"d": GONE}
    assert looks.see(pairs) == [ONLINE, ONLINE, UNDECIDED, State.GONE]
    assert looks.see(pairs, 0.03) == [ONLINE, ONLINE, OFFLINE, State.GONE]
    assert looks.told() == [
        *((b"c", None, "undecided"), (b"a", None, "online"), (b"b", None, "online")),
        (b"c", "undecided", "offline"),
    ]
    assert looks.judge.names() == {b"a", b"b", b"c"}
    assert looks.see({}) == []


def test_known_node_is_offline_at_its_deadline_and_online_with_its_next_beat() -> None:
    looks = seen()
    assert looks.see({A: living(0.001)}, TTL - 0.001) == [ONLINE]
    assert looks.see({A: CRASHED}, 0.002) == [OFFLINE]
    change = looks.absent().change
    assert (change.died, change.exact, change.why) == (1030.0, True, "no heartbeat came in time")
    assert change.evidence == Evidence(-2, True, b"2026-01-06T12:30:45.123456", 1030.0, None, "run-1", "master")
    assert looks.see({A: CRASHED}, 1000) == [OFFLINE]
    assert looks.see({A: living()}, 1) == [ONLINE]
    assert looks.judge.view().absent == {}


def test_node_that_nobody_looked_at_around_its_deadline_is_offline_since_it_was_seen_so() -> None:
    looks = seen()
    looks.see({A: CRASHED}, 64)
    assert (looks.absent().change.died, looks.absent().change.exact) == (1064.0, False)


def test_graceful_stop_is_no_death_however_it_is_seen() -> None:
    looks = seen()
    assert looks.see({A: CRASHED}, 1) == [ONLINE], "the heartbeat is deleted a moment before the hash"
    assert looks.absent().why == "the heartbeat was deleted early"
    assert looks.absent().until == 1000 + TTL
    assert looks.see({A: GONE}, 0.01) == [State.GONE]
    assert looks.told() == [(A, None, "online"), (A, "online", "gone")]
    looks = Looks()
    assert looks.see({A: CRASHED}) == [UNDECIDED], "a pair that was never seen is looked at once more"
    assert looks.absent().why == "a second look decides"
    assert looks.see({A: GONE}, 0.03) == [State.GONE]


def test_heartbeat_that_vanishes_early_and_stays_away_is_dead_at_its_deadline() -> None:
    looks = seen()
    assert looks.wait(TTL - 1, {A: CRASHED}) == [ONLINE]
    assert looks.see({A: CRASHED}, 1) == [OFFLINE]
    assert looks.absent().change.exact


def test_heartbeat_without_expiry_is_dead_with_the_second_look() -> None:
    for looks in (Looks(), seen()):
        looks.judge.let_go(None, 0)
        assert looks.see({A: ENDLESS}, 1) == [UNDECIDED]
        assert looks.judge.view().calm, "nothing is wrong with Redis"
        assert looks.see({A: living()}, 0.5) == [ONLINE], "a key that changes its type looks like one"
        assert looks.see({A: ENDLESS}, 1) == [UNDECIDED]
        assert looks.see({A: ENDLESS}, 0.03) == [OFFLINE]
        assert looks.absent().change.why == "a heartbeat that never expires"
        assert looks.absent().change.evidence.ttl_ms == NO_EXPIRY


def test_deadline_follows_the_heartbeat_both_ways_and_a_ttl_at_most() -> None:
    looks = seen()
    looks.see({A: living(5)}, 1)
    assert looks.see({A: CRASHED}, 5) == [OFFLINE], "a TTL that was cut ends sooner"
    looks = seen()
    looks.see({A: living(3600)}, 1)
    assert [death.end for death in looks.judge._ending(9999)] == [1001 + TTL], "it is read again within a TTL"


def test_node_never_seen_alive_is_offline_since_it_was_seen_so() -> None:
    looks = Looks()
    looks.judge.let_go(None, 0)
    looks.see({A: CRASHED})
    looks.see({A: CRASHED}, 1)
    change = looks.absent().change
    assert (change.died, change.exact, change.why) == (1001.0, False, "a hash without a heartbeat")


def test_looks_overlap_and_none_contradicts_what_was_known_after_it_began() -> None:
    looks = seen()
    assert looks.see({A: CRASHED}, 1, asked=1.5) == [ONLINE]
    assert looks.judge.view().absent == {}, "it began before the beat was seen"
    looks.see({A: CRASHED}, TTL)
    assert looks.see({A: living(1)}, 0.1, asked=0.2) == [OFFLINE], "it began before the death was seen"
    looks.see({A: CRASHED, b"b": living()}, 1)
    assert looks.see({b"b": GONE}, 0.1, asked=0.2) == [ONLINE]


def test_nodes_that_are_read_together_and_alone_are_known_as_each_look_saw_them() -> None:
    looks, names = Looks(), tuple(b"%03d" % number for number in range(100))
    for second in range(3):
        looks.see(dict.fromkeys(names, living()), float(second))
    looks.see({names[7]: living(3)}, 1)
    assert [death.name for death in looks.judge._ending(looks.now + 3)] == [names[7]]
    assert looks.see({**dict.fromkeys(names, living()), names[7]: CRASHED}, 3)[7] == OFFLINE
    assert looks.absent(names[7]).change.died == looks.now
    assert set(looks.see(dict.fromkeys(names, living()), 1)) == {ONLINE}
    assert looks.judge.view().counts == {ONLINE: 100}


def test_nothing_of_gone_nodes_is_kept() -> None:
    looks = Looks()
    for number in range(100):
        name = b"%d" % number
        looks.see({name: living(), b"stays": living()}, 1)
        looks.see({name: GONE, b"stays": living()}, 1)
    assert looks.judge.names() == {b"stays"}


def test_node_whose_data_redis_lost_is_undecided_then_offline_and_gone_after_an_hour() -> None:
    for loss in ({"run_id": "run-2"}, {"flushes": 1}):
        looks = seen()
        looks.fault(**loss)
        assert looks.see({A: GONE}, 0.1) == [UNDECIDED]
        assert A in looks.judge.names(), "discovery finds nothing of it, and it is read all the same"
        assert looks.wait(GRACE, {A: GONE}) == [OFFLINE]
        assert looks.see({A: GONE}, 3555) == [OFFLINE]
        assert looks.see({A: GONE}, 10) == [State.GONE]
        assert A not in looks.judge.names()


def test_node_that_was_seen_on_the_new_data_and_is_gone_afterwards_has_stopped() -> None:
    looks = seen()
    looks.fault(run_id="run-2")
    looks.see({A: CRASHED}, 1)
    assert looks.see({A: GONE}, 1) == [State.GONE], "a read saw its hash"
    for since, expected in ((-0.1, UNDECIDED), (0.6, State.GONE)):
        looks = seen()
        looks.fault(flushes=1)
        looks.see({A: GONE}, 0.5)
        looks.judge.find({A}, looks.now - 0.5 + since)
        assert looks.see({A: GONE}, 1) == [expected], "a scan saw it, and began after the loss was known"
    looks = seen()
    looks.fault(6.0)
    assert looks.see({A: GONE}, 1) == [State.GONE], "a silence loses no data"


def test_node_is_forgotten_after_the_time_set_and_beats_again() -> None:
    looks = Looks(forget_after=100.0)
    looks.see({A: living()})
    looks.see({A: CRASHED}, TTL)
    looks.judge.let_go(None, looks.now + 100)
    assert looks.see({A: CRASHED}, 100) == [OFFLINE]
    looks.judge.let_go(None, looks.now + 0.1)
    assert looks.see({A: CRASHED}, 0.1) == [FORGOTTEN]
    assert looks.judge.view().counts[FORGOTTEN] == 1
    looks.judge.let_go(Leftovers(needed=frozenset({A})), looks.now)
    assert looks.absent().change.after == OFFLINE, "never while it is needed"
    assert looks.see({A: living()}, 1) == [ONLINE]


def test_node_whose_work_has_moved_is_forgotten_after_an_hour_and_shown_if_it_is_needed_again() -> None:
    looks = Looks(forget_rehomed_after=3600.0)
    looks.see({A: living()})
    looks.judge.let_go(Leftovers(), looks.now)
    looks.see({A: CRASHED}, TTL)
    looks.judge.let_go(Leftovers(rehomed=frozenset({A})), looks.now + 3600)
    assert looks.absent().change.after == OFFLINE
    looks.judge.let_go(Leftovers(rehomed=frozenset({A})), looks.now + 3601)
    looks.judge.let_go(Leftovers(), looks.now + 3602)
    assert looks.absent().change.after == FORGOTTEN, "it stays so when its portfolio is deleted later"
    looks.judge.let_go(Leftovers(needed=frozenset({A})), looks.now + 3603)
    looks.see()
    assert looks.told()[-2:] == [(A, "offline", "forgotten"), (A, "forgotten", "offline")]


def test_first_start_shows_no_old_hash_before_the_first_ledger_and_none_whose_work_has_moved() -> None:
    looks = Looks(forget_rehomed_after=3600.0)
    old = {A: CRASHED, b"b": CRASHED}
    looks.see(old)
    assert looks.see(old, 1) == [FORGOTTEN, FORGOTTEN]
    assert looks.absent().why == "the first ledger decides"
    assert looks.judge.let_go(Leftovers(rehomed=frozenset({A})), looks.now), "states of that read are outdated"
    assert looks.see(old, 1) == [FORGOTTEN, OFFLINE]
    assert not looks.judge.let_go(Leftovers(), looks.now)
    assert looks.told()[-2:] == [(A, "undecided", "forgotten"), (b"b", "undecided", "offline")]
    looks = Looks(replace(SERVER, restored=True, uptime=1.0), forget_rehomed_after=3600.0)
    assert looks.see(old) == [UNDECIDED, UNDECIDED], "Redis may have lost their heartbeats"
    looks.judge.let_go(Leftovers(rehomed=frozenset({A})), looks.now)
    assert looks.see(old, 1) == [FORGOTTEN, UNDECIDED]
    looks.judge.let_go(Leftovers(rehomed=frozenset(old)), looks.now)
    assert looks.see(old, GRACE) == [FORGOTTEN, FORGOTTEN], "nobody was paged for it, so nobody waits for it"
    for rules in ({}, {"forget_rehomed_after": 3600.0}):
        looks = Looks(**rules)
        looks.wait(GRACE + 2, old)
        assert looks.absent().change.after == OFFLINE, "without any ledger, or where all of this is off"


@pytest.mark.parametrize("member", [False, True])
def test_restart_restores_what_an_earlier_run_left_offline(*, member: bool) -> None:
    loss = Loss(A, 900.0) if member else None
    evidence = Evidence(text=b"then", end=900.0)
    died = Change(A, "online", "offline", 905.0, "it died", 900.0, exact=True, loss=loss, evidence=evidence)
    forgotten = replace_change(died, name=b"b", after="forgotten", why="the work has moved to other nodes", loss=None)
    looks = Looks(earlier=[died, forgotten, died._replace(name=b"c"), Change(b"c", "offline", "online", 950.0)])
    assert looks.judge.view().absent == {}, "nothing is known before a read shows it"
    assert looks.see({A: CRASHED, b"b": CRASHED, b"c": CRASHED}) == [OFFLINE, FORGOTTEN, UNDECIDED]
    absent = looks.absent()
    assert (absent.change.died, absent.text, absent.change.loss) == (900.0, b"then", loss)
    assert looks.losses == ([loss] if loss else [])
    looks.see({b"c": CRASHED}, 1)
    looks.judge.let_go(Leftovers(rehomed=frozenset({b"c", b"b"})), looks.now)
    assert looks.absent(b"c").change.after == OFFLINE, "the journal knew it alive"
    assert looks.told()[:1] == [(b"c", "online", "undecided")], "what is restored is no news"
    looks = Looks(earlier=[died])
    assert looks.see({A: GONE}) == [State.GONE]
    assert looks.see({A: living()}, 1) == [ONLINE]


def replace_change(change: Change, **values: object) -> Change:
    return change._replace(**values)  # type: ignore[arg-type]


def test_nodes_of_a_primary_that_cannot_be_read_are_undecided_and_dead_ones_stay_dead() -> None:
    looks = Looks()
    looks.see({A: living(), b"b": living(1)})
    looks.see({b"b": CRASHED}, 1)
    both = {A: GONE, b"b": GONE}
    assert looks.see(both, 1, unread="ab") == [UNDECIDED, UNDECIDED]
    assert looks.absent().change.why == "the primary cannot be read"
    assert looks.absent(b"b").change.after == OFFLINE
    assert looks.see({A: living(20), b"b": CRASHED}, 1) == [ONLINE, OFFLINE]
    looks.see(both, 1, unread="ab")
    assert looks.see({A: GONE, b"b": GONE}, 1) == [State.GONE, State.GONE]


def test_dead_node_whose_primary_cannot_be_read_is_not_forgotten() -> None:
    looks = Looks(forget_after=100.0)
    looks.see({A: living(1)})
    looks.judge.let_go(Leftovers(needed=frozenset({A})), looks.now)
    looks.see({A: CRASHED}, 1)
    looks.see({A: GONE}, 101, unread="a")
    looks.judge.let_go(Leftovers(), looks.now)  # the ledger cannot know that the node is dead
    assert looks.absent().change.after == OFFLINE
    looks.see({A: CRASHED}, 1)
    looks.judge.let_go(Leftovers(), looks.now)
    assert looks.absent().change.after == FORGOTTEN


def test_view_tells_what_redis_said_and_changes_are_taken_once() -> None:
    looks = seen()
    view = looks.judge.view()
    assert (view.server, view.answered) == (SERVER, 1000.0)
    assert looks.judge.take()[0] == []
