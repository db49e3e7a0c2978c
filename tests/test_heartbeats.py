"""What is remembered of heartbeats: against a dictionary that takes each one as it comes."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats import Heartbeat, Heartbeats
from readings import ALIVE, CRASHED, Pair, reading_of

NAMES = (b"a", b"b", b"c")
PAIRS = st.builds(lambda alive, beat: Pair(ttl=20 if alive else None, beat=beat), st.booleans(), st.binary(max_size=2))
LOOKS = st.tuples(st.booleans(), st.dictionaries(st.sampled_from(NAMES), PAIRS))
STEPS = st.lists(st.one_of(LOOKS, st.sampled_from(NAMES)), max_size=12)


def look(heartbeats: Heartbeats, pairs: Mapping[bytes, Pair], at: float, *, whole: bool) -> None:
    reading = reading_of(pairs, at)
    heartbeats.note(reading, [i for i, ms in enumerate(reading.ttl_ms) if ms <= 0], whole=whole)


@given(STEPS)
def test_last_living_heartbeat_is_known_until_its_node_is_forgotten(
    steps: list[tuple[bool, dict[bytes, Pair]] | bytes],
) -> None:
    heartbeats, known = Heartbeats(), dict[bytes, Heartbeat]()
    apart: set[bytes] = set()  # known from elsewhere than the last whole reading
    for at, step in enumerate(steps):
        if isinstance(step, bytes):
            heartbeats.forget(step)
            known.pop(step, None)
        else:
            whole, pairs = step
            look(heartbeats, pairs, at, whole=whole)
            alive = {name for name, pair in pairs.items() if pair.ttl}
            if whole:
                known = {name: known[name] for name in known if name in pairs or name in apart}
                apart = (apart | pairs.keys()) - alive
            else:
                apart |= alive
            known |= {name: Heartbeat(at + 20, pairs[name].beat) for name in alive}
        assert {name: heartbeats.get(name) for name in NAMES if heartbeats.get(name)} == known
        assert heartbeats.names() == known.keys()


def test_later_heartbeat_is_not_replaced_by_an_earlier_one_of_a_slow_reading() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=30, beat=b"later")}, 10, whole=False)
    look(heartbeats, {b"a": Pair(ttl=20, beat=b"earlier")}, 11, whole=True)
    assert heartbeats.get(b"a") == Heartbeat(40, b"later")


def test_node_forgotten_between_two_whole_readings_is_known_again_when_it_beats() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": ALIVE}, 0, whole=True)
    heartbeats.forget(b"a")
    look(heartbeats, {b"a": CRASHED}, 1, whole=True)
    assert heartbeats.get(b"a") is None
    look(heartbeats, {b"a": ALIVE}, 2, whole=True)
    assert heartbeats.get(b"a") == Heartbeat(32, ALIVE.beat)
