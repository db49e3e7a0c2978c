"""Since when a node is offline: Unix time by the exporter's clock, and whether it is exact."""

import pytest

from exporter.liveness.judge import LOOK_AGAIN
from exporter.liveness.offline import OfflineSince, judged
from exporter.snapshot.rows import Row, rows_of
from fleets import Exporter
from lab.readings import ALIVE, CRASHED, ENDLESS, SERVER, WALL, Pair


class Fleet:
    """An exporter that reads one node; the monotonic clock is WALL seconds behind."""

    def __init__(self) -> None:
        self._exporter = Exporter()
        self._judge = self._exporter._judge
        self.now = 0.0

    def read(self, pair: Pair, at: float) -> Row:
        while self.now < at:  # Redis answers every second: there is no fault
            self.now += 1
            self._judge.observe(SERVER, self.now)
        (row,) = rows_of(self._exporter.snapshot({b"n": pair}, at), self.since())
        return row

    def since(self) -> OfflineSince:
        return judged(self._judge, lambda: WALL + self.now, lambda: self.now)


def told(row: Row) -> tuple[float | None, bool | None]:
    return row["offline_since"], row["offline_since_exact"]


def test_node_that_was_seen_alive_is_offline_since_its_heartbeat_ended() -> None:
    fleet = Fleet()
    assert told(fleet.read(ALIVE, 0)) == (None, None)
    assert told(fleet.read(CRASHED, 40)) == (WALL + 30, True)
    assert told(fleet.read(CRASHED, 4_000)) == (WALL + 30, True)


@pytest.mark.parametrize("pair", [CRASHED, ENDLESS], ids=["crashed", "a heartbeat that never expires"])
def test_node_that_was_offline_before_is_offline_at_least_since_the_first_look(pair: Pair) -> None:
    fleet = Fleet()
    first = pytest.approx(WALL + 7, abs=2 * LOOK_AGAIN), False
    assert told(fleet.read(pair, 7)) == first
    assert told(fleet.read(pair, 3_607)) == first


def test_time_is_told_to_the_millisecond() -> None:
    assert told(Fleet().read(CRASHED, 7.12345)) == (WALL + 7.123, False)


def test_node_that_is_back_is_offline_since_no_time() -> None:
    fleet = Fleet()
    fleet.read(CRASHED, 0)
    assert told(fleet.read(ALIVE, 10)) == (None, None)
    assert fleet.since()(b"n") is None


@pytest.mark.parametrize("beat", [b"2026-01-06T04:30:45.123456", b"2026-01-06T20:30:45.123456", b"noon"])
def test_clock_of_the_node_does_not_matter(beat: bytes) -> None:
    fleet = Fleet()
    fleet.read(Pair(ttl=30, beat=beat), 0)
    assert told(fleet.read(CRASHED, 40)) == (WALL + 30, True)
