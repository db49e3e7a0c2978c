"""What an earlier run of the exporter knew, from its events: nodes that are offline, and since when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.journal.event import Event, EventKind
from exporter.liveness.states import State
from exporter.portfolios.history import EarlierFault


@dataclass(frozen=True, slots=True)
class OfflineNode:
    """A node that was offline at the end of an earlier run.

    Attributes:
        since: Unix time since which it is offline.
        exact: Whether that is the end of its heartbeat.
        member: Whether it is a member of a mass loss.
        forgotten: Whether it is only counted.
    """

    since: float
    exact: bool
    member: bool
    forgotten: bool


def offline_nodes(events: Iterable[Event]) -> Mapping[str, OfflineNode]:
    """Return the nodes that were offline after these events, by id; ``events`` come in their order."""
    offline: dict[str, OfflineNode] = {}
    for event in events:
        if event.kind is EventKind.NODE:
            for subject in event.subjects:
                offline.pop(subject, None)
            if event.after in (State.OFFLINE, State.FORGOTTEN):
                offline |= _offline(event)
    return offline


def portfolio_faults(events: Iterable[Event]) -> Mapping[str, EarlierFault]:
    """Return the portfolios that were at fault after these events, by id; ``events`` come in their order."""
    faults: dict[str, EarlierFault] = {}
    for event in events:
        if event.kind is EventKind.PORTFOLIO:
            for position, subject in enumerate(event.subjects):
                since = event.evidence_at(position).get("since")
                faults.pop(subject, None)
                if isinstance(since, int | float):
                    faults[subject] = EarlierFault(event.after, float(since))
    return faults


def _offline(event: Event) -> dict[str, OfflineNode]:
    nodes = {}
    for position, subject in enumerate(event.subjects):
        evidence = event.evidence_at(position)
        since = evidence.get("offline_since")
        if isinstance(since, int | float):
            nodes[subject] = OfflineNode(
                since=float(since),
                exact=evidence.get("offline_since_exact") is True,
                member=evidence.get("mass_loss") is True,
                forgotten=event.after == State.FORGOTTEN,
            )
    return nodes
