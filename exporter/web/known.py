"""What is known now of an alert's subject: the sentences on top of its runbook."""

import heapq
from collections.abc import Iterator
from typing import Final

from exporter.escaping import printable
from exporter.journal.alert_kinds import kinds_behind
from exporter.journal.journal import Journal
from exporter.journal.memory import Query
from exporter.journal.sentences import at, headline, offline_since, reasons, shown
from exporter.journal.situation import redis_unreadable, undecided
from exporter.liveness.offline import OfflineSince
from exporter.liveness.states import State
from exporter.portfolios.ledger import Portfolio
from exporter.snapshot.portfolio_rows import fault_order, portfolio_row
from exporter.snapshot.rows import because
from exporter.snapshot.snapshot import Snapshot
from exporter.source.names import shown_id

MOST_EVENTS: Final = 5
"""Events that stand on top of a runbook."""
MOST_PORTFOLIOS: Final = 5
"""Portfolios that stand on top of a runbook."""


def known_of(  # noqa: PLR0913 - all that is known
    node_id: str,
    snapshot: Snapshot | None,
    offline: OfflineSince,
    journal: Journal,
    trouble: str = redis_unreadable(None, ""),
    *,
    alert: str = "",
) -> list[str]:
    """Return what is known of a node now, and the last changes that explain an alert, sentence by sentence.

    Args:
        node_id: The node; empty for all of them.
        snapshot: The nodes; None if Redis could not be read.
        offline: Knows since when a node is offline, and why it is undecided.
        journal: What happened.
        trouble: Why Redis could not be read, in sentences.
        alert: The alert that is to be explained; empty for none.
    """
    if snapshot is None:
        said = [trouble]
    elif not node_id:
        said = [f"Now: {', '.join(f'{count} {state}' for state, count in snapshot.counts.items() if count)}."]
    elif node_id in (ids := snapshot.ids):
        position = ids.index(node_id)
        said = [f"Now node {printable(node_id)} is {snapshot.states[position]}."]
        if since := offline(snapshot.raw_ids[position]):
            said.append(offline_since(since.since, exact=since.exact))
        if snapshot.states[position] is State.UNDECIDED:
            doubt = offline.undecided(snapshot.raw_ids[position])
            why = {"undecided_because": because(doubt), "undecided_until": doubt and doubt.until}
            said = [f"Now: {undecided([{'node_id': node_id, 'state': State.UNDECIDED, **why}])[0]}"]
    else:
        said = [f"Redis holds nothing of node {printable(node_id)} now."]
    said += _portfolios(snapshot, node_id)
    query = Query(subjects=frozenset({node_id})) if node_id else Query(kinds=kinds_behind(alert))
    for event in journal.page(query, MOST_EVENTS).events:
        subject = node_id if node_id in event.subjects else None
        said.append(" ".join([f"{at(event.time)}:", headline(event, subject), *reasons(event, subject)[:1]]))
    return said


def _portfolios(snapshot: Snapshot | None, node_id: str) -> Iterator[str]:
    """Yield which portfolios are at fault, of one node or of all, and which portfolios a node would still trade."""
    if snapshot is None or snapshot.portfolios is None:
        return
    account = snapshot.portfolios.reading.account
    name = snapshot.raw_ids[snapshot.ids.index(node_id)] if node_id in snapshot.ids else None
    if node_id and name is None:
        return
    if name is not None:
        listed = sorted(shown_id(portfolio) for portfolio, nodes in account.ledger.listed.items() if name in nodes)
        if listed:
            yield f"Its last list names {_first(listed)}. It may still trade them if its process runs."
    found = (each for each in account.ledger.abnormal.values() if name is None or name in _nodes(each))
    rows = [portfolio_row(each, account) for each in found]
    for row in heapq.nsmallest(MOST_PORTFOLIOS, rows, key=fault_order):
        reason = f" ({row['reason']})" if row["reason"] else ""
        planned = f"; the plan gives it to {shown(row['planned_node'])}" if row["planned_node"] is not None else ""
        since = f", since {at(row['since'])}" if row["since"] is not None else ""
        yield f"Portfolio {shown(row['portfolio_id'])} is {row['state']}{reason}{since}{planned}."
    if len(rows) > MOST_PORTFOLIOS:
        yield f"{len(rows) - MOST_PORTFOLIOS} portfolios more are not traded as planned."


def _nodes(portfolio: Portfolio) -> tuple[bytes | None, ...]:
    return (portfolio.planned, *portfolio.loaded, *portfolio.listed)


def _first(names: list[str]) -> str:
    left = len(names) - MOST_PORTFOLIOS
    return ", ".join(map(shown, names[:MOST_PORTFOLIOS])) + (f" and {left} more" if left > 0 else "")
