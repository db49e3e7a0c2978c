"""Reads what belongs to the ledger beside the nodes: the plan, the states of portfolios, the heartbeats of workers."""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event
from typing import Final

from exporter.contract import LOADED_FIELD, POSITIONS, QUEUE_SIZE_MAX, WORKER_PREFIXES, Metric
from exporter.liveness import Leftovers, State
from exporter.portfolios.account import Account, EarlierFault, History, leftovers_of
from exporter.portfolios.ledger import ORPHANED_NODE, Ledger, NodeReport, PortfolioState, ledger_of
from exporter.settings import Settings
from exporter.source import Source
from exporter.source.names import shown_id
from exporter.source.protocol import pack

GAP: Final = 0.05
"""Seconds after which a plan that is empty or missing is read once more: it is rewritten by DEL, then HSET."""
MOST_LOADED: Final = 2000
"""Loaded portfolios up to which their states are read: these take about 16 ms of a scrape."""

_FIELDS: Final = (b"queue_size", b"position_count", b"node_id")
_METRICS: Final = (QUEUE_SIZE_MAX, POSITIONS)
_NUMBER: Final = re.compile(rb"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class PortfolioReader:
    """Makes the account of each read of all nodes. For one thread at a time.

    Args:
        settings: The keys' names, and what is read.
        source: Redis.
        invalid: Called with a field, and the ids as text of those whose value of this field is invalid.
        earlier: The faults at the end of an earlier run, by the portfolios' ids as text.
        clock: Returns monotonic seconds.
        closed: Set when the exporter ends: then nothing waits any longer.

    Attributes:
        planned: How many portfolios the plan gives to each node that it names, as it was read last.
        planned_nodes: The nodes among them.
    """

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        settings: Settings,
        source: Source,
        invalid: Callable[[str, Collection[str]], None],
        *,
        earlier: Mapping[str, EarlierFault] | None = None,
        clock: Callable[[], float] = time.monotonic,
        closed: Event | None = None,
    ) -> None:
        self.planned: Mapping[bytes, int] = {}
        self.planned_nodes: frozenset[bytes] = frozenset()
        self._source, self._invalid, self._clock, self._closed = source, invalid, clock, closed or Event()
        self._prefix, self._states = settings.keys.portfolio_prefix.encode(), settings.portfolios.states
        self._history = History(settings.portfolios.max_listed, earlier or {})
        self._lists: dict[bytes, tuple[bytes | None, tuple[bytes, ...] | None]] = {}
        self._broken: Sequence[str] = ()  # the nodes whose list is no list
        self._made_of: tuple[object, ...] = ()
        self._ledger: Ledger | None = None
        self._leftovers = Leftovers()
        self._loaded: Sequence[tuple[bytes, bytes]] = ()  # each portfolio that an online node has loaded, and the node
        self._alive_until: dict[str, float] = {}  # when the last heartbeat of each component ends that was seen

    def read(  # noqa: PLR0913, PLR0917 - what the same read has found
        self,
        names: Sequence[bytes],
        states: Sequence[State],
        lists: Sequence[bytes | None],
        unread: Collection[int],
        workers: Collection[bytes] | None,
        searched: float,
        wall: float,
        deadline: float,
    ) -> Account | None:
        """Return the account of a read of all nodes; None without a plan and lists.

        The nodes are read before the plan. A portfolio that is planned and loaded between the two reads is on no
        list yet, so what is new counts from the second read that finds it.

        Args:
            names: All nodes; the same object as in the read before if they are the same.
            states: The judge's state of each.
            lists: What each node's hash holds as its list of loaded portfolios.
            unread: Positions of the nodes whose primary could not be read: they keep the list that was read last.
            workers: The keys of workers' heartbeats; None if their absence proves nothing now.
            searched: Monotonic time at which the discovery began that has found these keys.
            wall: Unix time of the read.
            deadline: Monotonic seconds.

        Raises:
            SourceError: The plan could not be read before the deadline.
        """
        expected = self.planned or (not self._made_of and any(lists))
        plan = self._source.plan(deadline)
        if not plan.plan and expected and not self._closed.wait(GAP):
            plan = self._source.plan(deadline)
        made_of = plan.plan, names, states, lists, unread
        if made_of != self._made_of:
            self._made_of = made_of
            self._find(*made_of)
        if self._broken:
            self._invalid(LOADED_FIELD, self._broken)
        if self._ledger is None:
            return None
        history = self._history
        ledger = history.note(self._ledger, wall)
        return Account(
            ledger=ledger,
            since=history.since,
            listed=history.listed,
            dropped=history.dropped,
            plan_changes=history.plan_changes,
            plan_changed_at=history.plan_changed_at,
            leftovers=self._leftovers,
            planned=self.planned,
            idle=plan.idle if plan.plan else None,
            workers=None if workers is None else self._alive(sorted(workers), searched, deadline),
            **self._numbers(ledger, deadline),
        )

    def _find(
        self,
        plan: Mapping[bytes, bytes],
        names: Sequence[bytes],
        states: Sequence[State],
        lists: Sequence[bytes | None],
        unread: Collection[int],
    ) -> None:
        """Make the ledger of a read, and what follows from it."""
        self.planned = Counter(plan.values())
        self.planned_nodes = frozenset(self.planned).difference((b"", ORPHANED_NODE))
        known, nothing = self._lists, (None, None)
        self._lists = {}
        for position, (name, text) in enumerate(zip(names, lists, strict=True)):
            before = known.get(name, nothing)
            same = position in unread or text == before[0]
            self._lists[name] = before if same else (text, parse_loaded(text))
        rows = self._lists.items()
        self._broken = [shown_id(name) for name, (text, ids) in rows if text is not None and ids is None]
        loaded = (ids for _, (_, ids) in rows)
        reports = list(map(NodeReport, names, states, loaded))
        # Nobody has looked for these nodes' keys yet, so they may be alive.
        reports += [NodeReport(name, State.UNDECIDED, None) for name in self.planned_nodes.difference(names)]
        says = bool(plan) or any(report.loaded is not None for report in reports)
        self._ledger = ledger_of(plan, reports) if says else None
        self._leftovers = leftovers_of(self._ledger, reports) if self._ledger else Leftovers()
        online = (report for report in reports if report.state is State.ONLINE)
        self._loaded = [(portfolio, report.name) for report in online for portfolio in report.loaded or ()]

    def _numbers(self, ledger: Ledger, deadline: float) -> dict[str, dict[bytes, float]]:
        """Return what the states of portfolios say, by the attributes of an account.

        A state outlives the node that wrote it, so that of a loaded portfolio counts only if it names that node.
        """
        queues: dict[bytes, float] = {}
        node_positions: dict[bytes, float] = {}
        positions: dict[bytes, float] = {}
        if self._states:
            untraded = [each.id for each in ledger.abnormal.values() if each.state is PortfolioState.UNTRADED]
            wanted = [(portfolio, b"") for portfolio in untraded]
            wanted += self._loaded if len(self._loaded) <= MOST_LOADED else ()
            keys = [self._prefix + portfolio + b":state" for portfolio, _ in wanted]
            replies = self._source.gather(keys, lambda key: pack(b"HMGET", key, *_FIELDS), 1, deadline).replies
            for (portfolio, node), reply in zip(wanted, replies, strict=True):
                if reply is None or not isinstance(reply[0], list) or (node and reply[0][2] != node):
                    continue
                queue, count = (self._number(*each, portfolio) for each in zip(_METRICS, reply[0], strict=False))
                if node and queue is not None:
                    queues[node] = max(queue, queues.get(node, 0.0))
                if count is not None:
                    sums, key = (node_positions, node) if node else (positions, portfolio)
                    sums[key] = count + sums.get(key, 0.0)
        return {"queues": queues, "node_positions": node_positions, "positions": positions}

    def _number(self, metric: Metric, text: bytes | None, portfolio: bytes) -> float | None:
        """Return a number that is finite and not negative; count a text that is something else."""
        if text is None:
            return None
        number = float(text) if _NUMBER.fullmatch(text) else math.nan
        if 0 <= number < math.inf:
            return number
        self._invalid(metric.field or "", [shown_id(portfolio)])
        return None

    def _alive(self, keys: Sequence[bytes], searched: float, deadline: float) -> Mapping[str, int] | None:
        """Return how many workers of each component have a living heartbeat; None if one could not be read.

        A component without living workers is left out until a search that began after the last heartbeat's end has
        found none: a worker that was started anew has another key.
        """
        now = self._clock()
        replies = self._source.gather(keys, lambda key: pack(b"PTTL", key), 1, deadline).replies
        left = [reply[0] if reply else None for reply in replies]
        counts: dict[str, int] = {}
        for component, prefix in WORKER_PREFIXES.items():
            mine = [ms for key, ms in zip(keys, left, strict=True) if key.startswith(prefix.encode())]
            alive = [ms for ms in mine if isinstance(ms, int) and ms > 0]
            if alive:
                self._alive_until[component] = now + max(alive) / 1000
            if alive or searched > self._alive_until.get(component, -math.inf):
                counts[component] = len(alive)
        return counts if all(isinstance(ms, int) for ms in left) else None


def parse_loaded(text: bytes | None) -> tuple[bytes, ...] | None:
    """Return the ids in a node's list, each once and as Redis would hold them; None if it is no JSON list of strings.

    Args:
        text: The field ``loaded_portfolio_ids``, of any content; None if it is missing.
    """
    try:
        ids = json.loads(text or b"")
    except (ValueError, RecursionError):  # bytes that are no text in UTF-8 raise a ValueError too
        return None
    if not isinstance(ids, list) or not all(isinstance(portfolio, str) for portfolio in ids):
        return None
    return tuple(dict.fromkeys(portfolio.encode("utf-8", "surrogatepass") for portfolio in ids))
