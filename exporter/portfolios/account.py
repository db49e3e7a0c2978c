"""The account: the ledger of one read, and what lasts from one read to the next."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.liveness import Leftovers, State
from exporter.portfolios.ledger import FAULTS, ORPHANED_NODE, Ledger, NodeReport, Portfolio, PortfolioState
from exporter.source.names import shown_id

_TO_CONFIRM: Final = (PortfolioState.UNTRADED, PortfolioState.DUPLICATED)
"""The states that count from the second read in a row: the lists of two nodes are never of one moment."""


EarlierFault = tuple[str, float]
"""A fault as the last run of the exporter has left it: the state, and the Unix time since which it lasted."""


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What is known of the portfolios, as of one read. Ids are those of Redis.

    Attributes:
        ledger: The ledger, in which a portfolio is untraded or duplicated from the second read on that finds it so.
        since: Unix time since which each portfolio at fault is in its state.
        listed: The portfolios that are at fault for longest, the longest first.
        dropped: Portfolios that left the plan while no online node had them loaded, since the process started.
        plan_changes: Reads that found another plan than the read before, since the process started.
        plan_changed_at: Unix time of the last of these; None without any.
        leftovers: Which dead nodes may be forgotten, and which must not.
        planned: How many portfolios the plan gives to each node that it names.
        idle: Seconds since the scheduler last looked at the plan; None where that is unknown.
        workers: Live workers by component; a component of which that is unknown is missing, None if all are.
        queues: The fullest queue of each online node, as far as it is known.
        node_positions: Open positions of each online node, as far as they are known.
        positions: Open positions of each untraded portfolio, as far as they are known.
    """

    ledger: Ledger
    since: Mapping[bytes, float]
    listed: tuple[Portfolio, ...]
    dropped: int
    plan_changes: int
    plan_changed_at: float | None
    leftovers: Leftovers
    planned: Mapping[bytes, int]
    idle: float | None
    workers: Mapping[str, int] | None
    queues: Mapping[bytes, float]
    node_positions: Mapping[bytes, float]
    positions: Mapping[bytes, float]

    @property
    def unlisted(self) -> int:
        """How many more portfolios are at fault."""
        return len(self.since) - len(self.listed)

    @property
    def untraded_positions(self) -> float:
        """Open positions that no node manages, as far as they are known."""
        return sum(self.positions.values())


class History:
    """Compares each ledger with the one before. For one thread at a time.

    Nothing is kept of a portfolio that is not at fault. An unknown state between two reads ends no fault.

    Args:
        max_listed: How many faults are listed at most.
        earlier: The faults at the end of an earlier run, by the portfolios' ids as text. A portfolio that the first
            ledger shows in the same state is in it since the same time.

    Attributes:
        shown: The last ledger, with what it has found for the first time left as it was before; None before the first.
        since, listed, dropped, plan_changes, plan_changed_at: See ``Account``.
    """

    def __init__(self, max_listed: int, earlier: Mapping[str, EarlierFault]) -> None:
        self.shown: Ledger | None = None
        self.since: Mapping[bytes, float] = {}
        self.listed: tuple[Portfolio, ...] = ()
        self.dropped = self.plan_changes = 0
        self.plan_changed_at: float | None = None
        self._max_listed, self._earlier = max_listed, earlier
        self._found: Ledger | None = None
        self._held: dict[bytes, float] = {}  # what the last read has found for the first time, and when that was
        self._left: set[bytes] = set()  # what left the plan with the last read, and is loaded nowhere
        self._lasting: dict[bytes, tuple[str, float]] = {}

    def note(self, found: Ledger, wall: float) -> Ledger:
        """Take note of a read's ledger, and return the one to be shown.

        Args:
            found: The ledger; the same object as before if nothing has changed.
            wall: Unix time of the read.
        """
        before, shown = self._found, self.shown
        if found is before and found is shown and not self._left:
            return found
        self._note_plan(before, found, wall)
        held = _unconfirmed(found, before, shown) if before and shown and found is not before else {}
        now = _with(found, held) if held else found
        self._note_faults(now, wall)
        self._found, self.shown, self._held = found, now, dict.fromkeys(held, wall)
        lasting = self._lasting.items()
        self.since = {name: since for name, (state, since) in lasting if now.abnormal[name].state == state}
        first = heapq.nsmallest(self._max_listed, ((at, name) for name, at in self.since.items()))
        self.listed = tuple(now.abnormal[name] for _, name in first)
        return now

    def _note_plan(self, before: Ledger | None, found: Ledger, wall: float) -> None:
        self.dropped += sum(_is_nowhere(name, found) for name in self._left)
        self._left = set()
        if before and before.plan is not found.plan and before.plan != found.plan:
            self.plan_changes += 1
            self.plan_changed_at = wall
            self._left = {name for name in before.plan.keys() - found.plan.keys() if _is_nowhere(name, found)}

    def _note_faults(self, now: Ledger, wall: float) -> None:
        lasting: dict[bytes, tuple[str, float]] = {}
        for name, portfolio in now.abnormal.items():
            before = self._lasting.get(name)
            if not before and self._earlier and (earlier := self._earlier.get(shown_id(name))):
                before = earlier[0], min(earlier[1], wall)
            if before and portfolio.state in (PortfolioState.UNKNOWN, before[0]):
                lasting[name] = before
            elif portfolio.state in FAULTS:
                lasting[name] = portfolio.state, self._held.get(name, wall)
        self._lasting, self._earlier = lasting, {}


