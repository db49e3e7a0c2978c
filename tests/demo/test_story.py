import asyncio
import re
from itertools import pairwise

import pytest

from exporter.demo.scheduler import LOOP
from exporter.demo.story import ROUND, STORY, Act, play
from exporter.reporter import BEAT, TTL


def test_scenes_come_in_order_and_within_their_round() -> None:
    times = [scene.at for scene in STORY]
    assert times == sorted(times)
    assert times[-1] < ROUND


def time_of(act: Act) -> float:
    return next(scene.at for scene in STORY if scene.act is act)


def test_first_five_minutes_hold_a_crash_a_flood_a_stop_and_a_full_disk() -> None:
    order = [Act.CRASH, Act.FLOOD, Act.CALM, Act.STOP, Act.FILL, Act.FREE]
    times = [time_of(act) for act in order]
    assert times == sorted(times)
    assert times[-1] <= 300


@pytest.mark.parametrize("end", [Act.CRASH, Act.STOP])
def test_node_comes_back_when_the_scheduler_has_surely_moved_its_portfolios(end: Act) -> None:
    back = next(scene.at for scene in STORY if scene.act is Act.START and scene.at > time_of(end))
    lived_on = TTL if end is Act.CRASH else 0
    assert back - time_of(end) >= lived_on + LOOP[1]


def test_disk_is_full_for_longer_than_a_heartbeat_lives_and_free_when_nobody_is_looking() -> None:
    assert time_of(Act.FREE) - time_of(Act.FILL) > TTL + BEAT
    assert LOOP[0] > 2 * BEAT, "after a look of the scheduler all nodes beat before the next one"


class Player:
    """A node that records its events."""

    def __init__(self, number: int) -> None:
        self.node_id = f"node {number}"
        self.acts: list[str] = []

    def __getattr__(self, act: str) -> object:
        return lambda: self.acts.append(act)


class Platform:
    """Players, their disk, and a scheduler whose looks come at once."""

    def __init__(self, count: int, *, disk: bool = True) -> None:
        self.nodes = [Player(number) for number in range(count)]
        self.disk = Player(-1) if disk else None
        self.scheduler = self
        self.waited = 0

    async def next_look(self) -> None:
        self.waited += 1


class Jump:
    """A clock whose waits end at once."""

    def __init__(self, rounds: int) -> None:
        self.times: list[float] = []
        self._end = rounds * ROUND

    async def until(self, seconds: float) -> None:
        if seconds >= self._end:
            raise asyncio.CancelledError
        self.times.append(seconds)


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)


def played(count: int, rounds: int, metrics: str = "", *, disk: bool = True) -> tuple[Platform, Jump, Heard]:
    platform, clock, heard = Platform(count, disk=disk), Jump(rounds), Heard()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(play(platform, clock, heard, metrics))  # type: ignore[arg-type] # as little as the story needs
    return platform, clock, heard


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 11])
def test_nothing_happens_to_a_node_that_cannot_happen_to_it(count: int) -> None:
    platform, _, _ = played(count, rounds=2 * count)
    for node in platform.nodes:
        alive = flooded = False
        alive = True
        for act in node.acts:
            assert alive is (act != Act.START)
            assert flooded is (act == Act.CALM)
            alive = act not in (Act.CRASH, Act.STOP)
            flooded = act == Act.FLOOD
        assert alive
        assert not flooded


def test_every_node_gets_every_role_in_its_turn() -> None:
    platform, clock, _ = played(5, rounds=5)
    roles = sorted(scene.act for scene in STORY if scene.role is not None)
    assert all(sorted(node.acts) == roles for node in platform.nodes)
    assert all(before < after for before, after in pairwise(clock.times))


def test_each_scene_is_told_with_the_node_and_where_to_look() -> None:
    _, _, heard = played(5, rounds=1, metrics="http://localhost:1/metrics")
    assert len(heard.lines) == len(STORY)
    for line, scene in zip(heard.lines, STORY, strict=True):
        assert bool(re.search(r"node \d", line)) is (scene.role is not None)
        assert "curl -s http://localhost:1/metrics | grep -E '" in line
        assert "{" not in line


def test_without_an_exporter_nobody_is_sent_to_look() -> None:
    _, _, heard = played(5, rounds=1)
    assert not any("curl" in line for line in heard.lines)


def test_disk_is_free_again_only_after_a_look_of_the_scheduler() -> None:
    platform, _, _ = played(5, rounds=2)
    assert platform.disk
    assert platform.disk.acts == ["fill", "free"] * 2
    assert platform.waited == 2


def test_disk_of_another_redis_is_left_alone() -> None:
    _, _, heard = played(5, rounds=1, disk=False)
    assert not any("disk" in line for line in heard.lines)
