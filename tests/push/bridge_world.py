"""A fleet, a clock and an Alertmanager for the bridge: time and Redis are handed in."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from exporter.errors import SourceError
from exporter.journal.journal import Journal
from exporter.liveness.judge import Judge
from exporter.liveness.outages import PROBED, Outages
from exporter.liveness.watch import Watch
from exporter.push.alerts import Alert
from exporter.push.bridge import Bridge
from exporter.push.clock import Clocks
from exporter.settings import load
from exporter.source.names import Names, names_of
from exporter.source.reading import Reading
from exporter.telemetry import Telemetry
from lab.readings import ALIVE, GONE, SERVER, Pair, cluster, reading_of

EPOCH = 1.7e9
"""Unix time at which the clock of a world shows 0."""
TTL, BEAT = 30.0, 10.0


class World:
    """A fleet in front of a table instead of Redis, a clock set by hand, and the bridge over both.

    Args:
        pairs: The nodes' keys.
        flags: Settings.
        started: Whether the bridge hands its alerts to this world; else a test starts it in a loop.

    Attributes:
        offered: For each time that the bridge offered alerts: when, and which.
        alerts: The alert that was offered last under each key.
        ended: The alerts that it ended, and whether they are to be resolved.
    """

    def __init__(self, pairs: dict[bytes, Pair], *flags: tuple[str, Any], started: bool = True) -> None:
        self.now = 1000.0
        self.pairs = pairs
        self.beating: dict[bytes, float] = {}
        self.broken_since: float | None = None
        self.silent: tuple[str, ...] | None = None  # primaries that do not answer, of A and B; None without a cluster
        self.last_accepted = float("-inf")
        self.url = "http://127.0.0.1:1"
        self.problem = ""
        self.clocks = Clocks(self.url)
        self.server = replace(SERVER, refused={"MISCONF": 0})
        self.settings = load({"alertmanager.url": [self.url], **dict(flags)})
        self.judge = Judge(TTL, BEAT, self.settings.nodes.forget_after)
        self.planned: dict[bytes, int] = {}
        self.outages = Outages(self.clock)
        self.watch = Watch(self.judge, self, 5, self.clock)
        self.telemetry = Telemetry()
        self.journal = Journal(None, self.telemetry, self.wall, self.clock)
        self.names = Names()
        self.offered: list[tuple[float, list[tuple[str, str]]]] = []
        self.alerts: dict[tuple[str, str], Alert] = {}
        self.ended: list[tuple[tuple[str, str], bool]] = []
        self.bridge = Bridge(self, clock=self.clock, wall=self.wall)  # type: ignore[arg-type]
        self.bridge._alertmanagers[0].close()
        self.bridge._alertmanagers = [self]  # type: ignore[list-item]
        if started:
            self.bridge._loop = self  # type: ignore[assignment]
        self.find()

    # what the bridge asks of a fleet, a reader, a loop and an Alertmanager

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + EPOCH

    def planned_portfolios(self, name: bytes) -> int:
        return self.planned.get(name, 0)

    def attend(self, attendant: Callable[[bool], None], refresh: float) -> None:
        self.attendant = attendant
        self.watch.keep_deadlines(refresh)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        assert deadline >= self.now
        if self.broken_since is not None:
            raise SourceError("broken")
        if self.silent is None:
            return reading_of(self.pairs, self.now, self.server, names)
        unread = frozenset(at for at, name in enumerate(names) if name[:1].decode().upper() in self.silent)
        pairs = {name: GONE if at in unread else self.pairs.get(name, GONE) for at, name in enumerate(names)}
        server = cluster(*self.silent, owners={"a": "A", "b": "B"})
        return replace(reading_of(pairs, self.now, server, names), unread=unread)

    def parts(self, names: Sequence[bytes], deadline: float) -> None:
        raise NotImplementedError

    def call_soon_threadsafe(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)

    def offer(self, alerts: Iterable[Alert], at: float) -> None:
        assert at == self.now
        new = {alert.key: alert for alert in alerts}
        self.offered.append((self.now, list(new)))
        self.alerts |= new

    def end(self, alerts: Iterable[Alert], *, resolve: bool) -> None:
        self.ended += [(alert.key, resolve) for alert in alerts]

    # what happens

    def find(self) -> None:
        self.names = names_of(self.pairs, self.settings.collector.max_nodes)

    def live(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass: living nodes beat, heartbeats run out, and the watch looks."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + step, end)
            for name, pair in self.pairs.items():
                if pair.ttl is not None and pair.ttl > 0:
                    left = TTL if self.now >= self.beating.get(name, float("inf")) else pair.ttl - step
                    self.pairs[name] = replace(pair, ttl=left if left > 0 else None)
                    if left == TTL:
                        self.beating[name] = self.now + BEAT
            self.look()

    def look(self) -> None:
        """Do what the fleet's watch does."""
        refreshed = False
        try:
            if self.watch.probe():
                self.outages.succeeded(PROBED)
            refreshed = self.watch.look(self.names.raw)
        except SourceError as error:
            self.outages.failed(PROBED, error, self.now)
        self.attendant(refreshed)

    def start(self, *names: bytes) -> None:
        for i, name in enumerate(names):
            self.pairs[name] = ALIVE
            self.beating[name] = self.now + BEAT * i / len(names)

    def crash(self, *names: bytes) -> None:
        for name in names:
            del self.beating[name]

    def told(self) -> set[tuple[str, str]]:
        return {key for _, keys in self.offered for key in keys}

    def times(self, name: str, node_id: str = "") -> list[float]:
        return [at for at, keys in self.offered if (name, node_id) in keys]
