"""Incidents other than faults of Redis: they hit the exporter, Alertmanager, or many nodes at once."""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.liveness.judge import State
from exporter.liveness.mass_loss import LATE
from lab.soak.alertmanager import Alertmanager
from lab.soak.chance import GRACE
from lab.soak.exporters import Exporters
from lab.soak.faults import LONG, SHORT, Course
from lab.soak.model import HOLD, Model
from lab.soak.nodes import Mode, Platform
from lab.soak.pages import Pages
from lab.soak.prober import Prober
from lab.soak.servers import TTL
from lab.soak.truth import Fault

_SHARE: Final = 1 / 3
_LEAST: Final = 3
_RATIO: Final = 0.25
_SHOWN_WITHIN: Final = 1.5
_AFTER: Final = 1.0


@dataclass(slots=True)
class Setup:
    """All parts that an incident can hit.

    Attributes:
        calm: Whether no node starts, stops or crashes at random now.
    """

    platform: Platform
    exporters: Exporters
    model: Model
    prober: Prober
    pages: Pages | None
    alertmanager: Alertmanager | None
    rng: random.Random
    calm: bool = False

    def disturb(self) -> None:
        """Expect late pages from now on."""
        if self.pages:
            self.pages.disturb()

    def undisturb(self) -> None:
        """Expect pages in time from now on."""
        if self.pages:
            self.pages.undisturb()


def restart_exporter(setup: Setup) -> Course:
    """Stop the exporter and start another exporter."""
    setup.disturb()
    setup.exporters.stop()
    yield 0.0
    setup.exporters.start()
    setup.undisturb()


def _suspend_exporter(setup: Setup, bounds: tuple[float, float]) -> Course:
    """Suspend the exporter. It must not mistake its own silence for silence of the nodes."""
    fault = Fault("exporter suspended", time.monotonic(), suspended=True)
    setup.model.chance.faults.append(fault)
    setup.disturb()
    setup.exporters.suspend()
    fault.down_from = time.monotonic()
    yield setup.rng.uniform(*bounds)
    fault.down_until = time.monotonic()
    setup.exporters.resume()
    yield _AFTER
    fault.until = time.monotonic()
    setup.undisturb()


def _kill_alertmanager(setup: Setup) -> Course:
    assert setup.alertmanager
    setup.disturb()
    saved = setup.alertmanager.kill()
    if setup.pages:
        setup.pages.alertmanager_killed(saved)
    yield setup.rng.uniform(*LONG)
    setup.alertmanager.start()
    setup.undisturb()


def _suspend_alertmanager(setup: Setup) -> Course:
    assert setup.alertmanager
    setup.disturb()
    setup.alertmanager.suspend()
    yield setup.rng.uniform(*LONG)
    setup.alertmanager.resume()
    setup.undisturb()


def _lose_many(setup: Setup) -> Course:
    """Kill a third of the nodes at once, and check that the exporter sees one mass loss."""
    setup.calm = True
    try:
        yield GRACE + HOLD
        seen = setup.prober.last.nodes if setup.prober.last and setup.prober.last.nodes else {}
        alive = {name for name, node in seen.items() if node.state in (State.ONLINE, State.UNDECIDED)}
        living = setup.platform.in_mode(Mode.LIVING)
        known = sorted(alive.intersection(living))
        killed = setup.rng.sample(known, min(len(known), max(_LEAST, math.ceil(len(living) * _SHARE))))
        before = len(alive.union(living, setup.platform.in_mode(Mode.STARTING, Mode.FROZEN, Mode.STOPPING)))
        for name in killed:
            setup.platform.act(name, "crash")
        killed_at = time.monotonic()
        yield TTL + HOLD + _SHOWN_WITHIN + setup.model.chance.slack
        if len(killed) < _LEAST or len(killed) <= _RATIO * before:
            return
        ends = {name: setup.platform.nodes[name].heartbeat.writes[-1].ended + TTL for name in killed}
        together = _together(setup, ends, max(_LEAST - 1, _RATIO * before))
        if (missing := together - setup.prober.mass_lost) and setup.exporters.current.started < killed_at - GRACE:
            ended = ", ".join(f"{name} {end - min(ends.values()):.2f}" for name, end in sorted(ends.items()))
            wrong = f"{sorted(missing)} are no members of the loss; seconds at which the killed nodes ended: {ended}"
            setup.prober.add_wrong("mass loss", wrong)
    finally:
        setup.calm = False


def _together(setup: Setup, ends: Mapping[str, float], few: float) -> set[str]:
    """Return the killed nodes that must be members: when each died, more than ``few`` were dead or late.

    On a busy machine a node's last beat may be so old that the other nodes were not late yet when it died.
    """
    late = LATE * TTL - setup.model.chance.slack
    return {name for name, end in ends.items() if sum(other < end + late for other in ends.values()) > few}


RESTARTED: Final = "exporter restarted"
BOTH_RESTARTED: Final = "killed, and the exporter restarted meanwhile"
MASS_LOSS: Final = "a third of the nodes killed at once"
INCIDENTS: Final[Mapping[str, Callable[[Setup], Course]]] = {
    MASS_LOSS: _lose_many,
    "exporter suspended": lambda setup: _suspend_exporter(setup, LONG),
    "exporter suspended for a moment": lambda setup: _suspend_exporter(setup, SHORT),
}
PUSH_INCIDENTS: Final[Mapping[str, Callable[[Setup], Course]]] = {
    "Alertmanager killed": _kill_alertmanager,
    "Alertmanager suspended": _suspend_alertmanager,
}
"""The incidents that need an Alertmanager."""
