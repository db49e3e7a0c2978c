"""Makes the ledger of each read, and keeps the last one for as long as nothing in it can have changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from exporter.liveness.states import State
from exporter.portfolios.ledger import Ledger, NodeReport, PortfolioState, ledger_of
from exporter.portfolios.loaded import LoadedLists, Raw

_TO_CONFIRM: Final = (PortfolioState.UNTRADED, PortfolioState.DUPLICATED)
"""The states that a portfolio may seem to be in because it moved while the lists were read."""

ReadLists = Callable[[], Sequence[Raw]]
"""Reads the lists of the same nodes once more, in the same order; raises a SourceError if one cannot be read."""


class LedgerMaker:
    """Makes ledgers. For one thread at a time.

    Attributes:
        lists: The last list of each node.
        reports: What the last ledger was made of; empty before the first one.

    A ledger is made anew only when the plan, a list or a state has changed. If it then shows a portfolio as
    untraded or duplicated, the lists are read once more: see ``ledger_of``. If only states of nodes have changed,
    the lists need no second reading, since the read before was one.
    """

    def __init__(self) -> None:
        self.lists = LoadedLists()
        self._plan: Mapping[bytes, bytes] | None = None
        self._states: Sequence[State] = ()
        self._undiscovered: frozenset[bytes] = frozenset()
        self._ledger: Ledger | None = None
        self._of_two_readings = False  # such a ledger holds for one read: its first reading is out of date afterwards
        self.reports: Sequence[NodeReport] = ()

    def make(  # noqa: PLR0913 - what a ledger is made of
        self,
        plan: Mapping[bytes, bytes],
        names: Sequence[bytes],
        states: Sequence[State],
        raw: Sequence[Raw],
        *,
        read_again: ReadLists,
        undiscovered: frozenset[bytes] = frozenset(),
    ) -> Ledger | None:
        """Return the ledger of a read; None if there is no plan and no node says what it has loaded.

        Args:
            plan: The node of each planned portfolio; the same object as before if it is the same.
            names: All known nodes; the same object as before if they are the same.
            states: The judge's state of each.
            raw: What each node's hash holds as its list.
            read_again: Reads the lists once more.
            undiscovered: Nodes of the plan that may be alive although they are not among ``names``: nobody has
                looked for their keys yet.

        Raises:
            SourceError: The lists could not be read once more.
        """
        other_lists = self.lists.update(names, raw)
        other_plan = plan is not self._plan
        unchanged = (
            not other_plan
            and states == self._states
            and undiscovered == self._undiscovered
            and not self._of_two_readings
        )
        if unchanged and not other_lists:
            return self._ledger
        self._plan = None  # until the new ledger is there: after a failure the last one must not be kept
        if not plan and not self.lists.any_says:
            self._ledger, self.reports, self._of_two_readings = None, (), False
        else:
            strangers = [NodeReport(name, State.UNDECIDED, None) for name in undiscovered.difference(names)]
            self.reports = [*self.lists.reports(states), *strangers]
            self._ledger, self._of_two_readings = ledger_of(plan, self.reports), False
            if (other_lists or other_plan) and any(self._ledger.counts[state] for state in _TO_CONFIRM):
                self._confirm(plan, names, read_again())
        self._plan, self._states, self._undiscovered = plan, states, undiscovered
        return self._ledger

    def _confirm(self, plan: Mapping[bytes, bytes], names: Sequence[bytes], raw: Sequence[Raw]) -> None:
        """Make the ledger of a second reading of the lists, so that a portfolio that moved is not missed."""
        earlier = self.reports
        if self.lists.update(names, raw):
            states = [report.state for report in earlier]
            self.reports = [*self.lists.reports(states[: len(names)]), *earlier[len(names) :]]
            self._ledger, self._of_two_readings = ledger_of(plan, self.reports, earlier), True
