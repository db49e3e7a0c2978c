"""What happens in the soak besides Redis's faults: to the exporter, to Alertmanager, and to many nodes at once."""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.liveness.judge import State
from soak.alertmanager import Alertmanager
from soak.chance import GRACE
from soak.exporters import Exporters
from soak.faults import LONG, SHORT, Acting
from soak.model import HOLD, Model
from soak.nodes import Mode, Platform
from soak.pages import Pages
from soak.servers import TTL
from soak.truth import Fault
from soak.witness import Witness

_SHARE: Final = 1 / 3
_LEAST: Final = 3
_RATIO: Final = 0.25
_SHOWN_WITHIN: Final = 1.5
_AFTER: Final = 1.0


@dataclass(slots=True)
class Scene:
    """All parts that something can happen to.

    Attributes:
        calm: Whether nodes are left alone.
    """

    platform: Platform
    exporters: Exporters
    model: Model
    witness: Witness
    pages: Pages | None
    alertmanager: Alertmanager | None
    dice: random.Random
    calm: bool = False

    def disturb(self) -> None:
        """Expect pages late from now on."""
        if self.pages:
            self.pages.disturb()

    def undisturb(self) -> None:
        """Expect pages in time again."""
        if self.pages:
            self.pages.undisturb()


def restart_exporter(scene: Scene) -> Acting:
    """End the exporter and start another one."""
    scene.disturb()
    scene.exporters.stop()
    yield 0.0
    scene.exporters.start()
    scene.undisturb()


def _suspend_exporter(scene: Scene, bounds: tuple[float, float]) -> Acting:
    """Suspend the exporter: it must not take its own silence for the nodes'."""
    fault = Fault("exporter suspended", time.monotonic(), suspended=True)
    scene.model.chance.faults.append(fault)
    scene.disturb()
    scene.exporters.suspend()
    fault.down_from = time.monotonic()
    yield scene.dice.uniform(*bounds)
    fault.down_until = time.monotonic()
    scene.exporters.resume()
    yield _AFTER
    fault.until = time.monotonic()
    scene.undisturb()


def _kill_alertmanager(scene: Scene) -> Acting:
    assert scene.alertmanager  # noqa: S101 - these happen only with push
    scene.disturb()
    saved = scene.alertmanager.kill()
    if scene.pages:
        scene.pages.alertmanager_killed(saved)
    yield scene.dice.uniform(*LONG)
    scene.alertmanager.start()
    scene.undisturb()


def _suspend_alertmanager(scene: Scene) -> Acting:
    assert scene.alertmanager  # noqa: S101 - these happen only with push
    scene.disturb()
    scene.alertmanager.suspend()
    yield scene.dice.uniform(*LONG)
    scene.alertmanager.resume()
    scene.undisturb()


def _lose_many(scene: Scene) -> Acting:
    """Kill a third of the nodes at once, and see that the exporter calls it one mass loss."""
    scene.calm = True
    try:
        yield GRACE + HOLD
        seen = scene.witness.last.nodes if scene.witness.last and scene.witness.last.nodes else {}
        alive = {name for name, node in seen.items() if node.state in (State.ONLINE, State.UNDECIDED)}
        living = scene.platform.in_mode(Mode.LIVING)
        known = sorted(alive.intersection(living))
        struck = scene.dice.sample(known, min(len(known), max(_LEAST, math.ceil(len(living) * _SHARE))))
        before = len(alive.union(living, scene.platform.in_mode(Mode.STARTING, Mode.FROZEN, Mode.STOPPING)))
        for name in struck:
            scene.platform.act(name, "crash")
        struck_at = time.monotonic()
        yield TTL + HOLD + _SHOWN_WITHIN + scene.model.chance.slack
        if len(struck) < _LEAST or len(struck) <= _RATIO * before:
            return
        if (missing := set(struck) - scene.witness.mass_lost) and scene.exporters.current.started < struck_at - GRACE:
            scene.witness.accuse("mass loss", f"{sorted(missing)} are no members, though {struck} were killed at once")
    finally:
        scene.calm = False


RESTARTED: Final = "exporter restarted"
BOTH_RESTARTED: Final = "killed, and the exporter restarted meanwhile"
MASS_LOSS: Final = "a third of the nodes killed at once"
INCIDENTS: Final[Mapping[str, Callable[[Scene], Acting]]] = {
    MASS_LOSS: _lose_many,
    "exporter suspended": lambda scene: _suspend_exporter(scene, LONG),
    "exporter suspended for a moment": lambda scene: _suspend_exporter(scene, SHORT),
}
PUSH_INCIDENTS: Final[Mapping[str, Callable[[Scene], Acting]]] = {
    "Alertmanager killed": _kill_alertmanager,
    "Alertmanager suspended": _suspend_alertmanager,
}
"""What needs an Alertmanager."""
