"""The demo's story: what happens to the platform at which time, and what the terminal prints of it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

from exporter.demo.platform import BEAT, Disk, Node, Platform
from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.journal.event import EventKind, Query
from exporter.journal.sentences import headline

ROUND: Final = 600.0
"""Seconds after which the story starts again."""
_LOOK: Final = 1.0
"""Seconds of the demo's time between two looks at what the exporter sees."""
_SEEN: Final = frozenset((EventKind.NODE, EventKind.PORTFOLIO, EventKind.REDIS, EventKind.MASS_LOSS))
_MOST: Final = 100
_STEP: Final = 0.05
"""Seconds of real time between two steps of the platform."""


class Clock:
    """The demo's time in seconds since its start; ``speed`` of them pass in one real second. It heads each line."""

    def __init__(self, speed: float) -> None:
        self._speed, self._start = speed, time.monotonic()

    def now(self) -> float:
        """Return the demo's time."""
        return (time.monotonic() - self._start) * self._speed

    async def until(self, seconds: float) -> None:
        """Wait until a point in the demo's time."""
        await asyncio.sleep(max(0.0, seconds - self.now()) / self._speed)

    def tell(self, text: str) -> None:
        """Print a text with the demo's time. Further lines are indented under the first."""
        minutes, seconds = divmod(int(self.now()), 60)
        print(f"[{minutes:2}:{seconds:02}] " + text.replace("\n", "\n        "), flush=True)  # noqa: T201


class Scene(NamedTuple):
    """One event of the story.

    Attributes:
        at: Seconds after the start of the round.
        node: The node that it happens to; empty for the disk.
        act: What happens, in a step of the platform.
        text: The printed text.
        look: Regular expression that finds the event in the metrics.
    """

    at: float
    node: str
    act: Callable[[Platform, Any], object]
    text: str
    look: str


def _start(platform: Platform, node: Node) -> None:
    node.start(platform.redis, platform.clock())


def _free(platform: Platform, disk: Disk) -> None:
    disk.free()
    # A scheduler that looks before the nodes have beaten again orphans all portfolios.
    platform.next_look = max(platform.next_look, platform.clock() + 2 * BEAT)


STORY: Final = (
    Scene(
        12,
        "demo-node-2",
        lambda _, node: node.crash(),
        "demo-node-2 crashes: it stops beating, and its metrics stay in Redis.\n"
        "Within 30 s its heartbeat expires. From then on it is offline, and its portfolios are untraded.\n"
        "The scheduler looks every 31 to 36 s. It moves them, and their new nodes load them with the next beat.",
        "ginkgo_node_up.*demo-node-2|ginkgo_portfolio",
    ),
    Scene(
        95,
        "demo-node-2",
        _start,
        "demo-node-2 starts again under the same id, its counters from 0, and without portfolios.\n"
        "The next scrape shows it online.",
        "ginkgo_node_(up|planned).*demo-node-2",
    ),
    Scene(
        105,
        "demo-node-3",
        lambda _, node: node.flood(on=True),
        "demo-node-3 is flooded: its queues fill up, then it pushes back and drops.\n"
        "Its next beats, 10 s apart, show it.",
        "ginkgo_node_(queue|back|drop).*demo-node-3",
    ),
    Scene(
        130,
        "demo-node-3",
        lambda _, node: node.flood(on=False),
        "demo-node-3: the flood is over. Its queues drain for about a minute.",
        "ginkgo_node_(queue|back|drop).*demo-node-3",
    ),
    Scene(
        145,
        "demo-node-4",
        lambda platform, node: node.stop(platform.redis),
        "demo-node-4 stops gracefully: it deletes its keys.\n"
        "The next scrape has no series of this node. It is gone, not offline.\n"
        "Its portfolios wait for the scheduler all the same.",
        "ginkgo_node_up|ginkgo_nodes|ginkgo_portfolio",
    ),
    Scene(220, "demo-node-4", _start, "demo-node-4 is back from its stop.", "ginkgo_node_up|ginkgo_nodes"),
    Scene(
        235,
        "",
        lambda _, disk: disk.fill(),
        "The disk of Redis is full: it cannot save its snapshot, and refuses all writes from now on.\n"
        "No node can beat, and within 30 s all heartbeats expire, though every node lives.\n"
        "The exporter sees that Redis refuses writes: the nodes are undecided, and nobody is called dead.",
        "ginkgo_redis_(writes|last_save)|ginkgo_nodes|ginkgo_portfolios",
    ),
    Scene(
        300,
        "",
        _free,
        "The disk has room again: Redis takes writes, and the nodes beat within 10 s.\n"
        "The story starts again ten minutes after its start.",
        "ginkgo_redis_(writes|last_save)|ginkgo_nodes|ginkgo_portfolios",
    ),
)


async def play(platform: Platform, disk: Disk | None, clock: Clock, metrics: str) -> None:
    """Let the story happen to the platform, round after round.

    Args:
        platform: The nodes.
        disk: The disk of the embedded Valkey; without it its scenes are left out.
        clock: The demo's time.
        metrics: Address of the exporter's metrics; empty if there is no exporter.
    """
    for turn in count():
        for scene in STORY:
            if target := platform.nodes.get(scene.node) or disk:
                await clock.until(turn * ROUND + scene.at)
                clock.tell(scene.text + (f"\ncurl -s {metrics} | grep -E '{scene.look}'" if metrics else ""))
                platform.todo.append(partial(scene.act, platform, target))


async def live(platform: Platform) -> None:
    """Let the platform live, step by step."""
    while True:
        await asyncio.to_thread(platform.step)
        await asyncio.sleep(_STEP)


async def watch(fleet: Fleet, clock: Clock) -> None:
    """Look at the fleet again and again, and print what the exporter's journal says of it."""
    last = 0
    while True:
        with suppress(SourceError):  # the log says so once
            await asyncio.wrap_future(fleet.request())
        events, _ = fleet.journal.page(Query(kinds=_SEEN), _MOST)
        for event in reversed([event for event in events if event.id > last]):
            reason = event.evidence.get("reason")
            clock.tell(f"the exporter sees: {headline(event)}{f' The reason is: {reason}.' if reason else ''}")
            last = event.id
        await clock.until(clock.now() + _LOOK)
