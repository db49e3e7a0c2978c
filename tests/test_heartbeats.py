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
    for at, step in enumerate(steps):
        if isinstance(step, bytes):
            heartbeats.forget(step)
            known.pop(step, None)
        else:
            whole, pairs = step
            look(heartbeats, pairs, at, whole=whole)
            if whole:
                known = {name: heartbeat for name, heartbeat in known.items() if name in pairs}
            known |= {name: Heartbeat(at + 20, pair.beat) for name, pair in pairs.items() if pair.ttl}
        assert {name: heartbeats.get(name) for name in NAMES if heartbeats.get(name)} == known
        assert heartbeats.names() == known.keys()


def test_node_forgotten_between_two_whole_readings_is_known_again_when_it_beats() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": ALIVE}, 0, whole=True)
    heartbeats.forget(b"a")
    look(heartbeats, {b"a": CRASHED}, 1, whole=True)
    assert heartbeats.get(b"a") is None
    look(heartbeats, {b"a": ALIVE}, 2, whole=True)
    assert heartbeats.get(b"a") == Heartbeat(32, ALIVE.beat)
