"""The load of a simulated node: events that come and go, queues that breathe, and a flood at times."""

import math

from exporter.reporter import NodeMetrics

QUEUE_LIMIT = 1000
"""Events that a portfolio's queue holds."""
_STEP = 0.5
_HEADROOM = 1.6
_FLOOD = 4.0


class Load:
    """What one life of a node has done so far.

    Events arrive in two slow waves around the node's usual rate. The node works off 1.6
    times that rate; while it is flooded, four times it arrives, the queues fill up, and what
    finds them full is pushed back and dropped. CPU and memory follow from that, since the
    simulated nodes share one process.

    For one thread at a time, but for ``flooded``, which any thread may set.

    Args:
        number: Which node, from 0: each has its own rate, waves and portfolios.
    """

    def __init__(self, number: int) -> None:
        self.flooded = False
        self._number = number
        self._usual = 80 + 25 * (number % 5)
        self._portfolios = 2 + number % 3
        self._age = 0.0
        self._events = 0.0
        self._backlog = 0.0  # a portfolio's, of what could not be worked off at once
        self._overflow = 0.0

    def at(self, age: float) -> NodeMetrics:
        """Let time pass, and return what the node then reports.

        Args:
            age: Seconds since the node started; never less than before.
        """
        while self._age < age:
            step = min(_STEP, age - self._age)
            self._age += step
            self._pass(step)
        busy = min(1.0, self._arriving() / (self._usual * _HEADROOM))
        queue = min(QUEUE_LIMIT, self._backlog + 12 + 9 * self._wave(31) + 4 * self._wave(7))
        return NodeMetrics(
            portfolio_count=self._portfolios,
            queue_size=int(queue),
            total_events=int(self._events),
            backpressure_count=int(self._overflow),
            dropped_events=int(self._overflow),
            status="RUNNING",
            loaded_portfolio_ids=[f"portfolio-{self._number + 1}-{i + 1}" for i in range(self._portfolios)],
            cpu_usage=4 + 70 * busy,
            memory_usage=160 + 45 * self._portfolios + 0.06 * queue,
        )

    def _pass(self, seconds: float) -> None:
        arrived = self._arriving() * seconds
        self._events += arrived
        excess = arrived - self._usual * _HEADROOM * seconds
        backlog = self._backlog + excess / self._portfolios
        self._overflow += max(0.0, backlog - QUEUE_LIMIT) * self._portfolios
        self._backlog = min(max(backlog, 0.0), QUEUE_LIMIT)

    def _arriving(self) -> float:
        """Return the events per second that arrive now."""
        return self._usual * (1 + 0.3 * self._wave(47) + 0.15 * self._wave(13)) * (_FLOOD if self.flooded else 1)

    def _wave(self, period: float) -> float:
        return math.sin(2 * math.pi * self._age / period + 2.4 * self._number)
