"""What is remembered of heartbeats: against a dictionary that takes each one as it comes."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats import Heartbeat, Heartbeats
from readings import Pair, reading_of

NAMES = (b"a", b"b", b"c")
PAIRS = st.builds(lambda alive, beat: Pair(ttl=20 if alive else None, beat=beat), st.booleans(), st.binary(max_size=2))
LOOKS = st.tuples(st.integers(0, 5), st.dictionaries(st.sampled_from(NAMES), PAIRS))
STEPS = st.lists(st.one_of(LOOKS, st.sampled_from(NAMES)), max_size=12)


def look(heartbeats: Heartbeats, pairs: Mapping[bytes, Pair], at: float) -> None:
    reading = reading_of(pairs, at)
    heartbeats.note(reading, [i for i, ms in enumerate(reading.ttl_ms) if ms <= 0])


@given(STEPS)
def test_living_heartbeat_that_was_seen_last_is_known_until_its_node_is_forgotten(
    steps: list[tuple[int, dict[bytes, Pair]] | bytes],
) -> None:
    heartbeats, known = Heartbeats(), dict[bytes, Heartbeat]()
    for step in steps:
        if isinstance(step, bytes):
            heartbeats.forget(step)
            known.pop(step, None)
        else:
            at, pairs = step
            look(heartbeats, pairs, at)
            for name, pair in pairs.items():
                seen = Heartbeat(at + 20, pair.beat)
                if pair.ttl and (name not in known or known[name].deadline <= seen.deadline):
                    known[name] = seen
        assert {name: heartbeats.get(name) for name in NAMES if heartbeats.get(name)} == known
        assert heartbeats.names() == known.keys()


def test_heartbeat_is_not_replaced_by_what_a_slow_reading_saw_before() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=30, beat=b"later")}, 10)
    look(heartbeats, {b"a": Pair(ttl=20, beat=b"earlier")}, 9)
    assert heartbeats.get(b"a") == Heartbeat(40, b"later")


def test_heartbeat_that_is_written_to_live_shorter_ends_sooner() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=60, beat=b"before")}, 0)
    look(heartbeats, {b"a": Pair(ttl=30, beat=b"after")}, 10)
    assert heartbeats.get(b"a") == Heartbeat(40, b"after")
