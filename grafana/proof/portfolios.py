"""The simulated nodes' portfolios: the plan, the nodes' lists, and what the exporter's own code makes of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from exporter.liveness import State
from exporter.portfolios.account import Account, History
from exporter.portfolios.ledger import NodeReport, PortfolioState, ledger_of
from exporter.source.reading import Names
from grafana.proof.lives import END, LENGTH, NEVER, Life, minutes_before_end

_LOOP: Final = 33
"""Seconds between two looks of the scheduler."""
_LISTED: Final = 100
_UNPLANNED_ON: Final = 1
"""Number of the node that has a portfolio which is planned for the first half of the hour only."""
_WORKERS: Final = {"task_timer": 1, "data_worker": 2, "backtest_worker": 0}


def loaded_list(name: bytes, life: Life, now: float) -> bytes | None:
    """Return what a node's hash holds as its list of loaded portfolios; None for an older node."""
    return None if life.old else json.dumps([portfolio.decode() for portfolio in _ids(name, life, now)]).encode()


def _ids(name: bytes, life: Life, now: float) -> list[bytes]:
    count = int(life.portfolios(min(now, life.crash)))
    return [b"%b-p%d" % (name, number) for number in range(1, count + 1)]


class Ledgers:
    """Makes the ledger of each scrape. Its node without heartbeat keeps its portfolios, since nobody has room.

    Args:
        lives: The nodes by id.
        unplanned: Whether the plan loses a portfolio in the middle of the hour.
    """

    def __init__(self, lives: Mapping[bytes, Life], *, unplanned: bool) -> None:
        self._lives = lives
        self._unplanned = unplanned
        self._history = History(_LISTED, {})

    def account(
        self, names: Names, states: Sequence[State], lists: Sequence[bytes | None], now: float
    ) -> Account | None:
        """Return what is known of the portfolios; None without a plan and lists.

        Args:
            names: All nodes.
            states: Their states.
            lists: Their lists of loaded portfolios.
            now: Seconds from the hour's start.
        """
        plan = dict(self._planned(now))
        if not plan and not any(lists):
            return None
        loaded = [None if text is None else [each.encode() for each in json.loads(text)] for text in lists]
        reports = [NodeReport(*node) for node in zip(names.raw, states, loaded, strict=True)]
        account = self._history.note(ledger_of(plan, reports), END - LENGTH + now)
        online = [name for name, state in zip(names.raw, states, strict=True) if state is State.ONLINE]
        writing = [(name, self._lives[name]) for name in online if not self._lives[name].old]
        faults = account.ledger.abnormal.values()
        return account._replace(
            idle=now % _LOOP,
            workers=_WORKERS,
            queues={name: min(1000, int(1.4 * life.queue(now))) for name, life in writing},
            node_positions={name: 3 + life.number % 4 for name, life in writing},
            positions={each.id: 4 for each in faults if each.state is PortfolioState.UNTRADED},
        )

    def _planned(self, now: float) -> Iterator[tuple[bytes, bytes]]:
        for name, life in self._lives.items():
            ids = _ids(name, replace(life, unload=NEVER), now) if life.is_known(now) else []
            if self._unplanned and life.number == _UNPLANNED_ON and now >= minutes_before_end(30):
                ids = ids[:-1]
            yield from ((portfolio, name) for portfolio in ids)
