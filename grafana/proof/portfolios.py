"""The simulated nodes' portfolios: the plan, the nodes' lists, and what the exporter's own code makes of them."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from exporter.exposition.portfolios import lines_of
from exporter.liveness.states import State
from exporter.portfolios.history import History
from exporter.portfolios.maker import LedgerMaker
from exporter.portfolios.reads import PortfolioReading, PortfolioRow
from exporter.snapshot.portfolio_series import PortfolioSeries, PortfolioSeriesMaker
from exporter.source.names import Names
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
        self._maker = LedgerMaker()
        self._history = History(_LISTED)
        self._series = PortfolioSeriesMaker(lambda _field, _ids: None, lines_of)
        self._plan: Mapping[bytes, bytes] = {}

    def series(
        self, names: Names, states: Sequence[State], lists: Sequence[bytes | None], now: float
    ) -> PortfolioSeries | None:
        """Return what is exported of portfolios.

        Args:
            names: All nodes.
            states: Their states.
            lists: Their lists of loaded portfolios.
            now: Seconds from the hour's start.
        """
        plan = dict(self._planned(now))
        if plan != self._plan:
            self._plan = plan
        ledger = self._maker.make(self._plan, names.raw, states, lists, read_again=lambda: lists)
        if ledger is None:
            return None
        reading = PortfolioReading(
            account=self._history.note(ledger, END - LENGTH + now),
            planned=Counter(self._plan.values()),
            idle=now % _LOOP,
            workers=_WORKERS,
            rows=list(self._rows(names, states, now)),
        )
        return self._series.make(reading, names, states)

    def _planned(self, now: float) -> Iterator[tuple[bytes, bytes]]:
        for name, life in self._lives.items():
            ids = _ids(name, replace(life, unload=NEVER), now) if life.is_known(now) else []
            if self._unplanned and life.number == _UNPLANNED_ON and now >= minutes_before_end(30):
                ids = ids[:-1]
            yield from ((portfolio, name) for portfolio in ids)

    def _rows(self, names: Names, states: Sequence[State], now: float) -> Iterator[PortfolioRow]:
        for name, state in zip(names.raw, states, strict=True):
            life = self._lives[name]
            if state is State.ONLINE and not life.old:
                queue = min(1000, int(1.4 * life.queue(now)))
                yield PortfolioRow(b"%b-p1" % name, name, (b"%d" % queue, b"%d" % (3 + life.number % 4), name))
