"""The demo's story: what happens to which node at which time, and the text that is printed then."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final

from exporter.demo.clock import Clock
from exporter.demo.node import SimulatedNode
from exporter.demo.terminal import Terminal


class Act(StrEnum):
    """Something that can happen to a node. The values are the names of ``SimulatedNode``'s methods."""

    START = "start"
    CRASH = "crash"
    STOP = "stop"
    FLOOD = "flood"
    CALM = "calm"


@dataclass(frozen=True, slots=True)
class Scene:
    """One event of the story.

    Attributes:
        at: Seconds after the start of the round.
        role: Number of the node that it happens to. In each round another node has the role.
        act: The thing that happens.
        text: The printed text. ``{node}`` stands for the node's id.
        look: Regular expression that finds the event in the metrics. ``{node}`` as above.
    """

    at: float
    role: int
    act: Act
    text: str
    look: str


STORY: Final = (
    Scene(
        at=8,
        role=1,
        act=Act.CRASH,
        text="{node} crashes: it stops beating, and its metrics stay in Redis.\n"
        "Within 30 s its heartbeat expires; from then on it is offline.",
        look="ginkgo_node_up.*{node}",
    ),
    Scene(
        at=57,
        role=1,
        act=Act.START,
        text="{node} starts again under the same id, its counters from 0.\nThe next scrape shows it online.",
        look="ginkgo_node_up.*{node}",
    ),
    Scene(
        at=65,
        role=2,
        act=Act.FLOOD,
        text="{node} is flooded: its queues fill up, then it pushes back and drops.\n"
        "Its next beats, 10 s apart, show it. A Prometheus as young as this demo's cannot\n"
        "tell new drops from old ones yet: with --stack, their page comes minutes later.",
        look="ginkgo_node_(queue|back|drop).*{node}",
    ),
    Scene(
        at=90,
        role=2,
        act=Act.CALM,
        text="{node}: the flood is over. Its queues drain for about a minute.",
        look="ginkgo_node_(queue|back|drop).*{node}",
    ),
    Scene(
        at=105,
        role=3,
        act=Act.STOP,
        text="{node} stops gracefully: it deletes its keys.\n"
        "The next scrape has no series of this node. It is gone, not offline.",
        look="ginkgo_node_up|ginkgo_nodes",
    ),
    Scene(
        at=180,
        role=3,
        act=Act.START,
        text="{node} is back from its stop. The story starts again ten minutes after its start.",
        look="ginkgo_node_up|ginkgo_nodes",
    ),
)
ROUND: Final = 600.0
"""Seconds after which the story starts again. The next nodes then have its roles."""


async def play(nodes: Sequence[SimulatedNode], clock: Clock, terminal: Terminal, metrics: str) -> None:
    """Let the story happen to the nodes, round after round.

    Args:
        nodes: The nodes of the story.
        clock: The demo's time.
        terminal: Prints the texts.
        metrics: Address of the exporter's metrics; empty if there is no exporter.
    """
    for turn in count():
        for scene in STORY:
            await clock.until(turn * ROUND + scene.at)
            node = nodes[(scene.role + turn) % len(nodes)]
            look = f"\ncurl -s {metrics} | grep -E '{scene.look}'" if metrics else ""
            terminal.log((scene.text + look).format(node=node.node_id))
            await asyncio.to_thread(getattr(node, scene.act))
