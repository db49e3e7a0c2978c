"""The account: the ledger of one read, and what lasts from one read to the next."""

import heapq
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from exporter.liveness import Leftovers
from exporter.portfolios.ledger import FAULTS, Ledger, Portfolio, PortfolioState, Reason, ledger_of

_TO_CONFIRM: Final = (PortfolioState.UNTRADED, PortfolioState.DUPLICATED)
"""The states that count from the second read in a row: the lists of two nodes are never of one moment."""

EarlierFault = tuple[str, float]
"""A fault: the state of a portfolio, and the Unix time since which it lasts."""


class Account(NamedTuple):
    """What is known of the portfolios, as of one read. Ids are those of Redis.

    Attributes:
        ledger: The ledger, in which a portfolio is untraded or duplicated from the second read on that finds it so.
        since: Unix time since which each portfolio at fault is in its state.
        listed: The portfolios that are at fault for longest, the longest first.
        dropped: Portfolios that left the plan while no online node had them loaded, since the process started.
        plan_changes: Reads that found another plan than the read before, since the process started.
        plan_changed_at: Unix time of the last of these; None without any.
        leftovers: Which dead nodes may be forgotten, and which must not.
        idle: Seconds since the scheduler last looked at the plan; None where that is unknown.
        workers: Live workers by component; a component of which that is unknown is missing, None if all are.
        queues: The fullest queue of each online node, as far as it is known.
        node_positions: Open positions of each online node, as far as they are known.
        positions: Open positions of each portfolio, as far as they are known.
    """

    ledger: Ledger
    since: Mapping[bytes, float] = {}
    listed: tuple[Portfolio, ...] = ()
    dropped: int = 0
    plan_changes: int = 0
    plan_changed_at: float | None = None
    leftovers: Leftovers = Leftovers()
    idle: float | None = None
    workers: Mapping[str, int] | None = None
    queues: Mapping[bytes, float] = {}
    node_positions: Mapping[bytes, float] = {}
    positions: Mapping[bytes, float] = {}

    @property
    def untraded_positions(self) -> float:
        """The open positions of untraded portfolios, as far as they are known."""
        untraded = (name for name, each in self.ledger.abnormal.items() if each.state is PortfolioState.UNTRADED)
        return sum(self.positions.get(name, 0.0) for name in untraded)


class History:
    """Compares each ledger with the one before. For one thread at a time.

    Nothing is kept of a portfolio that is not at fault. An unknown state between two reads ends no fault.

    Args:
        max_listed: How many faults are listed at most.
        earlier: The faults at the end of an earlier run, by the portfolios' ids as text. A portfolio that the first
            ledger shows in the same state is in it since the same time.
    """

    def __init__(self, max_listed: int, earlier: Mapping[str, EarlierFault]) -> None:
        self._max_listed = max_listed
        self._lasting = {name.encode(): fault for name, fault in earlier.items()}
        self._last = Account(ledger_of({}, ()))
        self._found: Ledger | None = None  # the last read's ledger, and the Unix time of that read
        self._wall = 0.0
        self._left: set[bytes] = set()  # what left the plan with the last read, and is loaded nowhere

    def note(self, found: Ledger, wall: float) -> Account:
        """Take note of a read's ledger, and return what is to be shown.

        Args:
            found: The ledger; the same object as before if nothing has changed.
            wall: Unix time of the read.
        """
        before, last = self._found or found, self._last
        if before is not found or last.ledger is not found or self._left:
            left = self._left | (before.plan.keys() - found.plan.keys())
            nowhere = {name for name in left if (now := found.get(name)) is None or now.reason is Reason.DROPPED}
            ledger, since = self._confirmed(found, wall)
            first = heapq.nsmallest(self._max_listed, since, lambda name: (since[name], name))
            changed = before.plan != found.plan
            self._last = Account(
                ledger,
                since,
                tuple(map(ledger.abnormal.__getitem__, first)),
                last.dropped + len(nowhere & self._left),
                last.plan_changes + changed,
                wall if changed else last.plan_changed_at,
            )
            self._left = nowhere - self._left
        self._found, self._wall = found, wall
        return self._last

    def _confirmed(self, found: Ledger, wall: float) -> tuple[Ledger, Mapping[bytes, float]]:
        """Return the ledger with what is to be confirmed as it was shown before; and since when each fault lasts.

        What was not known before is unknown for the time of one read.
        """
        earlier, self._lasting = self._lasting, {}
        abnormal: dict[bytes, Portfolio] = {}
        for name, portfolio in found.abnormal.items():
            shown, began = portfolio, wall
            if self._found and portfolio.state in _TO_CONFIRM:
                before, began = self._found.get(name), self._wall
                if before is None or before.state is not portfolio.state:
                    shown = self._last.ledger.get(name) or portfolio._replace(state=PortfolioState.UNKNOWN, reason=None)
            abnormal[name] = shown
            state, since = earlier.get(name, (shown.state, began))
            if shown.state not in (state, PortfolioState.UNKNOWN):
                state, since = shown.state, began
            if state in FAULTS:
                self._lasting[name] = state, min(since, wall)
        began_at = {name: at for name, (state, at) in self._lasting.items() if abnormal[name].state == state}
        return found if abnormal == found.abnormal else replace(found, abnormal=abnormal), began_at
