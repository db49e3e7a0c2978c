"""The judge's findings on nodes → changes for the journal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, Final

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.liveness.evidence import Finding, Why
from exporter.liveness.faults import ONGOING
from exporter.liveness.server_evidence import ServerEvidence
from exporter.liveness.states import State
from exporter.source.names import shown_id
from exporter.source.reading import MISSING, NO_EXPIRY

MOST_TEXT: Final = 200
"""Characters of a heartbeat that are kept as evidence."""

MOST_ARRIVALS: Final = 100
"""Most new nodes in one judgement that get evidence of their own. At a start all nodes are new."""
_BEFORE: Final = {Why.HASH_ALONE: None, Why.REMEMBERED: State.OFFLINE.value}
"""The old states of nodes that only this run of the exporter did not know."""

Unix = Callable[[float], float]
"""Returns the Unix time of a monotonic time."""


def node_entries(findings: Sequence[Finding], unix: Unix) -> Iterator[Entry]:
    """Yield the changes that findings make. A node that must be read a second time yields no change yet.

    Args:
        findings: The findings of one judgement.
        unix: Returns the Unix time of a monotonic time.
    """
    epoch, many = unix(0.0), len(findings) > MOST_ARRIVALS
    commons: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for finding in findings:
        if finding.why is Why.FIRST_LOOK:
            continue
        change, fault = finding.change, finding.fault
        key = finding.why, finding.member, finding.has_hash, id(finding.server), fault and (fault.kind, fault.start)
        if key not in commons:
            commons[key] = _common(finding, epoch)
        yield Entry(
            at=change.at,
            kind=EventKind.NODE,
            subject=intern(shown_id(change.name)),
            before=_BEFORE.get(finding.why, change.before and change.before.value),
            after=change.after.value,
            common=commons[key],
            own={}
            if many and change.before is None and change.after is State.ONLINE
            else {
                "heartbeat_ttl_seconds": _ttl(finding.ttl_ms),
                "heartbeat": _text(finding.beat),
                "deadline": _time(finding.deadline, epoch),
                "offline_since": _time(finding.since, epoch),
                "offline_since_exact": finding.exact if finding.since is not None else None,
            },
        )


def _common(finding: Finding, epoch: float) -> dict[str, Any]:
    evidence: dict[str, Any] = {"because": finding.why.value, "hash": finding.has_hash}
    if finding.change.after in (State.OFFLINE, State.UNDECIDED):
        evidence["mass_loss"] = finding.member
    if fault := finding.fault:
        evidence["fault"] = fault.kind.value
        evidence["fault_since"] = _time(fault.start, epoch)
        evidence["fault_until"] = None if fault.end == ONGOING else _time(fault.end, epoch)
    return evidence | (_server(finding.server, epoch) if finding.server else {})


def _server(server: ServerEvidence, epoch: float) -> dict[str, Any]:
    evidence: dict[str, Any] = {
        "redis_run_id": server.run_id or None,
        "redis_role": server.role or None,
        "evicted_keys": server.evicted,
        "refused_writes": dict(server.refused or {}),
    }
    if server.evicted_at is not None:
        evidence["evicted_at"] = _time(server.evicted_at, epoch)
    if server.refused_at is not None:
        evidence["refused_at"] = _time(server.refused_at, epoch)
    return evidence


def _ttl(ttl_ms: int | None) -> float | None:
    """Return a PTTL as ``ginkgo_node_heartbeat_ttl_seconds`` has it."""
    return {None: None, MISSING: 0, NO_EXPIRY: NO_EXPIRY}.get(ttl_ms, (ttl_ms or 0) / 1000)


def _text(beat: bytes | None) -> str | None:
    return None if beat is None else shown_id(beat[: 4 * MOST_TEXT])[:MOST_TEXT]


def _time(at: float | None, epoch: float) -> float | None:
    return None if at is None else round(epoch + at, 3)
