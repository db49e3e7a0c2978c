"""Reads what belongs to the ledger beside the nodes: the plan, the states of portfolios, the heartbeats of workers."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Final

from exporter.contract import LOADED_FIELD, STATE_FIELD, WORKER_PREFIXES, parse_number
from exporter.liveness import State
from exporter.portfolios.account import Account, EarlierFault, History
from exporter.portfolios.ledger import ORPHANED_NODE, Ledger, NodeReport, PortfolioState, ledger_of
from exporter.settings import Settings
from exporter.source import Source
from exporter.source.connection import pack
from exporter.source.reading import shown_id

GAP: Final = 0.05
"""Seconds after which a plan that is empty or missing is read once more: it is rewritten by DEL, then HSET."""
MOST_LOADED: Final = 2000
"""Portfolios that are not untraded up to which their states are read: these take about 16 ms of a scrape."""
MOST_STATES: Final = 10_000
"""States that are read, at most, those of untraded portfolios first: 100,000 would take a second of each scrape."""

_FIELDS: Final = (b"node_id", b"queue_size", b"position_count")


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
        was started anew has another key.
        """
        replies = self._source.gather(keys, lambda key: pack(b"PTTL", key), deadline)
        if not all(isinstance(reply, int) for reply in replies):
            return None
        counts = {}
        for component, prefix in WORKER_PREFIXES.items():
            alive = [ms > 0 for key, ms in zip(keys, replies, strict=True) if key.startswith(prefix.encode())]
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
