"""The account: the ledger of one read, what lasts from one read to the next, and what is read for it beside the nodes.

That is the plan, the states of portfolios, and the heartbeats of workers.
"""

import heapq
import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from exporter.contract import LOADED_FIELD, STATE_FIELD, WORKER_PREFIXES, parse_number
from exporter.liveness import Leftovers, State
from exporter.portfolios.ledger import (
    FAULTS,
    ORPHANED_NODE,
    Ledger,
    NodeReport,
    Portfolio,
    PortfolioState,
    Reason,
    ledger_of,
)
from exporter.settings import Settings
from exporter.source import Source
from exporter.source.connection import pack
from exporter.source.reading import NO_EXPIRY, shown_id

_TO_CONFIRM: Final = (PortfolioState.UNTRADED, PortfolioState.DUPLICATED)
"""The states that count from the second read in a row: the lists of two nodes are never of one moment."""

EarlierFault = tuple[str, float]
"""A fault: the state of a portfolio, and the Unix time since which it lasts."""
GAP: Final = 0.05
"""Seconds after which a plan that is empty or missing is read once more: it is rewritten by DEL, then HSET."""
MOST_LOADED: Final = 2000
"""Portfolios that are not untraded up to which their states are read: these take about 16 ms of a scrape."""
MOST_STATES: Final = 10_000
"""States that are read, at most, those of untraded portfolios first: 100,000 would take a second of each scrape."""

_FIELDS: Final = (b"node_id", b"queue_size", b"position_count")


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


