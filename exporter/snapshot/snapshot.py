"""The nodes of one read, with their states and parsed values; a snapshot knows no connection and no HTTP."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final, TypeVar

from exporter.contract import Metric
from exporter.liveness.judge import State
from exporter.snapshot.portfolio_series import PortfolioSeries
from exporter.snapshot.values import Values
from exporter.source.names import Names

EXPORTED: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)
"""The states of nodes that have series."""
COUNTED: Final = (*EXPORTED, State.FORGOTTEN)
"""The states that are counted."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """The nodes of one part of a reading.

    Attributes:
        names: All nodes of the reading.
        positions: The positions of this part's nodes among them.
        states: The states of this part's nodes.
        columns: By metric name, each node's value as text, None if the node has no value; for ``STATUS`` the status
            that the node reports.
        counts: How many nodes there are in each of the ``COUNTED`` states.
        wall: Unix time of the read.
        complete: Whether all nodes could be read; in a cluster some primaries may be unreachable.
        lines: The columns as lines of the text formats, by metric name. ``exporter.exposition`` writes them.
    """

    names: Names
    positions: range
    states: Sequence[State]
    columns: Mapping[str, Values]
    counts: Mapping[State, int]
    wall: float
    complete: bool = True
    lines: Mapping[str, bytes] = field(default_factory=dict)

    def exported(self, values: Iterable[T]) -> Iterator[T]:
        """Yield the values of the nodes that have series, given one value for each node of this part."""
        return compress(values, (state in EXPORTED for state in self.states))


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Snapshot:
    """The nodes of one read that have series, sorted by id.

    Attributes:
        parts: The nodes, part by part; at least one part.
        portfolios: What is exported of portfolios; None without plan and lists, or if these could not be read.
        portfolios_error: Why these could not be read, in one line; empty if they could.
    """

    parts: Sequence[Part]
    portfolios: PortfolioSeries | None = None
    portfolios_error: str = ""

    @property
    def wall(self) -> float:
        """Unix time at which the last part was read."""
        return self.parts[-1].wall

    @property
    def complete(self) -> bool:
        """Whether all nodes could be read."""
        return all(part.complete for part in self.parts)

    @property
    def ids(self) -> list[str]:
        """The nodes' ids as text."""
        return self._of_each(lambda part: map(part.names.shown.__getitem__, part.positions))

    @property
    def raw_ids(self) -> list[bytes]:
        """The nodes' ids as bytes in Redis."""
        return self._of_each(lambda part: map(part.names.raw.__getitem__, part.positions))

    @property
    def states(self) -> list[State]:
        """The nodes' states, each one of ``EXPORTED``."""
        return self._of_each(lambda part: part.states)

    @property
    def counts(self) -> dict[State, int]:
        """How many nodes there are in each of the ``COUNTED`` states."""
        return {state: sum(part.counts[state] for part in self.parts) for state in COUNTED}

    def texts(self, metric: Metric) -> list[bytes | None]:
        """Return a metric's value as text for each node; None if the node has no value."""
        return self._of_each(lambda part: part.columns[metric.name])

    def _of_each(self, values: Callable[[Part], Iterable[T]]) -> list[T]:
        return [value for part in self.parts for value in part.exported(values(part))]
