"""The bell that wakes the watch: it rings, a connection ends, or the time is over."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from exporter.fleet import bell as module
from exporter.fleet.bell import Bell

LONG = 60.0
SEES_ENDS = pytest.mark.skipif(not module._ENDED, reason="only Linux tells of the end of a connection without a read")


@pytest.fixture
def bell() -> Iterator[Bell]:
    with Bell() as bell:
        yield bell


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def seconds_of(bell: Bell, seconds: float, *connections: socket.socket) -> float:
    """Return how long the bell waited, and fail if a connection ended meanwhile."""
    start = time.monotonic()
    assert not bell.wait(seconds, connections)
    return time.monotonic() - start


def seconds_until_rung(bell: Bell) -> float:
    """Return how long the bell waited for a ring that comes after 0.02 s."""
    start = time.monotonic()
    threading.Timer(0.02, bell.ring).start()
    seconds_of(bell, LONG)
    return time.monotonic() - start


def test_wait_ends_when_its_time_is_over(bell: Bell) -> None:
    assert seconds_of(bell, 0.01) >= 0.01
    assert seconds_of(bell, 0) < LONG


def test_ring_of_another_thread_ends_the_wait(bell: Bell) -> None:
    assert 0.01 < seconds_until_rung(bell) < LONG


def test_ring_before_the_wait_ends_it_at_once_and_only_this_one(bell: Bell) -> None:
    for _ in range(10_000):  # more than the sockets hold
        bell.ring()
    assert seconds_of(bell, LONG) < LONG
    assert seconds_of(bell, 0.01) >= 0.01


@pytest.mark.parametrize("sees_ends", [False, True])
def test_ring_before_the_bell_is_opened_is_not_lost(monkeypatch: pytest.MonkeyPatch, *, sees_ends: bool) -> None:
    if not sees_ends:
        monkeypatch.setattr(module, "_ENDED", 0)
    bell = Bell()
    bell.ring()
    with bell:
        assert seconds_of(bell, LONG) < LONG
        assert 0.01 < seconds_until_rung(bell) < LONG
    bell.ring()


@SEES_ENDS
def test_end_of_a_connection_ends_the_wait(bell: Bell, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    threading.Timer(0.02, far.shutdown, (socket.SHUT_WR,)).start()
    start = time.monotonic()
    assert bell.wait(LONG, [near])
    assert time.monotonic() - start < LONG


def test_what_comes_over_a_connection_is_left_to_its_user(
    bell: Bell, ends: tuple[socket.socket, socket.socket]
) -> None:
    near, far = ends
    far.sendall(b"a reply")
    assert seconds_of(bell, 0.01, near) >= 0.01
    assert near.recv(100) == b"a reply"


def test_closed_connections_are_left_out(bell: Bell, ends: tuple[socket.socket, socket.socket]) -> None:
    near, _ = ends
    near.close()
    assert seconds_of(bell, 0.01, near) >= 0.01
