"""Changes of portfolios and of the scheduler → changes for the journal."""

from collections.abc import Iterable, Iterator
from sys import intern
from typing import Any, Final, NamedTuple

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.portfolios.history import Account
from exporter.portfolios.ledger import Ledger, Portfolio, PortfolioState
from exporter.portfolios.reads import PortfolioReading
from exporter.source.names import shown_id

SCHEDULER: Final = "scheduler"
"""The subject of events about the scheduler."""
STALLED_AFTER: Final = 120.0
"""Seconds without a look at the plan after which the scheduler is stalled, as for GinkgoSchedulerStalled."""
NOWHERE: Final = "in no plan and on no list"
"""The state of a portfolio that the ledger knows no longer."""
_MOST_NODES: Final = 10


class PortfolioChange(NamedTuple):
    """A change of a portfolio's state.

    Attributes:
        id: The portfolio, as Redis holds it.
        before: Its old state; None if it was in no plan and on no list.
        after: What is known of it now; None if it is in no plan and on no list any more.
        since: Unix time since which it is in its state; None if that is no fault.
    """

    id: bytes
    before: PortfolioState | None
    after: Portfolio | None
    since: float | None


class PortfolioObserver:
    """Compares each ledger with the one before, and tells the journal. For the thread that reads the fleet.

    Args:
        journal: Is told of each change.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._ledger: Ledger | None = None
        self._stalled = False

    def see(self, reading: PortfolioReading) -> None:
        """Tell the journal what one read shows; a ledger that has not changed costs nothing."""
        account, before = reading.account, self._ledger
        if account.ledger is not before:
            self._ledger = account.ledger
            at = self._journal.now()
            if changes := list(portfolio_changes(before, account)):
                self._journal.tell(lambda: _entries(changes, at))
        if reading.idle is not None and (reading.idle > STALLED_AFTER) != self._stalled:
            self._stalled = not self._stalled
            states = ("looks at the plan", "stalled") if self._stalled else ("stalled", "looks at the plan again")
            self._journal.note(EventKind.SCHEDULER, SCHEDULER, *states, idle_seconds=round(reading.idle, 3))


def portfolio_changes(before: Ledger | None, account: Account) -> Iterator[PortfolioChange]:
    """Yield what has changed from one ledger to the next. Of the first one all that is not traded is a change."""
    ledger = account.ledger
    abnormal = before.abnormal if before else {}
    for name, portfolio in ledger.abnormal.items():
        old = before.get(name) if before else None
        if old is None or (old.state, old.reason) != (portfolio.state, portfolio.reason):
            yield PortfolioChange(name, old and old.state, portfolio, account.since.get(name))
    if before is None:
        return
    plans_differ = before.plan is not ledger.plan and before.plan != ledger.plan
    for name in abnormal.keys() - ledger.abnormal.keys():
        yield PortfolioChange(name, abnormal[name].state, ledger.get(name), None)
    for name in before.plan.keys() - ledger.plan.keys() if plans_differ else ():
        if name not in abnormal and name not in ledger.abnormal:
            yield PortfolioChange(name, PortfolioState.TRADED, None, None)
    for name in ledger.plan.keys() - before.plan.keys() if plans_differ else ():
        if name not in abnormal and name not in ledger.abnormal:
            yield PortfolioChange(name, None, ledger.get(name), None)


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
            kind=EventKind.PORTFOLIO,
            subject=intern(shown_id(change.id)),
            before=change.before and change.before.value,
            after=portfolio.state.value if portfolio else NOWHERE,
            own=own,
        )
