"""The portfolios' part of a scrape: reads what belongs to the ledger, and makes the series of it."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from threading import Event
from typing import Final

import structlog

from exporter.contract import LOADED_FIELD
from exporter.errors import SourceError
from exporter.portfolios.history import EarlierFault, History
from exporter.portfolios.loaded import Raw
from exporter.portfolios.reads import NodesRead, PortfolioKeys, PortfolioReader
from exporter.settings import Settings
from exporter.snapshot.portfolio_series import NodeValues, PortfolioSeries, PortfolioSeriesMaker
from exporter.snapshot.snapshot import Part
from exporter.source import Source
from exporter.source.names import Names, shown_id

Invalid = Callable[[str, Collection[str]], None]
"""Called with a field, and the ids as text of those whose value of this field is invalid."""

_NOTHING: Final[frozenset[bytes]] = frozenset()

log = structlog.get_logger(__name__)


class PortfolioStage:
    """Turns what a scrape has read of the nodes into the series of portfolios. Only one thread at a time may use it.

    Args:
        settings: The keys' names, and what is exported.
        source: The installation of Redis.
        invalid: Called for each field with invalid values.
        write: Returns the lines of a metric, given its name and its numbers.
        clock: Returns monotonic seconds.
        closed: Set when the exporter ends.

    Attributes:
        planned_nodes: The nodes that the plan names, as it was read last.
        planned: How many portfolios the plan gives to each of them.
        error: Why the portfolios could not be read at the last try, in one line; empty if they could.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a stage
        self,
        settings: Settings,
        source: Source,
        invalid: Invalid,
        write: Callable[[str, NodeValues], bytes],
        clock: Callable[[], float] = time.monotonic,
        closed: Event | None = None,
    ) -> None:
        keys = PortfolioKeys(
            settings.keys.plan.encode(), settings.keys.metrics_prefix.encode(), settings.keys.portfolio_prefix.encode()
        )
        history = self._history = History(settings.portfolios.max_listed)
        states = settings.portfolios.states
        self._reader = PortfolioReader(source, keys, history, states, clock, closed or Event())
        self._maker = PortfolioSeriesMaker(invalid, write)
        self._invalid = invalid
        self.planned_nodes = _NOTHING
        self.planned: Mapping[bytes, int] = {}
        self.error = ""

    def remember(self, faults: Mapping[str, EarlierFault]) -> None:
        """Record the faults at the end of an earlier run of the exporter, by the portfolios' ids as text."""
        self._history.remember(faults)

    def series(  # noqa: PLR0913, PLR0917 - what the scrape has read
        self,
        names: Names,
        parts: Sequence[Part],
        lists: Sequence[Raw],
        workers: Collection[bytes] | None,
        wall: float,
        deadline: float,
    ) -> PortfolioSeries | None:
        """Return the series of portfolios; None without plan and lists, or if these cannot be read.

        Args:
            names: All nodes.
            parts: Their states.
            lists: What each node's hash holds as its list of loaded portfolios.
            workers: The keys of workers' heartbeats; None if their absence proves nothing now.
            wall: Unix time of the read.
            deadline: Monotonic seconds.
        """
        self.error = ""
        states = list(chain.from_iterable(part.states for part in parts))
        try:
            reading = self._reader.read(NodesRead(names.raw, states, lists, wall), deadline, workers)
        except SourceError as error:
            self.error = str(error)
            log.debug("the portfolios cannot be read", error=self.error)
            return None
        finally:
            self.planned_nodes, self.planned = self._reader.planned_nodes, self._reader.planned
        if invalid := self._reader.invalid_lists:
            self._invalid(LOADED_FIELD, [shown_id(name) for name in invalid])
        return self._maker.make(reading, names, states) if reading else None
