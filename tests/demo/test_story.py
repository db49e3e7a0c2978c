import asyncio
import re
from itertools import pairwise

import pytest

from exporter.demo.story import ROUND, STORY, Act, play


def test_scenes_come_in_order_and_within_their_round() -> None:
    times = [scene.at for scene in STORY]
    assert times == sorted(times)
    assert times[-1] < ROUND


def test_first_two_minutes_hold_a_crash_a_return_a_flood_and_a_stop() -> None:
    times = {scene.act: scene.at for scene in reversed(STORY)}
    assert max(times[act] for act in (Act.CRASH, Act.FLOOD, Act.CALM, Act.STOP)) <= 120
    back = next(scene.at for scene in STORY if scene.act is Act.START)
    assert 45 <= back - times[Act.CRASH] <= 55


def test_crash_is_told_when_a_heartbeat_of_thirty_seconds_has_run_out_before_the_return() -> None:
    crash, back = STORY[0], STORY[1]
    assert (crash.act, back.act) == (Act.CRASH, Act.START)
    assert back.at - crash.at > 30


class Player:
    """A node that records its events."""

    def __init__(self, number: int) -> None:
        self.node_id = f"node {number}"
        self.acts: list[str] = []

    def __getattr__(self, act: str) -> object:
        return lambda: self.acts.append(act)


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


def played(count: int, rounds: int, metrics: str = "") -> tuple[list[Player], Jump, Heard]:
    nodes, clock, heard = [Player(number) for number in range(count)], Jump(rounds), Heard()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(play(nodes, clock, heard, metrics))  # type: ignore[arg-type] # as little as the story needs
    return nodes, clock, heard


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 11])
def test_nothing_happens_to_a_node_that_cannot_happen_to_it(count: int) -> None:
    nodes, _, _ = played(count, rounds=2 * count)
    for node in nodes:
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
    nodes, clock, _ = played(5, rounds=5)
    assert all(sorted(node.acts) == sorted(scene.act for scene in STORY) for node in nodes)
    assert all(before < after for before, after in pairwise(clock.times))


def test_each_scene_is_told_with_the_node_and_where_to_look() -> None:
    _, _, heard = played(5, rounds=1, metrics="http://localhost:1/metrics")
    assert len(heard.lines) == len(STORY)
    for line in heard.lines:
        assert re.search(r"node \d", line)
        assert "curl -s http://localhost:1/metrics | grep -E '" in line
        assert "{" not in line


def test_without_an_exporter_nobody_is_sent_to_look() -> None:
    _, _, heard = played(5, rounds=1)
    assert not any("curl" in line for line in heard.lines)
