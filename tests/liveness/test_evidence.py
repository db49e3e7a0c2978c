"""The evidence of a change: the rule that decided, and what the judge knew of the node. Time is passed in."""

from dataclasses import replace

import pytest

from exporter.liveness.earlier_run import WasOffline
from exporter.liveness.evidence import Finding, Why
from exporter.liveness.faults import Kind
from exporter.liveness.judge import Change, Judge, State
from exporter.liveness.server_evidence import ServerEvidence, evidence_after
from exporter.source.reading import Server
from lab.readings import ALIVE, CRASHED, GONE, SERVER, Pair, cluster, reading_of

TTL, BEAT = 30.0, 10.0
EVICTING = replace(SERVER, evicted=5)
KNOWN = ServerEvidence("run-1", "master")


class Hearing:
    """A judge whose findings are kept, and a Redis that answers every second."""

    def __init__(self, first: Server = SERVER) -> None:
        self.judge = Judge(TTL, BEAT)
        self.found: list[Finding] = []
        self.judge.on_findings(self.found.extend)
        self.now, self.server = 0.0, first
        self.judge.observe(first, 0)

    def look(self, at: float, **pairs: Pair) -> dict[str, Finding]:
        """Judge nodes after a time in which Redis answered, and return what was found of each."""
        while self.now < at - 1:
            self.now += 1
            self.judge.observe(self.server, self.now)
        self.now = at
        self.found.clear()
        self.judge.judge(reading_of({name.encode(): pair for name, pair in pairs.items()}, at, self.server))
        assert len({each.change.name for each in self.found}) == len(self.found), "one finding for each change"
        return {each.change.name.decode(): each for each in self.found}


def test_first_look_at_a_crashed_pair_waits_for_a_second_one() -> None:
    found = Hearing().look(0, n=CRASHED)["n"]
    assert (found.why, found.fault, found.since, found.exact) == (Why.FIRST_LOOK, None, None, False)


def test_first_look_after_a_fault_names_the_fault() -> None:
    hearing = Hearing()
    hearing.server = replace(SERVER, role="slave")
    found = hearing.look(3, n=CRASHED)["n"]
    assert (found.why, found.fault and found.fault.kind) == (Why.FAULT, Kind.ROLE)


def test_known_node_is_credited_to_a_fault() -> None:
    hearing = Hearing()
    hearing.look(0, n=ALIVE)
    hearing.server = replace(SERVER, role="slave")
    found = hearing.look(3, n=CRASHED)["n"]
    assert (found.change.before, found.change.after, found.why) == (State.ONLINE, State.UNDECIDED, Why.FAULT)


def test_online_node_is_offline_since_no_time() -> None:
    found = Hearing().look(0, n=ALIVE)["n"]
    assert (found.why, found.since, found.exact, found.deadline) == (Why.BEATS, None, False, TTL)


def test_death_that_is_held_back_is_no_death_yet() -> None:
    hearing = Hearing()
    late = {name: replace(ALIVE, ttl=ttl) for name, ttl in (("a", 20.0), ("b", 21.0), ("c", 22.0), ("d", 30.0))}
    hearing.look(0, **late)
    rest = {name: replace(node, ttl=(node.ttl or 0) - 20.5) for name, node in late.items()}
    found = hearing.look(20.5, **rest | {"a": CRASHED})["a"]
    assert (found.why, found.since, found.exact) == (Why.HELD, None, False)


def test_offline_node_whose_keys_are_deleted_is_found_gone_once() -> None:
    hearing = Hearing()
    hearing.look(0, n=ALIVE)
    hearing.look(31, n=CRASHED)
    found = hearing.look(32, n=GONE)
    assert found["n"].change == Change(b"n", State.OFFLINE, State.GONE, 32)
    assert found["n"].why is Why.STOPPED


def test_unknown_node_without_keys_is_no_change() -> None:
    assert Hearing().look(0, n=GONE) == {}


def test_members_of_an_earlier_run_are_in_a_loss_that_began_when_they_died() -> None:
    hearing = Hearing()
    hearing.judge.remember(
        {"a": WasOffline(-500, ended=True, member=True), "b": WasOffline(-510, ended=True, member=True)}
    )
    found = hearing.look(3, a=CRASHED, b=CRASHED)
    assert [(found[name].why, found[name].member, found[name].since) for name in "ab"] == [
        (Why.REMEMBERED, True, -500),
        (Why.REMEMBERED, True, -510),
    ]
    assert hearing.judge.mass_loss_since() == -510


def test_node_that_a_reading_did_not_ask_for_has_no_keys_of_that_reading() -> None:
    hearing = Hearing()
    hearing.look(0, a=ALIVE, b=ALIVE)
    hearing.found.clear()
    hearing.judge.keep([b"a"])
    (found,) = hearing.found
    assert (found.why, found.ttl_ms, found.has_hash) == (Why.NOT_FOUND, None, None)


def test_nodes_of_one_primary_have_their_own_faults_after_slots_moved() -> None:
    hearing = Hearing(cluster())
    hearing.look(0, a1=ALIVE, b1=ALIVE)
    hearing.server = cluster(owners={"a": "A", "b": "A"})
    found = hearing.look(31, a1=CRASHED, b1=CRASHED)
    assert (found["a1"].change.after, found["a1"].fault) == (State.OFFLINE, None)
    fault = found["b1"].fault
    assert fault
    assert (found["b1"].change.after, fault.kind) == (State.UNDECIDED, Kind.MOVED)


# --- what one Redis said -----------------------------------------------------------------------


def test_first_answer_and_that_of_another_run_begin_anew() -> None:
    old = ServerEvidence("run-0", "slave", 3, 1.0, {"OOM": 1}, 1.0)
    assert evidence_after(old, None, EVICTING, 9.0) == KNOWN
    assert evidence_after(old, replace(SERVER, run_id="run-0"), EVICTING, 9.0) == KNOWN


def test_answer_that_shows_nothing_new_leaves_the_same_object() -> None:
    assert evidence_after(KNOWN, SERVER, SERVER, 9.0) is KNOWN
    refusing = replace(SERVER, refused={"OOM": 2, "MISCONF": 0})
    assert evidence_after(KNOWN, refusing, refusing, 9.0) is KNOWN


def test_evictions_are_those_since_the_answer_before() -> None:
    after = evidence_after(KNOWN, EVICTING, replace(SERVER, evicted=12), 9.0)
    assert after == replace(KNOWN, evicted=7, evicted_at=9.0)


@pytest.mark.parametrize(
    ("before", "now", "rises"),
    [
        ({"OOM": 2, "MISCONF": 5}, {"OOM": 3, "MISCONF": 5}, {"OOM": 1}),
        ({"OOM": 2}, {"OOM": 2, "MISCONF": 1}, {"MISCONF": 1}),
        ({"OOM": 2}, {"OOM": 0}, None),
        ({}, {"OOM": 2}, None),
        (None, {"OOM": 2}, None),
        ({"OOM": 2}, None, None),
    ],
    ids=["one of two", "a new kind", "counts were reset", "none before", "unknown before", "unknown now"],
)
def test_refused_writes_are_those_since_the_answer_before(
    before: dict[str, int] | None, now: dict[str, int] | None, rises: dict[str, int] | None
) -> None:
    after = evidence_after(KNOWN, replace(SERVER, refused=before), replace(SERVER, refused=now), 9.0)
    assert after == (replace(KNOWN, refused=rises, refused_at=9.0) if rises else KNOWN)


def test_role_is_the_present_one() -> None:
    assert evidence_after(KNOWN, SERVER, replace(SERVER, role="slave"), 9.0) == replace(KNOWN, role="slave")
