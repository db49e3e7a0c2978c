"""What people must know of Redis now, in sentences: page, JSON and readiness say the same."""

from collections import Counter
from typing import TYPE_CHECKING

from exporter.journal.situation import redis_away, redis_unreadable, writes_refused
from exporter.liveness.outages import PROBED, READ

if TYPE_CHECKING:
    from exporter.fleet.fleet import Fleet


def outage(fleet: "Fleet") -> str:
    """Return the outage of Redis that lasts, as one sentence; empty without one."""
    return redis_unreadable(*_outage(fleet)) if fleet.outages.since is not None else ""


def trouble(fleet: "Fleet") -> str:
    """Return what people must know while Redis cannot be read."""
    return redis_away(*_outage(fleet), *fleet.reader.last_known)


def refusal(fleet: "Fleet") -> str:
    """Return what people must know while Redis refuses writes; empty while it takes them, or cannot be read."""
    since, server = fleet.judge.writes_refused_since(), fleet.judge.server
    if since is None or server is None or fleet.outages.since is not None:
        return ""
    errors: Counter[str] = Counter()
    for member in server.members.values():
        errors.update(member.refused or {})
    return writes_refused(fleet.journal.unix(since), errors)


def _outage(fleet: "Fleet") -> tuple[float | None, str]:
    since, outages = fleet.outages.since, fleet.outages
    began = None if since is None else fleet.journal.unix(since)
    return began, outages.error(PROBED) or outages.error(READ)
