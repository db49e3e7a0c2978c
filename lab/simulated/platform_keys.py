"""The platform's keys in a simulated Redis beside those of the nodes: plan, states of portfolios, workers."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Self

PLAN = "schedule:plan"


@dataclass
class PlatformKeys:
    """Keys, and when somebody last looked at the plan.

    Attributes:
        clock: Returns the simulated time in seconds.
        plan: The node of each planned portfolio; empty without a plan.
        states: What nodes wrote of their portfolios, by the portfolio's id.
        workers: When each worker's heartbeat expires, by its key.
        looked_at: When the scheduler last looked at the plan, or wrote it.
        saving: Whether a child process of Redis saves a snapshot: then no look is recorded.
    """

    clock: Callable[[], float]
    plan: dict[str, str] = field(default_factory=dict)
    states: dict[str, Mapping[str, str]] = field(default_factory=dict)
    workers: dict[str, float] = field(default_factory=dict)
    looked_at: float = float("-inf")
    saving: bool = False

    def copy(self) -> Self:
        """Return a copy, as a snapshot on the disk is."""
        return type(self)(self.clock, dict(self.plan), deepcopy(self.states), dict(self.workers), self.looked_at)

    def look(self) -> dict[str, str]:
        """Return the plan to the scheduler."""
        self.touch()
        return dict(self.plan)

    def touch(self) -> None:
        """Record that somebody looked at the plan, or wrote it."""
        if not self.saving:
            self.looked_at = self.clock()

    def worker_names(self) -> frozenset[bytes]:
        """Return the keys of the living workers' heartbeats."""
        return frozenset(name.encode() for name, end in self.workers.items() if end > self.clock())

    def hash_of(self, key: str) -> Mapping[str, str]:
        """Return the hash of a key; empty for a missing key."""
        if key == PLAN:
            return self.plan
        return self.states.get(key.removeprefix("portfolio:").removesuffix(":state"), {})
