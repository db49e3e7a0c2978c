"""What the judge and the reads of the fleet show → entries of the journal."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from exporter.journal.event import NOWHERE, EventKind, Facts
from exporter.journal.file import Known
from exporter.liveness import Change, Kind, State
from exporter.portfolios.account import Account
from exporter.portfolios.ledger import Ledger
from exporter.snapshot.rows import portfolio_row
from exporter.source.reading import shown_id

MOST_TEXT: Final = 200
"""Bytes of a heartbeat that are kept as evidence."""
MOST_ROWS: Final = 1000
"""Portfolios of an event of which each has its own evidence: that of 100,000 would take a second of a scrape."""
_OF_PORTFOLIO: Final = ("planned_node", "loaded_nodes", "listed_nodes", "positions")
"""The values of a portfolio's row that are the evidence on it alone."""
Unix = Callable[[float], float]
"""Returns the Unix time of a monotonic time."""

Group = tuple[EventKind, str | None, str, dict[str, Facts], Facts, float | None]
"""Like changes: the arguments of ``Journal.add``."""


def judged(changes: Sequence[Change], unix: Unix, answered: float) -> Iterable[Group]:
    """Return the judge's changes: like ones together, and those of each subject in their order.

    Args:
        changes: The changes, the oldest first.
        unix: Returns the Unix time of a monotonic time.
        answered: When Redis answered last, in monotonic seconds: a gap that reaches until then lasts.
    """
    groups: dict[object, Group] = {}
    turns = Counter[tuple[Kind, bytes]]()
    for change in changes:
        name = EventKind.REDIS if change.kind is Kind.REDIS else shown_id(change.name)
        turns[change.kind, change.name] += 1
        common = _common(change, unix, answered)
        like = turns[change.kind, change.name], change.kind, change.before, change.after, tuple(common.items())
        group: Group = EventKind(change.kind.value), change.before, change.after, {}, common, change.at
        groups.setdefault(like, group)[3][name] = _own(change, unix)
    return groups.values()


def _common(change: Change, unix: Unix, answered: float) -> Facts:
    """Return the evidence that like changes share."""
    seen, gap, loss = change.evidence, change.evidence.gap, change.loss
    return _known(
        because=change.why,
        hash=seen.hashed,
        loss=loss and shown_id(loss.name),
        loss_first=loss and _time(loss.first, unix),
        fault=gap and gap.why,
        fault_since=gap and _time(gap.start, unix),
        fault_until=_time(gap.end, unix) if gap and gap.end < answered else None,
        redis=shown_id(change.name) if change.kind is Kind.REDIS else None,
        redis_run_id=seen.run_id,
        redis_role=seen.role,
    )


def _own(change: Change, unix: Unix) -> Facts:
    """Return the evidence on one node alone."""
    seen = change.evidence
    if change.kind is not Kind.NODE or change.after == State.ONLINE:
        return {}
    return _known(
        pttl=seen.ttl_ms,
        heartbeat=shown_id(seen.text[:MOST_TEXT]) if seen.text else None,
        deadline=_time(seen.end, unix),
        offline_since=_time(change.died, unix),
    )


def _known(**evidence: Any) -> Facts:
    return {key: value for key, value in evidence.items() if value not in (None, "")}


def _time(at: float | None, unix: Unix) -> float | None:
    return None if at is None else round(unix(at), 3)


def read(before: Ledger | None, account: Account, known: Mapping[str, Known]) -> Iterable[Group]:
    """Return what has changed from one ledger to the next: like changes together.

    Args:
        before: The ledger before; None if there was none.
        account: The next one.
        known: What the journal knows of portfolios at fault, by id as text.
    """
    ledger, last_plan = account.ledger, (before or account.ledger).plan
    last_faults = before.abnormal if before else map(str.encode, known)
    groups = defaultdict[Any, dict[str, Facts]](dict)
    for name in sorted({*ledger.abnormal, *last_faults, *(last_plan.keys() ^ ledger.plan.keys())}):
        last, now = before and before.get(name), ledger.get(name)
        old = last.state if last else known.get(shown_id(name), (None, None))[1]
        new, reason = (now.state, now.reason) if now else (NOWHERE, None)
        if old != new:
            rows = groups[old, new, reason, account.since.get(name)]
            row = portfolio_row(now, account) if now and len(rows) < MOST_ROWS else {}
            rows[shown_id(name)] = {key: row[key] for key in _OF_PORTFOLIO if row.get(key)}
    for (old, new, reason, since), rows in groups.items():
        yield EventKind.PORTFOLIO, old, new, rows, _known(reason=reason, since=since), None
