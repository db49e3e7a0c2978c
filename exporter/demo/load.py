"""The load of a simulated node: its events rise and fall, its queues fill and drain, and it may be flooded."""

import math
from collections.abc import Sequence

from exporter.reporter import NodeMetrics, PortfolioMetrics

QUEUE_LIMIT = 1000
"""Maximum number of events in a portfolio's queue."""
_STEP = 0.5
_HEADROOM = 1.6
_FLOOD = 4.0


class Load:
    """The load of a node from its start to its end.

    Events arrive in two slow waves around the node's usual rate. The node can process 1.6 times the usual
    rate. During a flood four times the usual rate arrives. Then the queues fill up, and events that find a
    full queue are pushed back and dropped. CPU and memory are calculated from the load, since the simulated
    nodes share one process.

    Without portfolios no events arrive.

    One thread at a time may use an object. Any thread may set the attributes.

    Args:
        number: The node's number, from 0. Each node has its own rate and waves.
        portfolios: Ids of the portfolios that the node has loaded.

    Attributes:
        flooded: Whether the node is flooded.
        portfolios: As above.
    """

    def __init__(self, number: int, portfolios: Sequence[str] = ()) -> None:
        self.flooded = False
        self.portfolios = tuple(portfolios)
        self._number = number
        self._usual = 80 + 25 * (number % 5)
        self._age = 0.0
        self._events = 0.0
        self._backlog = 0.0  # unprocessed events of one portfolio
        self._overflow = 0.0

    def at(self, age: float) -> NodeMetrics:
        """Let time pass, and return the metrics that the node then reports.

        Args:
            age: Seconds since the node started. It must not be less than in an earlier call.
        """
        portfolios = self.portfolios
        while self._age < age:
            step = min(_STEP, age - self._age)
            self._age += step
            if portfolios:
                self._pass(step, len(portfolios))
        busy = min(1.0, self._arriving() / (self._usual * _HEADROOM)) if portfolios else 0.0
        states = {portfolio: self._state(place) for place, portfolio in enumerate(portfolios)}
        queue = sum(state.queue_size for state in states.values()) // max(1, len(states))
        return NodeMetrics(
            portfolio_count=len(portfolios),
            queue_size=queue,
            total_events=int(self._events),
            backpressure_count=int(self._overflow),
            dropped_events=int(self._overflow),
            status="RUNNING",
            loaded_portfolio_ids=portfolios,
            portfolio_states=states,
            cpu_usage=4 + 70 * busy,
            memory_usage=160 + 45 * len(portfolios) + 0.06 * queue,
        )

    def _state(self, place: int) -> PortfolioMetrics:
        """Return the state of one portfolio. The queues of a node's portfolios rise and fall one after the other."""
        wave = 9 * self._wave(31, place) + 4 * self._wave(7, place)
        return PortfolioMetrics(
            queue_size=int(min(QUEUE_LIMIT, max(0.0, self._backlog + 14 + wave))),
            position_count=2 + (self._number + 3 * place) % 5,
        )

    def _pass(self, seconds: float, portfolios: int) -> None:
        arrived = self._arriving() * seconds
        self._events += arrived
        excess = arrived - self._usual * _HEADROOM * seconds
        backlog = self._backlog + excess / portfolios
        self._overflow += max(0.0, backlog - QUEUE_LIMIT) * portfolios
        self._backlog = min(max(backlog, 0.0), QUEUE_LIMIT)

    def _arriving(self) -> float:
        """Return the events per second that arrive now."""
        return self._usual * (1 + 0.3 * self._wave(47) + 0.15 * self._wave(13)) * (_FLOOD if self.flooded else 1)

    def _wave(self, period: float, place: int = 0) -> float:
        return math.sin(2 * math.pi * self._age / period + 2.4 * self._number + 0.7 * place)