def leftovers_of(ledger: Ledger, reports: Iterable[NodeReport]) -> Leftovers:
    """Return which dead nodes may be forgotten since their work has moved, and which must not.

    A list that is missing, broken or empty shows nothing, so its node is never taken for one whose work has moved.
    A node is needed if the plan gives it a portfolio, or if it lists an untraded one that the plan gives to no other
    known node. The list of a forgotten node proves nothing, as in the ledger.

    Args:
        ledger: The ledger.
        reports: The nodes of which it was made.
    """
    by_name = {node.name: node for node in reports}
    planned = frozenset(ledger.plan.values()).difference((b"", ORPHANED_NODE))
    untraded = {each.id for each in ledger.abnormal.values() if each.state is PortfolioState.UNTRADED}
    lost = {portfolio for portfolio in untraded if ledger.plan.get(portfolio) not in by_name}
    dead = [node for node in by_name.values() if node.state in (State.OFFLINE, State.FORGOTTEN)]
    list_it = {node.name for node in dead if node.state is State.OFFLINE and not lost.isdisjoint(node.loaded or ())}
    needed = list_it | {node.name for node in dead if node.name in planned}
    rehomed = {node.name for node in dead if planned and node.loaded and ledger.loaded.keys() >= set(node.loaded)}
    return Leftovers(frozenset(needed), frozenset(rehomed - needed))


def _is_nowhere(name: bytes, ledger: Ledger) -> bool:
    """Return whether a portfolio is in no plan, and no node that may be alive has it loaded."""
    entry = ledger.abnormal.get(name)
    return name not in ledger.plan and (entry is None or entry.state is PortfolioState.UNTRADED)


def _unconfirmed(found: Ledger, before: Ledger, shown: Ledger) -> dict[bytes, Portfolio]:
    """Return what a read is the first to find untraded or duplicated, as it was shown before.

    What was not known before, or has left the plan, is unknown for the time of one read.
    """
    held = {}
    for name, portfolio in found.abnormal.items():
        last = before.abnormal.get(name)
        if portfolio.state in _TO_CONFIRM and (last is None or last.state is not portfolio.state):
            old = shown.get(name)
            if old is None or (old.state is PortfolioState.TRADED and name not in found.plan):
                old = portfolio._replace(state=PortfolioState.UNKNOWN, reason=None)
            held[name] = old
    return held


def _with(ledger: Ledger, held: Mapping[bytes, Portfolio]) -> Ledger:
    both = {**ledger.abnormal, **held}
    abnormal = {name: each for name, each in both.items() if each.state is not PortfolioState.TRADED}
    return Ledger.of(ledger.plan, ledger.loaded, ledger.listed, abnormal)
