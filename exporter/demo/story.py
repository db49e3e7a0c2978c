"""The demo's story: what happens to which part of the platform at which time, and the text that is printed then."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final

from exporter.demo.clock import Clock
from exporter.demo.disk import Disk
from exporter.demo.node import SimulatedNode
from exporter.demo.platform import Platform
from exporter.demo.terminal import Terminal


class Act(StrEnum):
    """Something that can happen. The values are the names of methods of ``SimulatedNode`` and ``Disk``."""

    START = "start"
    CRASH = "crash"
    STOP = "stop"
    FLOOD = "flood"
    CALM = "calm"
    FILL = "fill"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class Scene:
    """One event of the story.

    Attributes:
        at: Seconds after the start of the round.
        role: Number of the node that it happens to; None for the disk. In each round another node has the role.
        act: The thing that happens.
        text: The printed text. ``{node}`` stands for the node's id.
        look: Regular expression that finds the event in the metrics. ``{node}`` as above.
    """

    at: float
    role: int | None
    act: Act
    text: str
    look: str


STORY: Final = (
    Scene(
        at=12,
        role=1,
        act=Act.CRASH,
        text="{node} crashes: it stops beating, and its metrics stay in Redis.\n"
        "Within 30 s its heartbeat expires. From then on it is offline, and its portfolios are untraded.\n"
        "The scheduler looks every 31 to 36 s. It moves them, and their new nodes load them with the next beat.",
        look="ginkgo_node_up.*{node}|ginkgo_portfolio",
    ),
    Scene(
        at=95,
        role=1,
        act=Act.START,
        text="{node} starts again under the same id, its counters from 0, and without portfolios.\n"
        "The next scrape shows it online.",
        look="ginkgo_node_(up|planned).*{node}",
    ),
    Scene(
        at=105,
        role=2,
        act=Act.FLOOD,
        text="{node} is flooded: its queues fill up, then it pushes back and drops.\n"
        "Its next beats, 10 s apart, show it. A Prometheus as young as this demo's cannot\n"
        "tell new drops from old ones yet: with --stack, their page comes minutes later.",
        look="ginkgo_node_(queue|back|drop).*{node}",
    ),
    Scene(
        at=130,
        role=2,
        act=Act.CALM,
        text="{node}: the flood is over. Its queues drain for about a minute.",
        look="ginkgo_node_(queue|back|drop).*{node}",
    ),
    Scene(
        at=145,
        role=3,
        act=Act.STOP,
        text="{node} stops gracefully: it deletes its keys.\n"
        "The next scrape has no series of this node. It is gone, not offline.\n"
        "Its portfolios wait for the scheduler all the same.",
        look="ginkgo_node_up|ginkgo_nodes|ginkgo_portfolio",
    ),
    Scene(
        at=220,
        role=3,
        act=Act.START,
        text="{node} is back from its stop.",
        look="ginkgo_node_up|ginkgo_nodes",
    ),
    Scene(
        at=235,
        role=None,
        act=Act.FILL,
        text="The disk of Redis is full: it cannot save its snapshot, and refuses all writes from now on.\n"
        "No node can beat, and within 30 s all heartbeats expire, though every node lives.\n"
        "The exporter sees that Redis refuses writes: the nodes are undecided, and nobody is called dead.",
        look="ginkgo_redis_(writes|last_save)|ginkgo_nodes|ginkgo_portfolios",
    ),
    Scene(
        at=300,
        role=None,
        act=Act.FREE,
        text="The disk has room again: Redis takes writes, and the nodes beat within 10 s.\n"
        "The story starts again ten minutes after its start.",
        look="ginkgo_redis_(writes|last_save)|ginkgo_nodes|ginkgo_portfolios",
    ),
)
ROUND: Final = 600.0
"""Seconds after which the story starts again. The next nodes then have its roles."""


async def play(platform: Platform, clock: Clock, terminal: Terminal, metrics: str) -> None:
    """Let the story happen to the platform, round after round.

    Args:
        platform: The nodes, and the disk: without a disk its scenes are left out.
        clock: The demo's time.
        terminal: Prints the texts.
        metrics: Address of the exporter's metrics; empty if there is no exporter.
    """
    for turn in count():
        for scene in STORY:
            target: SimulatedNode | Disk | None = platform.disk
            if scene.role is not None:
                target = platform.nodes[(scene.role + turn) % len(platform.nodes)]
            if target is None:
                continue
            await clock.until(turn * ROUND + scene.at)
            if scene.act is Act.FREE:
                # A scheduler that looks before the nodes have beaten again orphans all portfolios.
                await platform.scheduler.next_look()
            look = f"\ncurl -s {metrics} | grep -E '{scene.look}'" if metrics else ""
            terminal.log((scene.text + look).format(node=getattr(target, "node_id", "")))
            await asyncio.to_thread(getattr(target, scene.act))
