"""The lives of simulated nodes over one hour, as the contract lets a node live.

Time is fixed, so that every run and every picture shows the same hour. With eight nodes, these are its events,
in minutes before its end:

    node-2  25 to 19  a queue fills, pushes back and then drops events; it drains until 17
    node-3  12        crashes: its heartbeat expires, its counters stay
    node-5  28        restarts under its name: its counters begin anew
    node-6  33        is paused: it takes no events
    node-7            is an older node: it reports no status, and always 0 for CPU and memory
    node-8  40        stops gracefully: it vanishes

`many_nodes` repeats these lives in a larger fleet, where most nodes have no trouble.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from exporter.contract import NUMBERS

END: Final = int(datetime(2026, 1, 6, 13, 26, 0, tzinfo=UTC).timestamp())
LENGTH: Final = 3600
BEFORE: Final = 600  # seconds of scrapes before the hour, so that its first rates are complete
STEP: Final = 15  # seconds between two scrapes
BEAT: Final = 10
TTL: Final = 30
NEVER: Final = math.inf


def minutes_before_end(minutes: float) -> float:
    """Return a time before the hour's end as seconds from the hour's start."""
    return LENGTH - 60 * minutes


@dataclass(frozen=True)
class Life:
    """One node's life in the hour; times are in seconds from the hour's start."""

    node_id: str
    number: int
    crash: float = NEVER
    stop: float = NEVER
    restart: float = NEVER
    pause: float = NEVER
    jam: float = NEVER
    unload: float = NEVER
    old: bool = False

    def last_beat(self, now: float) -> float:
        """Return the time at which the node last wrote its keys."""
        period = BEAT + 0.2 + 0.01 * (self.number % 5)  # and the loop's own work
        phase = (self.number * 3.7) % BEAT
        return phase + math.floor((min(now, self.crash) - phase) / period) * period

    def heartbeat_ttl(self, now: float) -> float:
        """Return the seconds until the heartbeat expires; 0 if it has expired."""
        return max(0.0, TTL - (now - self.last_beat(now)))

    def is_known(self, now: float) -> bool:
        """Return whether any of the node's keys is in Redis."""
        return now < self.stop

    def is_online(self, now: float) -> bool:
        """Return whether the node's heartbeat lives."""
        return self.is_known(now) and self.heartbeat_ttl(now) > 0

    def events(self, now: float) -> float:
        """Return the events since the node started: the integral of a rate that swings."""
        began = self.restart if now >= self.restart else -7_200.0
        upto = min(self.last_beat(now), self.pause)
        return math.floor(max(0.0, self._flow(upto) - self._flow(began)))

    def _flow(self, at: float) -> float:
        mean = 40 + 9 * (self.number % 7)
        swing = 1_500 / (2 * math.pi)
        return mean * (at - 0.25 * swing * math.cos(at / swing + self.number))

    def queue(self, now: float) -> float:
        """Return the average queue length. A jam fills it in three minutes, lasts three, and drains in two."""
        calm = 12 + 8 * math.sin(now / 180 + self.number) + self.number % 5
        since = self.last_beat(now) - self.jam
        if not 0 <= since < 480:  # noqa: PLR2004 - the jam's eight minutes
            return math.floor(calm)
        full = 985 - 10 * (self.number % 3)
        return math.floor(max(calm, min(since / 180, 1.0, (480 - since) / 120) * full))

    def backpressure(self, now: float) -> float:
        """Return the push-backs since the start: three a second while the queue is above 70 %."""
        return self._lost(now, after=126, each_second=3)

    def dropped(self, now: float) -> float:
        """Return the events lost since the start: one a second while the queue is full."""
        return self._lost(now, after=180, each_second=1)

    def _lost(self, now: float, *, after: float, each_second: float) -> float:
        if self.restart < now:
            return 0
        return math.floor(each_second * max(0.0, min(self.last_beat(now) - self.jam, 360) - after))

    def portfolios(self, now: float) -> float:
        """Return the number of loaded portfolios; some nodes take two more after the crash of another."""
        if now >= self.unload:
            return 0
        return 1 + self.number % 3 + (2 if self.number % 8 == 4 and now > minutes_before_end(11) else 0)  # noqa: PLR2004

    def fields(self, now: float) -> dict[str, str]:
        """Return the node's hash, every value a string."""
        written = {
            **{str(metric.field): f"{self.events(now) // 100:.0f}" for metric in NUMBERS},
            "portfolio_count": f"{self.portfolios(now):.0f}",
            "queue_size": f"{self.queue(now):.0f}",
            "cpu_usage": "0.0" if self.old else f"{30 + 15 * math.sin(now / 400 + self.number):.1f}",
            "memory_usage": "0" if self.old else f"{400 + 10 * (self.number % 9) + now // 90:.0f}",
            "total_events": f"{self.events(now):.0f}",
            "backpressure_count": f"{self.backpressure(now):.0f}",
            "dropped_events": f"{self.dropped(now):.0f}",
        }
        if not self.old:
            written["status"] = "PAUSED" if now >= self.pause else "RUNNING"
        return written


def eight_nodes() -> tuple[Life, ...]:
    """Return the fleet that the module's docstring describes."""
    fates: dict[int, dict[str, float]] = {
        2: {"jam": minutes_before_end(25)},
        3: {"crash": minutes_before_end(12)},
        5: {"restart": minutes_before_end(28)},
        6: {"pause": minutes_before_end(33)},
        8: {"stop": minutes_before_end(40)},
    }
    return tuple(
        Life(f"node-{number}", number, old=number == 7, **fates.get(number, {}))  # noqa: PLR2004
        for number in range(1, 9)
    )


def with_fates(**fates: Mapping[int, float]) -> tuple[Life, ...]:
    """Return eight nodes, of which some may have a fate: for each fate the numbers of its nodes and its times."""
    return tuple(
        Life(
            f"node-{number}",
            number,
            old=False,
            **{fate: times[number] for fate, times in fates.items() if number in times},
        )
        for number in range(1, 9)
    )


def many_nodes(count: int) -> tuple[Life, ...]:
    """Return a large fleet. In each hundred nodes one crashes, one jams, one is paused, one restarts, one stops.

    Nodes whose numbers differ by 250 live the same life, so most lives need not be computed.
    """
    fates = {13: "crash", 37: "jam", 59: "pause", 71: "restart", 97: "stop"}
    lives = []
    for number in range(1, count + 1):
        kind = number % 250
        fate = fates.get(number % 100)
        when = {fate: minutes_before_end(8 + 29 * kind % 37)} if fate else {}
        lives.append(Life(f"node-{number:04}", kind, old=number % 10 == 7, **when))  # noqa: PLR2004
    return tuple(lives)


def troubled_node() -> Life:
    """Return a node whose queue jams, and which restarts later."""
    return Life("node-1", 1, jam=minutes_before_end(25), restart=minutes_before_end(8))
