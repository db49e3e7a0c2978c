"""What one scrape reads beside the nodes: the plan, the states of loaded portfolios, the heartbeats of workers."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final, NamedTuple

import structlog
from redis.exceptions import NoPermissionError

from exporter.contract import LOADED_FIELD, WORKER_PREFIXES
from exporter.liveness.forgetting import Leftovers
from exporter.liveness.states import State
from exporter.portfolios.history import Account, History
from exporter.portfolios.ledger import ORPHANED_NODE, Ledger, NodeReport
from exporter.portfolios.leftovers import leftovers_of
from exporter.portfolios.loaded import Raw
from exporter.portfolios.maker import LedgerMaker
from exporter.source import Source
from exporter.source.plan import Plan
from exporter.source.protocol import pack

GAP: Final = 0.05
"""Seconds after which a plan that is empty or missing is read once more."""
MOST_STATES: Final = 2000
"""Loaded portfolios up to which their states are read: these take about 16 ms of a scrape."""
STATE_FIELDS: Final = ("queue_size", "position_count", "node_id")
"""The fields that are read of a portfolio's state."""

_LIST: Final = LOADED_FIELD.encode()

log = structlog.get_logger(__name__)


class PortfolioRow(NamedTuple):
    """The state that a node wrote of one of its loaded portfolios.

    Attributes:
        portfolio: The portfolio's id.
        node: The online node that has it loaded.
        values: What its hash holds of ``STATE_FIELDS``; None for a field that is missing.
    """

    portfolio: bytes
    node: bytes
    values: Sequence[bytes | None]


@dataclass(frozen=True, slots=True, eq=False)
class PortfolioReading:
    """What one read found of the portfolios.

    Attributes:
        account: The ledger, and what is known over time.
        planned: How many portfolios the plan gives to each node that it names.
        idle: Seconds since the scheduler last looked at the plan; None where that is unknown.
        workers: Live workers by component; None where they are unknown.
        rows: The states of loaded portfolios; empty if they are not read.
        leftovers: Which offline nodes may be forgotten, and which must not.
    """

    account: Account
    planned: Mapping[bytes, int]
    idle: float | None = None
    workers: Mapping[str, int] | None = None
    rows: Sequence[PortfolioRow] = ()
    leftovers: Leftovers = field(default_factory=Leftovers)


@dataclass(frozen=True, slots=True)
class NodesRead:
    """What the same scrape has read of the nodes.

    Attributes:
        names: All nodes; the same object as in the read before if they are the same.
        states: The judge's state of each.
        lists: What each node's hash holds as its list of loaded portfolios.
        wall: Unix time of the read.
    """

    names: Sequence[bytes]
    states: Sequence[State]
    lists: Sequence[Raw]
    wall: float


@dataclass(frozen=True, slots=True)
class PortfolioKeys:
    """The names of the keys that are read.

    Attributes:
        plan: The plan.
        metrics_prefix: What the names of the nodes' hashes begin with.
        portfolio_prefix: What the names of the portfolios' states begin with.
    """

    plan: bytes
    metrics_prefix: bytes
    portfolio_prefix: bytes


