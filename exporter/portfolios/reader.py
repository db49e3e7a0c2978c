"""Reads what belongs to the ledger beside the nodes: the plan, the states of portfolios, the heartbeats of workers."""

import json
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event
from typing import Final, NamedTuple

import structlog
from redis.exceptions import NoPermissionError

from exporter.contract import LOADED_FIELD, POSITIONS, QUEUE_SIZE_MAX, WORKER_PREFIXES
from exporter.liveness import Leftovers, State
from exporter.portfolios.account import Account, EarlierFault, History, leftovers_of
from exporter.portfolios.ledger import ORPHANED_NODE, Ledger, NodeReport, PortfolioState, ledger_of
from exporter.settings import Settings
from exporter.source import Source
from exporter.source.names import shown_id
from exporter.source.protocol import pack

GAP: Final = 0.05
"""Seconds after which a plan that is empty or missing is read once more: it is rewritten by DEL, then HSET."""
MOST_STATES: Final = 2000
"""Loaded portfolios up to which their states are read: these take about 16 ms of a scrape."""
MOST_UNTRADED: Final = 10_000
"""Untraded portfolios up to which their positions are read."""

_FIELDS: Final = (b"queue_size", b"position_count", b"node_id")
_NUMBER: Final = re.compile(rb"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")

log = structlog.get_logger(__name__)


class NodesRead(NamedTuple):
    """What the same read has found of the nodes; each column has one item for each node.

    Attributes:
        names: All nodes; the same object as in the read before if they are the same.
        states: The judge's state of each.
        lists: What each node's hash holds as its list of loaded portfolios.
        unread: Positions of the nodes whose primary could not be read.
        wall: Unix time of the read.
    """

    names: Sequence[bytes]
    states: Sequence[State]
    lists: Sequence[bytes | None]
    unread: Collection[int]
    wall: float


