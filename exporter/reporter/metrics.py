"""What a node measures, and the fields of the hashes that it writes."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import psutil

from exporter.contract import MEGABYTE


@dataclass(frozen=True, slots=True)
class PortfolioMetrics:
    """What one loaded portfolio is doing.

    Attributes:
        queue_size: Events in its queue.
        position_count: Its open positions.
        status: Its status on the platform, such as ``RUNNING``, ``STOPPING``, ``RELOADING`` or ``MIGRATING``.
    """

    queue_size: int = 0
    position_count: int = 0
    status: str = "RUNNING"

    def fields(self, node_id: str | bytes) -> dict[str, str | bytes]:
        """Return the fields of the portfolio's hash.

        Args:
            node_id: The node that has the portfolio loaded. The hash outlives the node, so it names the node.
        """
        return {
            "status": self.status,
            "queue_size": str(self.queue_size),
            "buffer_size": "0",  # a constant on the platform too
            "position_count": str(self.position_count),
            "node_id": node_id,
        }


@dataclass(frozen=True, slots=True)
class NodeMetrics:
    """What a node is doing.

    Attributes:
        portfolio_count: Portfolios loaded now.
        queue_size: Average queue length over the portfolios.
        total_events: Events taken for routing since the node started.
        backpressure_count: Times that a full queue pushed back since the node started.
        dropped_events: Events dropped since the node started.
        status: The node's own status; None writes no such field.
        loaded_portfolio_ids: Ids of the loaded portfolios. An empty list says that no portfolio is loaded. None
            writes no such field, and then nobody knows which portfolios this node trades.
        portfolio_states: What each loaded portfolio is doing, by its id; None or empty writes no such hash.
        cpu_usage: CPU use in percent, 100 being one full core; None takes that of the process.
        memory_usage: Memory in MB of 1,048,576 bytes; None takes that of the process.
    """

    portfolio_count: int = 0
    queue_size: int = 0
    total_events: int = 0
    backpressure_count: int = 0
    dropped_events: int = 0
    status: Literal["RUNNING", "PAUSED", "STOPPED"] | None = None
    loaded_portfolio_ids: Sequence[str] | None = None
    portfolio_states: Mapping[str, PortfolioMetrics] | None = None
    cpu_usage: float | None = None
    memory_usage: float | None = None

    def fields(self) -> dict[str, str]:
        """Return the fields of the node's hash as text, without the fields that are None."""
        fields = {
            "portfolio_count": str(self.portfolio_count),
            "queue_size": str(self.queue_size),
            "total_events": str(self.total_events),
            "backpressure_count": str(self.backpressure_count),
            "dropped_events": str(self.dropped_events),
        }
        if self.status is not None:
            fields["status"] = self.status
        if self.loaded_portfolio_ids is not None:
            fields["loaded_portfolio_ids"] = json.dumps(list(self.loaded_portfolio_ids))
        if self.cpu_usage is not None:
            fields["cpu_usage"] = f"{self.cpu_usage:.1f}"
        if self.memory_usage is not None:
            fields["memory_usage"] = f"{self.memory_usage:.1f}"
        return fields


class ProcessUse:
    """CPU use and memory of this process.

    CPU use is the mean since the measurement before. The first value is the mean since the process started.

    Args:
        process: The process; this one if None.
        wall: Returns Unix time.
        monotonic: Returns monotonic seconds.
    """

    def __init__(
        self,
        process: psutil.Process | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process, self._monotonic = process or psutil.Process(), monotonic
        self._last = monotonic() - (wall() - self._process.create_time())
        self._spent = 0.0

    def fields(self) -> dict[str, str]:
        """Return the hash's fields on CPU, in percent of one core, and on memory, in MB."""
        times = self._process.cpu_times()
        spent, now = times.user + times.system, self._monotonic()
        cpu_usage = 100 * max(0.0, spent - self._spent) / max(now - self._last, 0.001)
        self._last, self._spent = now, spent
        memory_usage = self._process.memory_info().rss / MEGABYTE
        return {"cpu_usage": f"{cpu_usage:.1f}", "memory_usage": f"{memory_usage:.1f}"}