class PortfolioReader:
    """Makes the account of each read of all nodes. For one thread at a time.

    Args:
        settings: The keys' names, and what is read.
        source: Redis.
        invalid: Called with a field, and the ids as text of those whose value of this field is invalid.
        earlier: The faults at the end of an earlier run, by the portfolios' ids as text.

    Attributes:
        planned: How many portfolios the plan gives to each node that it names, as it was read last.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        invalid: Callable[[str, Collection[str]], None],
        earlier: Mapping[str, EarlierFault],
    ) -> None:
        self.planned: Mapping[bytes, int] = {}
        self._source, self._invalid = source, invalid
        self._prefix, self._states = settings.keys.portfolio_prefix.encode(), settings.portfolios.states
        self._history = History(settings.portfolios.max_listed, earlier)
        self._plan_expected = True
        self._lists: dict[bytes, tuple[bytes | None, tuple[bytes, ...] | None]] = {}  # by node: the text, and its ids
        self._read: tuple[object, ...] = ()
        self._made: tuple[Ledger | None, Sequence[str]]

    def read(  # noqa: PLR0913, PLR0917 - what the same read has found
        self,
        names: Sequence[bytes],
        states: Sequence[State],
        lists: Sequence[bytes | None],
        unread: Collection[int],
        workers: Collection[bytes] | None,
        wall: float,
        deadline: float,
    ) -> Account | None:
        """Return the account of a read of all nodes; None without a plan and lists.

        The nodes are read before the plan. A portfolio that is planned and loaded between the two reads is on no
        list yet, so what is new counts from the second read that finds it.

        Args:
            names: All nodes.
            states: The judge's state of each.
            lists: What each node's hash holds as its list of loaded portfolios.
            unread: Positions of the nodes whose primary could not be read: they keep the list that was read last.
            workers: The keys of workers' heartbeats; None if their absence proves nothing now.
            wall: Unix time of the read.
            deadline: Monotonic seconds.

        Raises:
            SourceError: The plan could not be read before the deadline.
        """
        plan = self._source.plan(deadline)
        if not plan.plan and self._plan_expected:
            time.sleep(GAP)
            plan = self._source.plan(deadline)
        self._plan_expected = bool(plan.plan)
        read = plan.plan, names, states, lists, unread
        if read != self._read:
            self._read, self._made = read, self._make(*read)
        found, broken = self._made
        if broken:
            self._invalid(LOADED_FIELD, broken)
        if found is None:
            return None
        account = self._history.note(found, wall)
        queues, node_positions, positions = self._numbers(account.ledger, deadline)
        return account._replace(
            leftovers=found.leftovers,
            idle=plan.idle,
            workers=None if workers is None else self._alive(sorted(workers), deadline),
            queues=queues,
            node_positions=node_positions,
            positions=positions,
        )

    def _make(
        self,
        plan: Mapping[bytes, bytes],
        names: Sequence[bytes],
        states: Sequence[State],
        lists: Sequence[bytes | None],
        unread: Collection[int],
    ) -> tuple[Ledger | None, Sequence[str]]:
        """Return the ledger of a read, None without a plan and lists; and the nodes whose list is invalid."""
        known, self._lists = self._lists, {}
        for position, (name, text) in enumerate(zip(names, lists, strict=True)):
            before = known.get(name, (None, None))
            self._lists[name] = before if position in unread or text == before[0] else (text, parse_loaded(text))
        loaded = [ids for _, ids in self._lists.values()]
        reports = list(map(NodeReport, names, states, loaded))
        # Nobody has looked for the keys of other nodes in the plan yet, so these may be alive.
        others = set(plan.values()).difference(names, (b"", ORPHANED_NODE))
        reports += [NodeReport(name, State.UNDECIDED, None) for name in others]
        ledger = ledger_of(plan, reports)
        self.planned = ledger.planned
        broken = [shown_id(name) for name, (text, ids) in self._lists.items() if text is not None and ids is None]
        says = plan or any(ids is not None for ids in loaded)
        return ledger if says else None, broken

    def _numbers(self, ledger: Ledger, deadline: float) -> Sequence[Mapping[bytes, float]]:
        """Return what the states of portfolios say: queues and positions of online nodes, positions of portfolios.

        A state outlives the node that wrote it, so that of a loaded portfolio counts only if it names that node.
        """
        queues, node_positions, positions = (defaultdict[bytes, float](float) for _ in range(3))
        abnormal = ledger.abnormal.items()
        wanted = {name: each.loaded for name, each in abnormal if each.state is PortfolioState.UNTRADED}
        unknown = {name: each.loaded for name, each in abnormal if each.state is PortfolioState.UNKNOWN}
        others = {**unknown, **ledger.loaded}
        wanted |= others if len(others) <= MOST_LOADED else {}
        keys = [b"%b%b:state" % (self._prefix, portfolio) for portfolio in islice(wanted, MOST_STATES) if self._states]
        replies = self._source.gather(keys, lambda key: pack(b"HMGET", key, *_FIELDS), deadline)
        for (portfolio, nodes), reply in zip(wanted.items(), replies, strict=False):
            match reply:
                case [bytes() as node, size, number]:
                    queue, count = parse_number(size or b"0"), parse_number(number or b"")
                    if queue is None or count is None:
                        self._invalid(STATE_FIELD, [shown_id(portfolio)])
                    elif not nodes or node in nodes:
                        positions[portfolio] = count
                    if queue is not None and count is not None and node in nodes:
                        queues[node] = max(queue, queues[node])
                        node_positions[node] += count
        return queues, node_positions, positions

    def _alive(self, keys: Sequence[bytes], deadline: float) -> Mapping[str, int] | None:
        """Return how many workers of each component have a living heartbeat; None if one could not be read.

        A component of which a known heartbeat has ended is left out until discovery has dropped that key: a worker that
        was started anew has another key. A key without expiry proves neither life nor death.
        """
        replies = self._source.gather(keys, lambda key: pack(b"PTTL", key), deadline)
        if not all(isinstance(reply, int) for reply in replies):
            return None
        counts = {}
        for component, prefix in WORKER_PREFIXES.items():
            own = (ms for key, ms in zip(keys, replies, strict=True) if key.startswith(prefix.encode()))
            alive = [ms > 0 for ms in own if ms != NO_EXPIRY]
            if all(alive):
                counts[component] = len(alive)
        return counts


def parse_loaded(text: bytes | None) -> tuple[bytes, ...] | None:
    """Return the ids in a node's list, each once and as Redis would hold them; None if it is no JSON list of strings.

    Args:
        text: The field ``loaded_portfolio_ids``, of any content; None if it is missing.
    """
    try:
        ids = json.loads(text or b"")
        unique = dict.fromkeys(portfolio.encode("utf-8", "surrogatepass") for portfolio in ids)
    except (ValueError, RecursionError, TypeError, AttributeError):  # not UTF-8, not JSON, no list, or not of strings
        return None
    return tuple(unique) if isinstance(ids, list) else None
