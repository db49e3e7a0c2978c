"""Changes that were told → events: like changes at one moment make one event, which names all their subjects."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from exporter.journal.event import EACH, Event, EventKind

TOGETHER: Final = 1.0
"""Largest time between like changes of one event, in seconds. The journal collects changes for a shorter time."""


class Entry(NamedTuple):
    """One change of one subject.

    Attributes:
        at: Monotonic time at which the exporter saw the change, in seconds.
        kind: What has changed.
        subject: The id of the node, portfolio or other thing that has changed.
        before: The old state; None if it is unknown.
        after: The new state.
        common: Evidence that like changes share: values of JSON.
        own: Evidence on this subject alone: values of JSON. Like changes have the same keys.
    """

    at: float
    kind: EventKind
    subject: str
    before: str | None
    after: str
    common: Mapping[str, Any] = MappingProxyType({})
    own: Mapping[str, Any] = MappingProxyType({})


class _Group:
    """Like changes, in the order in which they were told."""

    def __init__(self, first: Entry) -> None:
        self.first = first
        self.entries: dict[str, Entry] = {first.subject: first}

    def takes(self, entry: Entry) -> bool:
        return entry.subject not in self.entries and abs(entry.at - self.first.at) <= TOGETHER

    def event(self, number: int, time: float) -> Event:
        entries = tuple(self.entries.values())
        evidence = dict(self.first.common)
        columns = {key: [entry.own.get(key) for entry in entries] for key in self.first.own}
        alike = {key: values[0] for key, values in columns.items() if values.count(values[0]) == len(values)}
        evidence |= alike
        if each := {key: values for key, values in columns.items() if key not in alike}:
            evidence[EACH] = each
        return Event(number, time, self.first.kind, tuple(self.entries), self.first.before, self.first.after, evidence)


def events_of(entries: Iterable[Entry], last_id: int, unix: Callable[[float], float]) -> list[Event]:
    """Return the events that changes make, in the order of their first changes.

    The changes of one subject stay in their order.

    Args:
        entries: The changes, in the order in which they were told.
        last_id: The id of the last event; 0 without one.
        unix: Returns the Unix time of a monotonic time.
    """
    groups: list[_Group] = []
    open_groups: dict[Hashable, int] = {}  # by the properties that like changes share: the place of their last group
    last_of: dict[tuple[EventKind, str], int] = {}  # by subject: the place of the group of its last change
    keys: dict[int, Hashable] = {}  # by identity: the changes of one look share one mapping
    told = tuple(entries)
    for entry in told:
        if id(entry.common) not in keys:
            keys[id(entry.common)] = _key(entry.common)
        key = entry.kind, entry.before, entry.after, keys[id(entry.common)], tuple(entry.own)
        place = open_groups.get(key)
        subject = entry.kind, entry.subject
        if place is None or last_of.get(subject, -1) >= place or not groups[place].takes(entry):
            place = open_groups[key] = len(groups)
            groups.append(_Group(entry))
        else:
            groups[place].entries[entry.subject] = entry
        last_of[subject] = place
    return _numbered(groups, last_id, unix)


def _numbered(groups: Sequence[_Group], last_id: int, unix: Callable[[float], float]) -> list[Event]:
    events = []
    for group in groups:
        time = round(unix(group.first.at), 3)
        last_id = max(last_id + 1, int(time * 1e6))
        events.append(group.event(last_id, time))
    return events


def _key(value: Any) -> Hashable:
    """Return a hashable key of a JSON value. Two keys are equal exactly if their values are equal."""
    if isinstance(value, Mapping):
        return tuple((key, _key(item)) for key, item in value.items())
    return tuple(map(_key, value)) if isinstance(value, list | tuple) else value
