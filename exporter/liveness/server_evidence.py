"""What one Redis said about itself that matters for a verdict: its run, its role, evictions and refused writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from exporter.source.reading import Server


@dataclass(frozen=True, slots=True)
class ServerEvidence:
    """What a Redis said about itself.

    Attributes:
        run_id: Its run; empty if it does not say.
        role: Its role; empty before its first answer.
        evicted: Keys that it had evicted anew when an answer last showed evictions.
        evicted_at: When that answer came, in monotonic seconds; None if no answer showed any in this run.
        refused: Writes that it had refused anew when an answer last showed refusals, by error.
        refused_at: When that answer came, in monotonic seconds; None if no answer showed any in this run.
    """

    run_id: str = ""
    role: str = ""
    evicted: int = 0
    evicted_at: float | None = None
    refused: Mapping[str, int] = field(default_factory=dict)
    refused_at: float | None = None


def evidence_after(known: ServerEvidence, before: Server | None, server: Server, at: float) -> ServerEvidence:
    """Return what is known after an answer; the same object as before if the answer shows nothing new.

    Args:
        known: What was known before.
        before: The answer before; None if this one is the first.
        server: The answer.
        at: When it came, in monotonic seconds.
    """
    if before is None or before.run_id != server.run_id:
        return ServerEvidence(server.run_id, server.role)
    if server.evicted > before.evicted:
        known = replace(known, evicted=server.evicted - before.evicted, evicted_at=at)
    if server.refused != before.refused and server.refused and before.refused:
        rises = {error: count - before.refused.get(error, 0) for error, count in server.refused.items()}
        if rises := {error: count for error, count in rises.items() if count > 0}:
            known = replace(known, refused=rises, refused_at=at)
    return known if known.role == server.role else replace(known, role=server.role)
