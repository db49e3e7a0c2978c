"""One node whose writes are noted by hand, and answers about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from exporter.liveness.judge import State
from lab.soak.answers import Answer, ShownNode
from lab.soak.model import Model
from lab.soak.nodes import Node
from lab.soak.servers import TTL
from lab.soak.truth import Fault, Key, Span, Write

HASH: Mapping[str, Any] = {
    "portfolios": 3,
    "queue_size": 15,
    "cpu_usage_ratio": 0.5,
    "memory_usage_bytes": 2**20,
    "events": 100,
    "backpressure": 1,
    "dropped_events": 0,
    "status": "RUNNING",
}
COUNTERS = {key: HASH[key] for key in ("events", "backpressure", "dropped_events")}
GONE = None


@dataclass
class Truth:
    """One node without a thread that writes for it."""

    node: Node = field(default_factory=lambda: Node("a", 1))

    def __post_init__(self) -> None:
        self.lock = RLock()
        self.refused: list[Span] = []
        self.taken: list[float] = []
        self.nodes = {"a": self.node}
        self.plan = Key()
        self.looks = Key()
        self.states: dict[str, Key] = {}
        self.model = Model(self)  # type: ignore[arg-type] # its truth is all that the model asks for
        self.model.exporter_started(0.0)

    def beat(self, at: float, **changed: Any) -> None:
        self.node.heartbeat.writes.append(Write(1000 + at, at, at + 0.001, sure=True))
        self.node.hash.writes.append(Write({**HASH, **changed}, at, at + 0.002, sure=True))
        self.node.appeared = self.node.appeared or at

    def stop(self, at: float) -> None:
        for key in (self.node.heartbeat, self.node.hash):
            key.writes.append(Write(None, at, at + 0.001, sure=True))

    def faults_found(self, at: float, state: State | None, without: Iterable[str] = (), **values: Any) -> list[str]:
        """Return what is wrong with an answer in which the node is in that state."""
        beats = [write for write in self.node.heartbeat.writes if write.value and write.begun <= at]
        left = max(0.0, beats[-1].ended + TTL - at) if beats and state is State.ONLINE else 0
        shown: dict[str, Any] = {"heartbeat_ttl_seconds": left, "last_heartbeat": beats[-1].value if beats else None}
        shown |= (HASH if state is State.ONLINE else COUNTERS) | values
        shown = {key: value for key, value in shown.items() if key not in without}
        nodes = {"a": ShownNode(state, shown)} if state else {}
        return list(self.model.judge(Answer("scrape", at, at + 0.01, nodes)))


def seen_online() -> Truth:
    truth = Truth()
    truth.beat(100)
    assert not truth.faults_found(100.1, State.ONLINE)
    return truth


def lose(truth: Truth, at: float) -> None:
    """Have all data deleted."""
    truth.model.chance.faults.append(Fault("all data deleted", at, until=at + 0.01, flush=True, readable=True))
    for key in (truth.node.heartbeat, truth.node.hash):
        key.writes.append(Write(None, at, at + 0.01, sure=True, lost=True))