class WorkersFound(NamedTuple):
    """What discovery knows of workers.

    Attributes:
        keys: The keys of their heartbeats.
        since: Monotonic time at which the search began that has found them.
    """

    keys: Collection[bytes]
    since: float


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
        must_search: Whether a discovery must show that a component has no workers any more.
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
        self.must_search = False
        self._source, self._invalid, self._clock, self._closed = source, invalid, clock, closed or Event()
        self._prefix, self._states = settings.keys.portfolio_prefix.encode(), settings.portfolios.states
        self._history = History(settings.portfolios.max_listed, earlier or {})
        self._lists: dict[bytes, tuple[bytes | None, tuple[bytes, ...] | None]] = {}
        self._made_of: tuple[object, ...] = ()
        self._ledger: Ledger | None = None
        self._leftovers = Leftovers()
        self._loaded: Sequence[tuple[bytes, bytes]] = ()  # each portfolio that an online node has loaded, and the node
        self._alive_until: dict[str, float] = {}  # when the last heartbeat of each component ends that was seen
        self._logged: set[str] = set()

    def read(self, nodes: NodesRead, workers: WorkersFound | None, deadline: float) -> Account | None:
        """Return the account of a read; None without a plan and lists.

        The nodes are read before the plan. A portfolio that is planned and loaded between the two reads is on no
        list yet, so what is new counts from the second read that finds it.

        Args:
            nodes: What the same read has found of the nodes.
            workers: The workers' heartbeats; None if their absence proves nothing now.
            deadline: Monotonic seconds.

        Raises:
            SourceError: The plan could not be read before the deadline.
        """
        expected = self.planned or (not self._made_of and any(nodes.lists))
        plan = self._source.plan(deadline)
        if not plan.plan and expected and not self._closed.wait(GAP):
            plan = self._source.plan(deadline)
        self._find(plan.plan, nodes)
        if broken := [shown_id(name) for name, (text, ids) in self._lists.items() if text is not None and ids is None]:
            self._invalid(LOADED_FIELD, broken)
        if self._ledger is None:
            return None
        history = self._history
        ledger = history.note(self._ledger, nodes.wall)
        numbers = self._numbers(ledger, deadline)
        return Account(
            ledger=ledger,
            since=history.since,
            listed=history.listed,
            unlisted=len(history.since) - len(history.listed),
            dropped=history.dropped,
            plan_changes=history.plan_changes,
            plan_changed_at=history.plan_changed_at,
            leftovers=self._leftovers,
            planned=self.planned,
            idle=plan.idle if plan.plan else None,
            workers=None if workers is None else self._alive(workers, deadline),
            **numbers._asdict(),
        )

    def _find(self, plan: Mapping[bytes, bytes], nodes: NodesRead) -> None:
        """Make the ledger of a read, and what follows from it; nothing changes while they are made of the same."""
        names, states, lists, unread, _ = nodes
        made_of = plan, names, states, lists, unread
        if self._made_of == made_of:
            return
        self._made_of = made_of
        self.planned = Counter(plan.values())
        self.planned_nodes = frozenset(self.planned).difference((b"", ORPHANED_NODE))
        known, nothing = self._lists, (None, None)
        self._lists = {}
        for position, (name, text) in enumerate(zip(names, lists, strict=True)):
            before = known.get(name, nothing)
            same = position in unread or text == before[0]
            self._lists[name] = before if same else (text, parse_loaded(text))
        loaded = (ids for _, ids in self._lists.values())
        reports = list(map(NodeReport, names, states, loaded))
        # Nobody has looked for these nodes' keys yet, so they may be alive.
        reports += [NodeReport(name, State.UNDECIDED, None) for name in self.planned_nodes.difference(names)]
        says = bool(plan) or any(report.loaded is not None for report in reports)
        self._ledger = ledger_of(plan, reports) if says else None
        self._leftovers = leftovers_of(self._ledger, reports) if self._ledger else Leftovers()
        online = (report for report in reports if report.state is State.ONLINE)
        self._loaded = [(portfolio, report.name) for report in online for portfolio in report.loaded or ()]

    def _numbers(self, ledger: Ledger, deadline: float) -> "Numbers":
        """Return what the states of portfolios say; an untraded one's outlives the node that wrote it."""
        numbers, invalid = Numbers({}, {}, {}), defaultdict[str, list[str]](list)
        lost = [each.id for each in ledger.abnormal.values() if each.state is PortfolioState.UNTRADED][:MOST_UNTRADED]
        loaded = self._loaded if len(self._loaded) <= MOST_STATES else ()
        if len(loaded) < len(self._loaded):
            self._log_once("too many portfolios are loaded: their states are not read", limit=MOST_STATES)
        if not self._states or not (lost or loaded):
            return numbers
        wanted = [*((portfolio, b"") for portfolio in lost), *loaded]
        keys = [self._prefix + portfolio + b":state" for portfolio, _ in wanted]
        replies = self._source.gather(keys, lambda key: pack(b"HMGET", key, *_FIELDS), 1, deadline).replies
        for (portfolio, node), (reply,) in zip(wanted, (each or (None,) for each in replies), strict=True):
            if isinstance(reply, NoPermissionError):
                self._log_once("the Redis user may not read the states of portfolios", keys="portfolio:*:state")
            if not isinstance(reply, list) or (node and reply[2] != node):
                continue
            queue, count = _number(reply[0]), _number(reply[1])
            for field, text, number in ((QUEUE_SIZE_MAX.field, reply[0], queue), (POSITIONS.field, reply[1], count)):
                if text is not None and number is None:
                    invalid[field or ""].append(shown_id(portfolio))
            if node and queue is not None:
                numbers.queues[node] = max(queue, numbers.queues.get(node, 0.0))
            if count is not None:
                sums, key = (numbers.node_positions, node) if node else (numbers.positions, portfolio)
                sums[key] = count + sums.get(key, 0.0)
        for field, portfolios in invalid.items():
            self._invalid(field, portfolios)
        return numbers

    def _alive(self, workers: WorkersFound, deadline: float) -> Mapping[str, int] | None:
        """Return how many workers of each component have a living heartbeat; None if one could not be read.

        A component without living workers is left out until a search that began after the last heartbeat's end has
        found none: a worker that was started anew has another key.
        """
        keys, now = sorted(workers.keys), self._clock()
        replies = self._source.gather(keys, lambda key: pack(b"PTTL", key), 1, deadline).replies
        self.must_search = False
        if not all(reply and isinstance(reply[0], int) for reply in replies):
            return None
        alive = {key: reply[0] / 1000 for key, reply in zip(keys, replies, strict=True) if reply and reply[0] > 0}
        counts: dict[str, int] = {}
        for component, prefix in WORKER_PREFIXES.items():
            left = [seconds for key, seconds in alive.items() if key.startswith(prefix.encode())]
            if left:
                self._alive_until[component] = now + max(left)
            if left or workers.since > self._alive_until.get(component, float("-inf")):
                counts[component] = len(left)
            else:
                self.must_search = True
        return counts

    def _log_once(self, event: str, **values: object) -> None:
        if event not in self._logged:
            self._logged.add(event)
            log.warning(event, **values)


class Numbers(NamedTuple):
    """What the states of portfolios say: see ``Account``."""

    queues: dict[bytes, float]
    node_positions: dict[bytes, float]
    positions: dict[bytes, float]


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


def _number(text: bytes | None) -> float | None:
    """Return a number that is finite and not negative; None if it is missing or something else."""
    number = float(text) if text is not None and _NUMBER.fullmatch(text) else math.nan
    return number if 0 <= number < math.inf else None
