"""What is remembered of heartbeats: against a dictionary that takes each one as it comes."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from exporter.liveness.heartbeats import Heartbeat, Heartbeats
from lab.readings import Pair, reading_of

NAMES = (b"a", b"b", b"c")
PAIRS = st.builds(lambda alive, beat: Pair(ttl=20 if alive else None, beat=beat), st.booleans(), st.binary(max_size=2))
LOOKS = st.tuples(st.integers(0, 5), st.dictionaries(st.sampled_from(NAMES), PAIRS))
STEPS = st.lists(st.one_of(LOOKS, st.sampled_from(NAMES)), max_size=12)


class Beats(list[bytes | None]):
    """A column that tells when it is let go."""


@cache
def the_same(names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A caller that reads the same nodes again passes the same sequence of names."""
    return names


def look(heartbeats: Heartbeats, pairs: Mapping[bytes, Pair], at: float) -> None:
    reading = reading_of(pairs, at, names=the_same(tuple(sorted(pairs))))
    heartbeats.update(reading, [i for i, ms in enumerate(reading.ttl_ms) if ms <= 0])


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
                seen = Heartbeat(at + 20, at, pair.beat)
                if pair.ttl and (name not in known or known[name].deadline <= seen.deadline):
                    known[name] = seen
        assert {name: heartbeats.get(name) for name in NAMES if heartbeats.get(name)} == known
        assert heartbeats.names() == known.keys()


def test_heartbeat_is_not_replaced_by_what_a_slow_reading_saw_before() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=30, beat=b"later")}, 10)
    look(heartbeats, {b"a": Pair(ttl=20, beat=b"earlier")}, 9)
    assert heartbeats.get(b"a") == Heartbeat(40, 10, b"later")


def test_nothing_is_kept_of_a_reading_whose_nodes_were_all_seen_later_or_are_forgotten() -> None:
    heartbeats, beats = Heartbeats(), Beats([b"noon"] * 3)
    heartbeats.update(replace(reading_of(dict.fromkeys(NAMES, Pair(ttl=20))), beats=beats), ())
    kept = weakref.ref(beats)
    del beats
    look(heartbeats, {b"a": Pair(ttl=20)}, 1)
    look(heartbeats, {b"b": Pair(ttl=20)}, 2)
    assert kept()
    heartbeats.forget(b"c")
    assert kept() is None


def test_dead_node_keeps_nothing_of_those_that_were_read_with_it() -> None:
    heartbeats, beats = Heartbeats(), Beats([b"noon"] * 3)
    heartbeats.update(replace(reading_of(dict.fromkeys(NAMES, Pair(ttl=20))), beats=beats), ())
    kept = weakref.ref(beats)
    del beats
    look(heartbeats, {**dict.fromkeys(NAMES, Pair(ttl=20)), b"b": Pair(), b"new": Pair(ttl=20)}, 1)
    assert kept() is None
    assert heartbeats.get(b"b") == Heartbeat(20, 0, b"noon")


def test_heartbeat_is_not_replaced_by_an_older_one_that_was_taken_in_late() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=30, beat=b"new")}, 10)
    heartbeats.update(replace(reading_of({b"a": Pair(ttl=20, beat=b"old")}, 10.1), asked=9.9), ())
    assert heartbeats.get(b"a") == Heartbeat(40, 10, b"new")


def test_heartbeat_that_is_written_to_live_shorter_ends_sooner() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=60, beat=b"before")}, 0)
    look(heartbeats, {b"a": Pair(ttl=30, beat=b"after")}, 10)
    assert heartbeats.get(b"a") == Heartbeat(40, 10, b"after")


def test_node_that_is_read_alone_between_readings_of_all_is_known_as_each_saw_it() -> None:
    heartbeats, all_of_them = Heartbeats(), {b"a": Pair(ttl=20), b"b": Pair(ttl=20)}
    look(heartbeats, all_of_them, 0)
    look(heartbeats, {b"a": Pair(ttl=20, beat=b"alone")}, 1)
    assert heartbeats.get(b"a") == Heartbeat(21, 1, b"alone")
    look(heartbeats, all_of_them, 2)
    assert heartbeats.get(b"a") == Heartbeat(22, 2, Pair().beat)


def test_heartbeat_of_a_node_that_is_always_read_alone_is_known_after_it_is_missing() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=20, beat=b"last")}, 0)
    look(heartbeats, {b"a": Pair()}, 25)
    assert heartbeats.get(b"a") == Heartbeat(20, 0, b"last")


def test_heartbeat_that_a_reading_of_its_node_alone_sees_end_sooner_ends_sooner() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=60), b"b": Pair(ttl=60)}, 0)
    look(heartbeats, {b"a": Pair(ttl=30, beat=b"after")}, 10)
    assert heartbeats.get(b"a") == Heartbeat(40, 10, b"after")


def test_heartbeats_that_end_in_a_time_are_told_the_first_first() -> None:
    heartbeats = Heartbeats()
    look(heartbeats, {b"a": Pair(ttl=20), b"b": Pair(ttl=30), b"c": Pair(ttl=25)}, 0)
    assert heartbeats.ending(19, 29) == [b"a", b"c"]
    assert heartbeats.ending(20, 30) == [b"c", b"b"]


def test_nodes_that_had_no_heartbeat_before_an_update_are_told_as_arrived() -> None:
    heartbeats = Heartbeats()
    assert heartbeats.arrived == []
    look(heartbeats, {b"a": Pair(ttl=30), b"b": Pair()}, 10)
    assert heartbeats.arrived == [b"a"]
    look(heartbeats, {b"a": Pair(ttl=30), b"b": Pair(ttl=30)}, 11)
    assert heartbeats.arrived == [b"b"]
    look(heartbeats, {b"a": Pair(ttl=30), b"b": Pair(ttl=30)}, 12)
    assert heartbeats.arrived == []
    heartbeats.forget(b"a")
    look(heartbeats, {b"a": Pair(ttl=30), b"b": Pair(ttl=30)}, 13)
    assert heartbeats.arrived == [b"a"]
