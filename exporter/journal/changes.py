"""What the judge and the reads of the fleet show → entries of the journal."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.journal.event import NOWHERE, EventKind
from exporter.liveness import Change, Kind, State
from exporter.portfolios.account import Account, EarlierFault
from exporter.portfolios.ledger import Ledger, Portfolio
from exporter.source.names import shown_id
from exporter.source.reading import MISSING, NO_EXPIRY

REDIS: Final = "redis"
"""The subject of events about Redis."""
CANNOT_BE_READ: Final = "cannot be read"
STALLED_AFTER: Final = 120.0
"""Seconds without a look at the plan after which the scheduler is stalled, as for GinkgoSchedulerStalled."""
MOST_TEXT: Final = 200
"""Characters of a heartbeat that are kept as evidence."""
_MOST_NODES: Final = 10
Unix = Callable[[float], float]
"""Returns the Unix time of a monotonic time."""

Group = tuple[EventKind, str | None, str, dict[str, dict[str, Any]], dict[str, Any], float]
"""Like changes: the arguments of ``Journal.add``."""


def judged(changes: Sequence[Change], unix: Unix, answered: float, alive: Collection[str]) -> Iterator[Group]:
    """Yield the judge's changes: like ones together, and those of each subject in their order.

    Args:
        changes: The changes, the oldest first.
        unix: Returns the Unix time of a monotonic time.
        answered: When Redis answered last, in monotonic seconds: a gap that reaches until then lasts.
        alive: The nodes that are known to be alive: that an exporter sees them after its start is no change.
    """
    groups, subjects = dict[object, Group](), set[tuple[Kind, bytes]]()
    for change in changes:
        kind, before, seen = EventKind(change.kind.value), change.before and str(change.before), change.evidence
        name = REDIS if change.kind is Kind.REDIS else shown_id(change.name)
        arrived = change.kind is Kind.NODE and before is None and change.after == State.ONLINE
        if arrived and name in alive:
            continue
        if (change.kind, change.name) in subjects:
            yield from groups.values()
            groups, subjects = {}, set()
        subjects.add((change.kind, change.name))
        like = kind, before, change.after, change.why, change.loss, seen.hashed, seen.gap, seen.run_id, seen.role
        if like not in groups:
            common = _of_redis(change, unix) if name is REDIS else _of_node(change, unix, answered)
            groups[like] = kind, before, str(change.after), {}, common, change.at
        groups[like][3][name] = _own(change, unix) if kind is EventKind.NODE and not arrived else {}
    yield from groups.values()


def _of_node(change: Change, unix: Unix, answered: float) -> dict[str, Any]:
    """Return the evidence that like changes of nodes share."""
    seen, loss = change.evidence, change.loss
    evidence: dict[str, Any] = {"because": change.why, "hash": seen.hashed}
    if loss:
        evidence |= {"loss": shown_id(loss.name), "loss_first": _time(loss.first, unix)}
    if gap := seen.gap:
        until = None if gap.end >= answered else _time(gap.end, unix)
        evidence |= {"fault": gap.why, "fault_since": _time(gap.start, unix), "fault_until": until}
    return evidence | {"redis_run_id": seen.run_id or None, "redis_role": seen.role or None}


def _own(change: Change, unix: Unix) -> dict[str, Any]:
    """Return the evidence on one node alone."""
    ttl_ms, text = change.evidence.ttl_ms, change.evidence.text
    ttl = {None: None, MISSING: 0, NO_EXPIRY: NO_EXPIRY}.get(ttl_ms, (ttl_ms or 0) / 1000)
    return {
        "heartbeat_ttl_seconds": ttl,
        "heartbeat": None if text is None else shown_id(text[: 4 * MOST_TEXT])[:MOST_TEXT],
        "deadline": _time(change.evidence.end, unix),
        "offline_since": _time(change.died, unix),
        "offline_since_exact": None if change.died is None else change.exact,
    }


def _of_redis(change: Change, unix: Unix) -> dict[str, Any]:
    seen, gap = change.evidence, change.evidence.gap
    evidence: dict[str, Any] = {"error": change.why} if change.after == CANNOT_BE_READ else {}
    evidence["since"] = _time(gap.start if gap else change.at, unix)
    if change.name:
        evidence["redis"] = shown_id(change.name)
    if seen.run_id:
        evidence |= {"redis_run_id": seen.run_id, "redis_role": seen.role}
    return evidence


def _time(at: float | None, unix: Unix) -> float | None:
    return None if at is None else round(unix(at), 3)


def read(
    before: Ledger | None, account: Account, known: Mapping[str, EarlierFault]
) -> dict[tuple[str | None, str], dict[str, dict[str, Any]]]:
    """Return what has changed from one ledger to the next, by the old and the new state of portfolios.

    Args:
        before: The ledger before; None if there was none.
        account: The next one.
        known: The faults before the first ledger, by id as text.
    """
    ledger = account.ledger
    names = ledger.abnormal.keys() | {name.encode() for name in known}
    if before:
        names |= before.abnormal.keys() | (before.plan.keys() ^ ledger.plan.keys())
    groups: dict[tuple[str | None, str], dict[str, dict[str, Any]]] = {}
    for name in names:
        last, now = before.get(name) if before else None, ledger.get(name)
        old = last.state.value if last else known.get(shown_id(name), (None,))[0]
        new = now.state.value if now else NOWHERE
        if old != new or (last and now and last.reason is not now.reason):
            groups.setdefault((old, new), {})[shown_id(name)] = _of_portfolio(now, account.since.get(name))
    return groups


def _of_portfolio(portfolio: Portfolio | None, since: float | None) -> dict[str, Any]:
    if portfolio is None:
        return {}
    return {
        "since": None if since is None else round(since, 3),
        "reason": portfolio.reason and portfolio.reason.value,
        "node": None if portfolio.planned is None else shown_id(portfolio.planned),
        "loaded_on": [shown_id(name) for name in portfolio.loaded[:_MOST_NODES]],
        "listed_by": [shown_id(name) for name in portfolio.listed[:_MOST_NODES]],
    }
