"""An event: the same change of one or more subjects at one moment, with the evidence for it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from exporter.escaping import printable_json

EACH: Final = "each"
"""The key of evidence that differs between subjects. Below it stands the evidence of each subject, by its id."""
NOWHERE: Final = "in no plan and on no list"
"""The state of a portfolio that the ledger knows no longer."""
DROPS, DROPS_NO_MORE = "dropping events", "no longer dropping events"
"""What is told of an online node beside its states."""
_KEYS: Final = ("id", "time", "kind", "subjects", "from", "to", "evidence")


Facts = dict[str, Any]
"""Evidence: facts as JSON values, by their names."""


class EventKind(StrEnum):
    """What an event is about."""

    NODE = "node"
    PORTFOLIO = "portfolio"
    REDIS = "redis"
    MASS_LOSS = "mass_loss"
    PUSH = "push"
    SCHEDULER = "scheduler"
    EXPORTER = "exporter"


class Event(NamedTuple):
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
    evidence: Mapping[str, Any]

    def evidence_of(self, subject: str | None) -> Facts:
        """Return the evidence on one subject; None for the evidence that all subjects share."""
        own: Facts = self.evidence.get(EACH, {}).get(subject, {})
        return {key: value for key, value in self.evidence.items() if key != EACH} | own

    def to_json(self) -> Facts:
        """Return the event as ``/api/v1/events`` gives it."""
        return dict(zip(_KEYS, self, strict=True))

    def line(self) -> bytes:
        """Return the event as one line of JSON that no terminal obeys."""
        return printable_json(self.to_json(), separators=(",", ":")).encode() + b"\n"


def event_of(value: Any) -> Event:
    """Return the event that a JSON value describes.

    Raises:
        ValueError: The value is not an event.
    """
    try:
        number, time, kind, (one, *more), before, after, evidence = (value[key] for key in _KEYS)
        event = Event(int(number), float(time), EventKind(kind), (one, *more), before, str(after), dict(evidence))
        event.evidence_of(one)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError("not an event") from None
    return event


class Query(NamedTuple):
    """The conditions of a search for events; a condition that is None accepts all events.

    Attributes:
        subjects: Events about any of these ids.
        kinds: Events of any of these kinds.
        since: The earliest Unix time.
        until: The latest Unix time.
        before: Only events with a lower id: the cursor of the page before.
    """

    subjects: frozenset[str] | None = None
    kinds: frozenset[EventKind] | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None

    def accepts(self, event: Event) -> bool:
        """Return whether an event is wanted."""
        return (
            (self.before is None or event.id < self.before)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
            and (self.kinds is None or event.kind in self.kinds)
            and (self.subjects is None or not self.subjects.isdisjoint(event.subjects))
        )
