"""Which kinds of events may explain an alert."""

from collections.abc import Mapping
from typing import Final

from exporter.journal.event import EventKind

_KINDS: Final[Mapping[str, frozenset[EventKind]]] = {
    "GinkgoRedis": frozenset({EventKind.REDIS}),
    "GinkgoNode": frozenset({EventKind.NODE, EventKind.MASS_LOSS, EventKind.REDIS}),
    "GinkgoAllNodes": frozenset({EventKind.NODE, EventKind.MASS_LOSS, EventKind.REDIS}),
    "GinkgoMass": frozenset({EventKind.NODE, EventKind.MASS_LOSS, EventKind.REDIS}),
    "GinkgoPortfolio": frozenset({EventKind.PORTFOLIO, EventKind.SCHEDULER, EventKind.NODE}),
    "GinkgoPlan": frozenset({EventKind.PORTFOLIO, EventKind.SCHEDULER, EventKind.REDIS}),
    "GinkgoScheduler": frozenset({EventKind.PORTFOLIO, EventKind.SCHEDULER}),
    "GinkgoExporter": frozenset({EventKind.EXPORTER, EventKind.REDIS, EventKind.PUSH}),
    "GinkgoPush": frozenset({EventKind.EXPORTER, EventKind.PUSH}),
}
"""The kinds of events that explain an alert, by the beginning of its name. Any other alert may have any cause."""


def kinds_behind(alert: str) -> frozenset[EventKind] | None:
    """Return the kinds of events that may explain an alert; None if any kind may."""
    return next((kinds for start, kinds in _KINDS.items() if alert.startswith(start)), None)
