"""An event: the same change of one or more subjects at one moment, with the evidence for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

EACH: Final = "each"
"""The key of evidence that differs between subjects. Each key below it lists one value for each subject."""
_IDS: Final = range(1, 2**53)
"""The ids that every JSON parser reads exactly."""


class EventKind(StrEnum):
    """What an event is about."""

    NODE = "node"
    PORTFOLIO = "portfolio"
    REDIS = "redis"
    MASS_LOSS = "mass_loss"
    PUSH = "push"
    SCHEDULER = "scheduler"
    EXPORTER = "exporter"


@dataclass(frozen=True, slots=True)
class Event:
    """A change.

    Attributes:
        id: A number that rises from event to event, also over restarts: the event's Unix time in microseconds, or the
            last id plus one if that is larger.
        time: Unix time at which the exporter saw the change, by its own clock.
        kind: What has changed.
        subjects: The ids of the nodes, portfolios or other things that have changed, as text; at least one.
        before: The old state; None if it is unknown.
        after: The new state.
        evidence: The facts from which the change was judged, as JSON values. See ``EACH``.
    """

    id: int
    time: float
    kind: EventKind
    subjects: tuple[str, ...]
    before: str | None
    after: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def evidence_of(self, subject: str) -> dict[str, Any]:
        """Return the evidence on one subject; only the common evidence if the event does not name the subject."""
        if subject in self.subjects:
            return self.evidence_at(self.subjects.index(subject))
        return {key: value for key, value in self.evidence.items() if key != EACH}

    def evidence_at(self, position: int) -> dict[str, Any]:
        """Return the evidence on the subject at this position of ``subjects``."""
        common = {key: value for key, value in self.evidence.items() if key != EACH}
        return common | {key: values[position] for key, values in self.evidence.get(EACH, {}).items()}

    def to_json(self) -> dict[str, Any]:
        """Return the event as ``/api/v1/events`` gives it."""
        return {
            "id": self.id,
            "time": self.time,
            "kind": self.kind.value,
            "subjects": list(self.subjects),
            "from": self.before,
            "to": self.after,
            "evidence": dict(self.evidence),
        }


def event_of(value: object) -> Event:
    """Return the event that a JSON value describes.

    Raises:
        ValueError: The value is not an event.
    """
    match value:
        case {
            "id": int(number),
            "time": float() | int() as time,
            "kind": str(kind),
            "subjects": [str(), *_] as subjects,
            "from": None | str() as before,
            "to": str(after),
            "evidence": dict(evidence),
        } if not isinstance(number, bool) and number in _IDS and _is_time(time):
            if not all(isinstance(subject, str) for subject in subjects) or not _fits(evidence, len(subjects)):
                raise ValueError("not an event")
            return Event(number, float(time), EventKind(kind), tuple(subjects), before, after, evidence)
    raise ValueError("not an event")


def _is_time(value: float) -> bool:
    return not isinstance(value, bool) and math.isfinite(value) and abs(value) < _IDS.stop


def _fits(evidence: Mapping[str, Any], subjects: int) -> bool:
    """Return whether each list under ``EACH`` has one value for each subject."""
    each = evidence.get(EACH, {})
    return isinstance(each, dict) and all(
        isinstance(values, list) and len(values) == subjects for values in each.values()
    )
