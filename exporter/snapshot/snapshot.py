"""The nodes of one read, with their states and parsed values; a snapshot knows no connection and no HTTP."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final, NamedTuple, TypeVar

from exporter.contract import Metric
from exporter.liveness import Absent, State
from exporter.portfolios.account import Account
from exporter.snapshot.rates import Earlier, Rising
from exporter.snapshot.values import Values
from exporter.source.names import Names
from exporter.source.reading import Server

EXPORTED: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)
"""The states of nodes that have series."""
COUNTED: Final = (*EXPORTED, State.FORGOTTEN)
"""The states that are counted."""

T = TypeVar("T")


class Part(NamedTuple):
    """The nodes of one part of a reading.

    Attributes:
        names: All nodes of the reading.
        positions: The positions of this part's nodes among them.
        states: The states of this part's nodes.
        columns: By metric name, each node's value as text, None if the node has no value. For ``STATUS`` the status
            that the node reports, for ``MASS_LOST`` the name of the loss.
        counts: How many nodes there are in each of the ``COUNTED`` states.
        absent: What the judge knows of the nodes without a heartbeat, by their positions in this part.
        at: Monotonic time of the read.
        wall: Unix time of the read.
        complete: Whether all nodes could be read; in a cluster some primaries may be unreachable.
        lines: The columns as lines of the text formats, by metric name. ``exporter.exposition`` writes them.
    """

    names: Names
    positions: range
    states: Sequence[State]
    columns: Mapping[str, Values]
    counts: Mapping[State, int]
    absent: Mapping[int, Absent] = {}
    at: float = 0.0
    wall: float = 0.0
    complete: bool = True
    lines: Mapping[str, bytes] = {}

    def exported(self, values: Iterable[T]) -> Iterator[T]:
        """Yield the values of the nodes that have series, given one value for each node of this part."""
        return compress(values, map(EXPORTED.__contains__, self.states))


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Snapshot:
    """The nodes of one read that have series, sorted by id.

    Attributes:
        parts: The nodes, part by part; at least one part.
        account: What is known of the portfolios; None without plan and lists, or if these could not be read.
        problem: Why these could not be read, in one line; empty if they could.
        totals: All nodes as one part, whose columns are what is exported of their portfolios; None without an account.
        rising: The nodes that dropped events or met backpressure lately, as Redis holds their ids.
        earlier: What an earlier read found, for rates; None before there was one.
        ttl: Seconds that a heartbeat lives, by the settings.
    """

    parts: Sequence[Part]
    account: Account | None = None
    problem: str = ""
    totals: Part | None = None
    rising: Mapping[bytes, Rising] = field(default_factory=dict)
    earlier: Earlier | None = None
    ttl: float = 30.0

    @property
    def all_parts(self) -> Sequence[Part]:
        """The parts, and the totals."""
        return (*self.parts, self.totals) if self.totals else self.parts

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

    @property
    def absent(self) -> dict[bytes, Absent]:
        """What the judge knows of the nodes without a heartbeat, by their ids as Redis holds them."""
        return {
            part.names.raw[part.positions.start + position]: absent
            for part in self.parts
            for position, absent in part.absent.items()
        }

    def texts(self, metric: Metric) -> list[bytes | None]:
        """Return a metric's value as text for each node; None if the node has no value."""
        parts = [part for part in self.all_parts if metric.name in part.columns]
        return [text for part in parts for text in part.exported(part.columns[metric.name])]

    def unix(self, at: float | None) -> float | None:
        """Return the Unix time of a monotonic time; None for None."""
        last = self.parts[-1]
        return None if at is None else round(last.wall - last.at + at, 3)

    def _of_each(self, values: Callable[[Part], Iterable[T]]) -> list[T]:
        return [value for part in self.parts for value in part.exported(values(part))]


class Discovered(NamedTuple):
    """The last complete discovery of node names.

    Attributes:
        duration: Seconds that the discovery took.
        timestamp: Unix time of its end.
        over_limit: How many nodes were dropped because there are too many.
    """

    duration: float
    timestamp: float
    over_limit: int


class ReadInfo(NamedTuple):
    """Facts beside the nodes' values: about the last read, about discovery, and about Redis.

    Attributes:
        collect_duration: Seconds that the last read took, even if it failed; None before the first read.
        discovered: The last complete discovery; None before the first.
        server: The last known state of Redis; None before Redis first answered.
        writes_refused: Whether Redis refuses writes, as the judge sees it.
        expected: How many nodes there should be; None if the setting is absent.
    """

    collect_duration: float | None = None
    discovered: Discovered | None = None
    server: Server | None = None
    writes_refused: bool = False
    expected: int | None = None