@dataclass(slots=True)
class PortfolioReader:
    """Reads what belongs to the ledger, scrape after scrape. For one thread at a time.

    The nodes are read before the plan. A portfolio that is planned and loaded between the two reads is on
    no list yet, so the lists are read once more before it counts as untraded.

    Args:
        source: The installation of Redis.
        keys: The names of the keys.
        history: What lasts over time.
        states: Whether the states of loaded portfolios are read.
        clock: Returns monotonic seconds.
        closed: Set when the exporter ends: then nothing waits any longer.
        planned_nodes: The nodes that the plan names, as it was read last.
    """

    source: Source
    keys: PortfolioKeys
    history: History
    states: bool = True
    clock: Callable[[], float] = time.monotonic
    closed: Event = field(default_factory=Event)
    planned_nodes: frozenset[bytes] = field(init=False, default=frozenset())
    _maker: LedgerMaker = field(init=False, default_factory=LedgerMaker)
    _planned: Counter[bytes] = field(init=False, default_factory=Counter)
    _planned_of: Mapping[bytes, bytes] = field(init=False, default_factory=dict)
    _names: Sequence[bytes] = field(init=False, default=())
    _undiscovered: frozenset[bytes] = field(init=False, default=frozenset())
    _has_read: bool = field(init=False, default=False)
    _reports: Sequence[NodeReport] = field(init=False, default=())
    _leftovers_of: Ledger | None = field(init=False, default=None)
    _last_leftovers: Leftovers = field(init=False, default_factory=Leftovers)
    _loaded: Sequence[tuple[bytes, bytes]] = field(init=False, default=())
    _logged: set[str] = field(init=False, default_factory=set)

    @property
    def invalid_lists(self) -> Collection[bytes]:
        """The nodes whose list is there and is no JSON list of strings."""
        return self._maker.lists.invalid

    @property
    def planned(self) -> Mapping[bytes, int]:
        """How many portfolios the plan gives to each node that it names, as it was read last."""
        return self._planned

    def read(
        self, nodes: NodesRead, deadline: float, workers: Collection[bytes] | None = None
    ) -> PortfolioReading | None:
        """Return what belongs to the ledger; None without a plan and lists.

        Args:
            nodes: What the same scrape has read of the nodes.
            deadline: Monotonic seconds.
            workers: The keys of workers' heartbeats; None if their absence proves nothing now.

        Raises:
            SourceError: Redis could not be read in full before the deadline, or refuses to show the plan.
        """
        # A plan that was missing in the read before is believed to be missing still. Nobody waits for it in each read.
        expected = bool(self._planned) or (not self._has_read and any(nodes.lists))
        plan = self._read_plan(deadline, expected=expected)
        self._has_read = True
        if plan.plan is not self._planned_of or nodes.names is not self._names:
            self._planned_of, self._planned, self._names = plan.plan, Counter(plan.plan.values()), nodes.names
            self.planned_nodes = frozenset(self._planned).difference((b"", ORPHANED_NODE))
            self._undiscovered = self.planned_nodes.difference(nodes.names)
        ledger = self._maker.make(
            plan.plan,
            nodes.names,
            nodes.states,
            nodes.lists,
            read_again=lambda: self._lists(nodes.names, deadline),
            undiscovered=self._undiscovered,
        )
        if ledger is None:
            return None
        return PortfolioReading(
            account=self.history.note(ledger, nodes.wall),
            planned=self._planned,
            idle=plan.idle if plan.plan else None,
            workers=None if workers is None else self._alive(workers, deadline),
            rows=self._rows(deadline) if self.states else (),
            leftovers=self._leftovers(ledger),
        )

    def _read_plan(self, deadline: float, *, expected: bool) -> Plan:
        plan = self.source.plan(deadline)
        if expected and not plan.plan:
            self.closed.wait(GAP)  # from the reply on: a slow reply is no reason to look again at once
            plan = self.source.plan(deadline)
        return plan

    def _ask_each(self, keys: Sequence[bytes], request: Callable[[bytes], bytes], deadline: float) -> Sequence[Any]:
        return [some and some[0] for some in self.source.gather(keys, request, 1, deadline).replies]

    def _lists(self, names: Sequence[bytes], deadline: float) -> Sequence[Raw]:
        keys = [self.keys.metrics_prefix + name for name in names]
        replies = self._ask_each(keys, lambda key: pack(b"HMGET", key, _LIST), deadline)
        return [reply[0] if type(reply) is list else None for reply in replies]

    def _rows(self, deadline: float) -> Sequence[PortfolioRow]:
        if self._reports is not self._maker.reports:
            self._reports = self._maker.reports
            online = [report for report in self._reports if report.state is State.ONLINE]
            self._loaded = [(portfolio, report.name) for report in online for portfolio in report.loaded or ()]
        loaded = self._loaded
        if len(loaded) > MOST_STATES:
            self._log_once("too many portfolios are loaded: their states are not read", limit=MOST_STATES)
            return ()
        keys = [self.keys.portfolio_prefix + portfolio + b":state" for portfolio, _ in loaded]
        replies = self._ask_each(keys, _state_request, deadline)
        if any(isinstance(reply, NoPermissionError) for reply in replies):
            self._log_once("the Redis user may not read the states of portfolios", keys="portfolio:*:state")
        return [
            PortfolioRow(portfolio, node, reply)
            for (portfolio, node), reply in zip(loaded, replies, strict=True)
            if type(reply) is list and len(reply) == len(STATE_FIELDS)
        ]

    def _leftovers(self, ledger: Ledger) -> Leftovers:
        if self._leftovers_of is not ledger:
            self._leftovers_of = ledger
            self._last_leftovers = leftovers_of(ledger, self._maker.reports)
        return self._last_leftovers

    def _alive(self, keys: Collection[bytes], deadline: float) -> Mapping[str, int] | None:
        """Return how many workers of each component have a living heartbeat; None if one could not be read."""
        names = sorted(keys)
        replies = self._ask_each(names, lambda key: pack(b"PTTL", key), deadline)
        if not set(map(type, replies)) <= {int}:
            return None
        alive = [name for name, ttl in zip(names, replies, strict=True) if ttl > 0]
        return {
            component: sum(name.startswith(prefix.encode()) for name in alive)
            for component, prefix in WORKER_PREFIXES.items()
        }

    def _log_once(self, event: str, **values: object) -> None:
        if event not in self._logged:
            self._logged.add(event)
            log.warning(event, **values)


_FIELDS: Final = pack(*(name.encode() for name in STATE_FIELDS)).split(b"\r\n", 1)[1]
_STATE: Final = b"*%d\r\n$5\r\nHMGET\r\n$%%d\r\n%%b\r\n%b" % (2 + len(STATE_FIELDS), _FIELDS)


def _state_request(key: bytes) -> bytes:
    return _STATE % (len(key), key)
