"""Changes of portfolios and of the scheduler → changes for the journal: what the ledger's owner calls."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from sys import intern
from typing import Any

from exporter.journal.changes import Entry
from exporter.journal.event import Kind
from exporter.journal.journal import Journal
from exporter.portfolios.ledger import Portfolio
from exporter.source.names import shown_id

SCHEDULER = "scheduler"
"""The subject of events about the scheduler."""
_MOST_NODES = 10


@dataclass(frozen=True, slots=True)
class PortfolioChange:
    """A change of a portfolio's state.

    Attributes:
        id: The portfolio, as Redis holds it.
        before: Its old state; None if it was in no plan and on no list.
        after: What is known of it now; None if it is in no plan and on no list any more.
        since: Unix time since which it is in its state; None if that is no fault.
    """

    id: bytes
    before: str | None
    after: Portfolio | None
    since: float | None


def tell_of_portfolios(journal: Journal, changes: Iterable[PortfolioChange], at: float) -> None:
    """Tell the journal of changes that one read showed.

    Args:
        journal: The journal.
        changes: The changes.
        at: Monotonic time of the read.
    """
    if told := tuple(changes):
        journal.tell(lambda: _entries(told, at))


def tell_of_scheduler(journal: Journal, before: str, after: str, idle: float) -> None:
    """Tell the journal that the scheduler stalled or is back; ``idle`` is how long it did not look at the plan."""
    journal.note(Kind.SCHEDULER, SCHEDULER, before, after, idle_seconds=round(idle, 3))


def _entries(changes: Iterable[PortfolioChange], at: float) -> Iterator[Entry]:
    for change in changes:
        portfolio = change.after
        own: dict[str, Any] = {"since": None if change.since is None else round(change.since, 3)}
        own |= dict.fromkeys(("reason", "node", "loaded_on", "listed_by"))
        if portfolio is not None:
            own["reason"] = portfolio.reason and portfolio.reason.value
            own["node"] = None if portfolio.planned is None else shown_id(portfolio.planned)
            own["loaded_on"] = [shown_id(name) for name in portfolio.loaded[:_MOST_NODES]]
            own["listed_by"] = [shown_id(name) for name in portfolio.listed[:_MOST_NODES]]
        yield Entry(
            at=at,
            kind=Kind.PORTFOLIO,
            subject=intern(shown_id(change.id)),
            before=change.before,
            after=portfolio.state.value if portfolio else "in no plan and on no list",
            own=own,
        )
