"""The nodes of one read, with their states and parsed values; a snapshot knows no connection and no HTTP."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple, TypeVar

from exporter.contract import Metric
from exporter.liveness import Node, State
from exporter.portfolios.account import Account
from exporter.snapshot.rates import Past
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
        columns: By metric name, each node's value as text: see ``values.Column.text``. For ``STATUS`` the status that
            the node reports, for ``MASS_LOST`` the name of the loss.
        absent: What the judge knows of the nodes without a heartbeat, by their positions in this part.
        at: Monotonic time of the read.
        wall: Unix time of the read.
        complete: Whether all nodes could be read; in a cluster some primaries may be unreachable.
        lines: The columns as lines of the text formats, by metric name. ``exporter.exposition`` writes them.
    """

    names: Names
    positions: range
    states: Sequence[State]
    columns: Mapping[str, bytes]
    absent: Mapping[int, Node] = {}
    at: float = 0.0
    wall: float = 0.0
    complete: bool = True
    lines: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The nodes of one read that have series, sorted by id.

    Attributes:
        parts: The nodes, part by part; at least one part. A part before them may have columns of all nodes that are
            made from the account, and states of no node.
        account: What is known of the portfolios; None without plan and lists, or if these could not be read.
        problem: Why these could not be read, in one line; empty if they could.
        dropping: The nodes that dropped events in the last five minutes, by their ids as text.
        recent: The counters a minute or two earlier; of this read if there was no such read.
        base: The counters of drops and backpressure five to six minutes earlier, or as each node was first read.
        ttl: Seconds that a heartbeat lives, by the settings.
    """

    parts: Sequence[Part]
    account: Account | None
    problem: str
    dropping: Sequence[str]
    recent: Past
    base: Past
    ttl: float

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
        return self._exported(self.parts[-1].names.shown)

    @property
    def states(self) -> list[State]:
        """The nodes' states, each one of ``EXPORTED``."""
        return self._exported(state for part in self.parts for state in part.states)

    @property
    def counts(self) -> dict[State, int]:
        """How many nodes there are in each of the ``COUNTED`` states."""
        counts = Counter(chain.from_iterable(part.states for part in self.parts))
        return {state: counts[state] for state in COUNTED}

    @property
    def absent(self) -> dict[str, Node]:
        """What the judge knows of the nodes without a heartbeat, by their ids as text."""
        return {part.names.shown[part.positions[p]]: node for part in self.parts for p, node in part.absent.items()}

    def texts(self, metric: Metric) -> list[bytes]:
        """Return a metric's value as text for each node; empty if the node has no value."""
        return self._exported(text for part in self.parts for text in part.columns.get(metric.name, b"").splitlines())

    def unix(self, at: float | None) -> float | None:
        """Return the Unix time of a monotonic time; None for None."""
        return None if at is None else round(self.wall - self.parts[-1].at + at, 3)

    def _exported(self, values: Iterable[T]) -> list[T]:
        """Return the values of the nodes that have series, given one value for each node of the reading."""
        states = chain.from_iterable(part.states for part in self.parts)
        return [value for value, state in zip(values, states, strict=False) if state in EXPORTED]


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
