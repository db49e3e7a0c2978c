"""What lasts from one ledger to the next: since when a portfolio is in a faulty state, and how the plan has changed."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final, NamedTuple

from exporter.portfolios.ledger import Ledger, Portfolio, PortfolioState
from exporter.source.names import shown_id

FAULTS: Final = (
    PortfolioState.UNTRADED,
    PortfolioState.MISPLACED,
    PortfolioState.DUPLICATED,
    PortfolioState.UNPLANNED,
)
"""The states that are faults; the order is the contract's."""


class ListedPortfolio(NamedTuple):
    """A portfolio that is listed with the time since which it is in its state.

    Attributes:
        since: Unix time of the first read that showed it in its state.
        portfolio: The portfolio.
    """

    since: float
    portfolio: Portfolio


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What is known of the portfolios over time, as of one read.

    Attributes:
        ledger: The ledger of the read.
        listed: The portfolios that are at fault for longest, the longest first.
        unlisted: How many more portfolios are at fault.
        dropped: Portfolios that left the plan while no online node had them loaded, since the process started.
        plan_changes: Reads that found another plan than the read before, since the process started.
        plan_changed_at: Unix time of the last of these; None without any.
        since: Unix time since which each portfolio at fault is in its state, by its id.
    """

    ledger: Ledger
    listed: tuple[ListedPortfolio, ...]
    unlisted: int
    dropped: int
    plan_changes: int
    plan_changed_at: float | None
    since: Mapping[bytes, float]


class EarlierFault(NamedTuple):
    """A fault at the end of an earlier run of the exporter.

    Attributes:
        state: The state of the portfolio.
        since: Unix time since which it was in that state.
    """

    state: str
    since: float


class _Lasting(NamedTuple):
    state: PortfolioState
    since: float


class History:
    """Compares each ledger with the one before. Its state has one lock; time is passed in.

    Nothing is kept of a portfolio that is not at fault. An unknown state between two reads ends no fault.

    Args:
        max_listed: How many faults are listed at most.
    """

    def __init__(self, max_listed: int) -> None:
        self._max_listed = max_listed
        self._lock = Lock()
        self._lasting: dict[bytes, _Lasting] = {}
        self._earlier: Mapping[str, EarlierFault] = {}
        self._account: Account | None = None
        self._plan: Mapping[bytes, bytes] | None = None
        self._dropped = self._plan_changes = 0
        self._plan_changed_at: float | None = None

    def remember(self, faults: Mapping[str, EarlierFault]) -> None:
        """Record the faults at the end of an earlier run, by the portfolios' ids as text.

        A portfolio that the first ledger shows in the same state is in it since the same time.
        """
        with self._lock:
            self._earlier = faults

    def note(self, ledger: Ledger, wall: float) -> Account:
        """Take note of a read's ledger, and return what is known over time.

        Args:
            ledger: The ledger; the same object as before if nothing has changed.
            wall: Unix time of the read.
        """
        with self._lock:
            if self._account is None or ledger is not self._account.ledger:
                self._note_plan(ledger, wall)
                self._note_faults(ledger, wall)
                self._account = self._account_of(ledger)
            return self._account

    def _note_plan(self, ledger: Ledger, wall: float) -> None:
        before, self._plan = self._plan, ledger.plan
        if before is None or before is ledger.plan or before == ledger.plan:
            return
        self._plan_changes += 1
        self._plan_changed_at = wall
        for portfolio in before.keys() - ledger.plan.keys():
            entry = ledger.abnormal.get(portfolio)
            self._dropped += entry is None or entry.state is PortfolioState.UNTRADED

    def _note_faults(self, ledger: Ledger, wall: float) -> None:
        lasting: dict[bytes, _Lasting] = {}
        for name, portfolio in ledger.abnormal.items():
            before = self._lasting.get(name)
            if portfolio.state is PortfolioState.UNKNOWN:
                if before:
                    lasting[name] = before
            elif before and before.state is portfolio.state:
                lasting[name] = before
            else:
                earlier = self._earlier.get(shown_id(name)) if self._earlier else None
                same = earlier is not None and earlier.state == portfolio.state
                lasting[name] = _Lasting(portfolio.state, min(earlier.since, wall) if earlier and same else wall)
        self._lasting, self._earlier = lasting, {}

    def _account_of(self, ledger: Ledger) -> Account:
        since = {
            name: lasting.since
            for name, lasting in self._lasting.items()
            if ledger.abnormal[name].state is lasting.state
        }
        first = heapq.nsmallest(self._max_listed, ((at, name) for name, at in since.items()))
        return Account(
            ledger=ledger,
            listed=tuple(ListedPortfolio(at, ledger.abnormal[name]) for at, name in first),
            unlisted=len(since) - len(first),
            dropped=self._dropped,
            plan_changes=self._plan_changes,
            plan_changed_at=self._plan_changed_at,
            since=since,
        )
