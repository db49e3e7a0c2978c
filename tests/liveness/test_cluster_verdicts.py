"""Verdicts on nodes of a cluster: each primary has faults of its own."""

from collections.abc import Mapping
from dataclasses import replace

from exporter.liveness.judge import Judge, State
from exporter.source.requests import KeyNames
from exporter.source.topology import Primaries, Topology
from lab.readings import ALIVE, CRASHED, GONE, SERVER, Pair, cluster, reading_of

TTL, BEAT = 30.0, 10.0


def test_node_has_its_chance_if_a_new_primary_of_its_keys_did_not_answer_for_long() -> None:
    judge = Judge(TTL, BEAT)
    before, after = {"a": "A", "b": "B"}, {"a": "A2", "b": "B"}
    names = (b"a1", b"b1")

    def state(at: float, pair: Pair, *silent: str, owners: Mapping[str, str]) -> State:
        reading = reading_of({b"a1": pair, b"b1": ALIVE}, at, cluster(*silent, owners=owners), names)
        return judge.judge(replace(reading, unread=frozenset((0,))) if silent else reading).states[0]

    assert state(0, ALIVE, owners=before) is State.ONLINE
    for at in range(1, 60):
        assert state(at, GONE, "A2", owners=after) is State.UNDECIDED
    for at in range(60, 60 + int(TTL + BEAT)):
        assert state(at, CRASHED, owners=after) is State.UNDECIDED
    assert state(60 + TTL + BEAT, CRASHED, owners=after) is State.OFFLINE


def test_refusal_of_a_primary_goes_on_though_another_one_takes_beats_of_nodes_whose_hash_is_on_the_first() -> None:
    judge = Judge(TTL, BEAT)
    ab = Primaries.of({"A:1": SERVER, "B:1": SERVER}, Topology(("A:1", "B:1") * 8192), KeyNames(b"hash:", b"beat:"))
    on_b = next(name for name in (b"n%d" % i for i in range(100)) if ab.holders(name) == ("A:1", "B:1"))
    on_a = next(name for name in (b"n%d" % i for i in range(100)) if ab.holders(name)[1] == "A:1")

    def told(count: int) -> Primaries:
        return Primaries.of({"A:1": replace(SERVER, refused={"MISCONF": count}), "B:1": SERVER}, ab.topology, ab.keys)

    judge.judge(reading_of({on_b: ALIVE, on_a: ALIVE}, 0, told(0)))
    for at in range(1, 120):
        pairs = {on_b: ALIVE, on_a: replace(ALIVE, ttl=30 - at) if at < 30 else CRASHED}
        states = judge.judge(reading_of(pairs, at, told(at))).states
        assert states[0] is State.ONLINE
        assert states[1] is (State.ONLINE if at < 30 else State.UNDECIDED)
    assert judge.writes_refused_since() == 0
    judge.judge(reading_of({on_b: ALIVE, on_a: ALIVE}, 120.5, told(120)))
    assert judge.writes_refused_since() is None
