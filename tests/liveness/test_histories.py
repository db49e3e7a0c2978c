"""The judge and the watch in random stories of nodes and of a Redis with faults: see ``histories``."""

from collections.abc import Sequence
from contextlib import suppress
from threading import Event

import pytest
from histories import BEAT, TTL, Tally, World, tell

from exporter.errors import SourceError
from exporter.fleet.watch import READ, Watch
from exporter.liveness import Change, Judge, Kind, View
from exporter.liveness.judge import HELD
from exporter.settings import Heartbeat, Nodes, Settings
from exporter.telemetry import Telemetry

SCRAPE = 15.0
DISCOVERY = 10.0
KINDS = ("restarts", "cluster", "partial", "masses", "base")


class Exporter:
    """A judge and a watch that read the world, as a fleet runs them: with a scrape, a discovery, and a journal."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._log: list[Change] = []
        self._start(())

    def _start(self, earlier: Sequence[Change]) -> None:
        self._last: dict[bytes, Change] = {}
        settings = Settings(heartbeat=Heartbeat(ttl=TTL), nodes=Nodes(forget_rehomed_after=None))
        self._judge = Judge(settings, earlier)
        self._watch = Watch(
            self._judge,
            self._world,  # type: ignore[arg-type] # a reader
            self._read,
            5.0,
            Telemetry(),
            Event(),
            self._world.clock,
        )
        self._watch.full = True
        self._watch.attendants.append(self._hear)
        self._judge.wake = self._watch.tell
        self._scrape_at = self._discovery_at = self._world.now

    def restart(self, *, journal: bool) -> None:
        self._start(self._log if journal else ())

    def step(self) -> None:
        now = self._world.now
        if now >= self._discovery_at:
            self._discovery_at = now + DISCOVERY
            with suppress(SourceError):
                self._judge.look(self._world.read((), now))
                self._judge.find(self._world.found(), now)
        if now >= self._scrape_at:
            self._scrape_at = now + SCRAPE
            self._read()
        if now >= self._watch.next():
            self._watch.look()

    def state(self, name: bytes) -> str | None:
        return self._last[name].after if name in self._last else None

    def holds(self, name: bytes) -> bool:
        absent = self._judge.view().absent
        return name in absent and absent[name].why == HELD

    def loss(self, name: bytes) -> object:
        return self._last[name].loss

    def _read(self) -> None:
        self._watch.read_at = self._world.now
        try:
            self._judge.look(self._world.read(self._world.names, 0.0))
        except SourceError as error:
            self._judge.failed(READ, str(error), self._world.now)
        else:
            self._judge.succeeded(READ, self._world.now)
            self._judge.let_go(None, self._world.now)

    def _hear(self, changes: Sequence[Change], _: View) -> None:
        nodes = [change for change in changes if change.kind is Kind.NODE]
        self._log += nodes
        self._last |= {change.name: change for change in nodes}


def judged(kind: str, seeds: range) -> Tally:
    return tell(seeds, Exporter, **({} if kind == "base" else {kind: True}))


@pytest.mark.parametrize("kind", KINDS)
def test_no_living_node_is_called_dead_and_no_death_is_missed(kind: str) -> None:
    tally = judged(kind, range(12))
    assert tally.deaths > 8
    assert (tally.false, tally.missed, tally.torn, tally.lumped) == (0, 0, 0, 0)
    assert tally.late <= 1
    assert max(tally.delays, default=0.0) <= 1.5 * BEAT + 0.5


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_in_two_thousand_stories(kind: str) -> None:
    tally = judged(kind, range(1000, 1400))
    print(kind, tally)  # noqa: T201
    assert (tally.missed, tally.torn, tally.lumped) == (0, 0, 0)
    assert tally.false <= 0.005 * tally.deaths
    assert tally.late <= 0.01 * tally.deaths
