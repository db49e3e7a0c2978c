"""The judge's verdicts on nodes → changes for the journal."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from sys import intern
from typing import Any, Final

from exporter.journal.changes import Entry
from exporter.journal.event import Kind
from exporter.liveness.evidence import ServerEvidence, Verdict, Why
from exporter.liveness.faults import ONGOING
from exporter.liveness.states import State
from exporter.source.names import shown_id
from exporter.source.reading import MISSING, NO_EXPIRY

MOST_TEXT: Final = 200
"""Characters of a heartbeat that are kept as evidence."""

_BEFORE: Final = {Why.HASH_ALONE: None, Why.REMEMBERED: State.OFFLINE.value}
"""States before that only this process did not know."""

Unix = Callable[[float], float]
"""Returns the Unix time of a monotonic time."""


def node_entries(verdicts: Iterable[Verdict], unix: Unix) -> Iterator[Entry]:
    """Yield the changes that verdicts make. A node of which only a second look decides has none yet.

    Args:
        verdicts: The verdicts of one judgement.
        unix: Returns the Unix time of a monotonic time.
    """
    epoch = unix(0.0)
    commons: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for verdict in verdicts:
        if verdict.why is Why.FIRST_LOOK:
            continue
        change, fault = verdict.change, verdict.fault
        key = verdict.why, verdict.member, verdict.has_hash, id(verdict.server), fault and (fault.kind, fault.start)
        if key not in commons:
            commons[key] = _common(verdict, epoch)
        yield Entry(
            at=change.at,
            kind=Kind.NODE,
            subject=intern(shown_id(change.name)),
            before=_BEFORE.get(verdict.why, change.before and change.before.value),
            after=change.after.value,
            common=commons[key],
            own={
                "heartbeat_ttl_seconds": _ttl(verdict.ttl_ms),
                "heartbeat": _text(verdict.beat),
                "deadline": _time(verdict.deadline, epoch),
                "offline_since": _time(verdict.since, epoch),
                "offline_since_exact": verdict.exact if verdict.since is not None else None,
            },
        )


def _common(verdict: Verdict, epoch: float) -> dict[str, Any]:
    evidence: dict[str, Any] = {"because": verdict.why.value, "hash": verdict.has_hash}
    if verdict.change.after in (State.OFFLINE, State.UNDECIDED):
        evidence["mass_loss"] = verdict.member
    if fault := verdict.fault:
        evidence["fault"] = fault.kind.value
        evidence["fault_since"] = _time(fault.start, epoch)
        evidence["fault_until"] = None if fault.end == ONGOING else _time(fault.end, epoch)
    return evidence | (_server(verdict.server, epoch) if verdict.server else {})


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
