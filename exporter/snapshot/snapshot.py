"""The nodes of one read, with their states and parsed values, and by how much their counters rose.

A snapshot knows no connection and no HTTP.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import or_
from typing import Final, NamedTuple, TypeVar

from exporter.contract import BACKPRESSURE, DROPPED, EVENTS, Metric
from exporter.liveness import Node, State
from exporter.portfolios.account import Account
from exporter.source.reading import Names, Server

EXPORTED: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)
"""The states of nodes that have series."""
COUNTED: Final = (*EXPORTED, State.FORGOTTEN)
"""The states that are counted."""

LASTS: Final = 300.0
"""Seconds for which a rise is marked, at least."""
APART: Final = 60.0
"""Seconds between two reads that are kept: some beats, so that one more or less does not matter much for a rate."""
RISING: Final = (EVENTS, DROPPED, BACKPRESSURE)
"""The counters that are compared."""

T = TypeVar("T")


class Part(NamedTuple):
    """The nodes of one part of a reading.

    Attributes:
        names: All nodes of the reading.
        positions: The positions of this part's nodes among them.
        states: The states of this part's nodes.
        columns: By metric name, each node's value as text: see ``maker.Column.text``. For ``STATUS`` the status that
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


class Past(NamedTuple):
    """The counters of all nodes at a read.

    Attributes:
        at: Monotonic time of the read.
        names: The nodes' ids as text.
        columns: The values of each node, by metric: see ``Column.text``.
    """

    at: float
    names: Sequence[str]
    columns: Mapping[Metric, bytes]

    def of(self, metric: Metric) -> dict[str, bytes]:
        """Return each node's value of a metric, by its id, as far as it has one."""
        nodes = zip(self.names, self.columns[metric].splitlines(), strict=True)
        return {name: value for name, value in nodes if value}


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The nodes of one read that have series, sorted by id.

    Attributes:
        parts: The nodes, part by part; at least one part. A part before them may have columns of all nodes that are
            made from the account, and states of no node.
        account: What is known of the portfolios; None without plan and lists, or if these could not be read.
        problem: Why these could not be read, in one line; empty if they could.
        recent: The counters a minute or two earlier, or longer ago if nothing was read then; of the first read if there
            was no such read.
        base: The counters of drops and backpressure five to six minutes earlier, or longer ago if nothing was read
            then; of a node that is new since then, as it was first read.
        ttl: Seconds that a heartbeat lives, by the settings.
    """

    parts: Sequence[Part]
    account: Account | None
    problem: str
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
        counts = Counter(part.states[p] for part in self.parts for p in part.absent)
        counts[State.ONLINE] += sum(len(part.states) - len(part.absent) for part in self.parts)
        return {state: counts[state] for state in COUNTED}

    @property
    def absent(self) -> dict[str, Node]:
        """What the judge knows of the nodes without a heartbeat, by their ids as text."""
        return {part.names.shown[part.positions[p]]: node for part in self.parts for p, node in part.absent.items()}

    def texts(self, metric: Metric) -> list[bytes]:
        """Return a metric's value as text for each node; empty if the node has no value."""
        return self._exported(text for part in self.parts for text in part.columns.get(metric.name, b"").splitlines())

    @property
    def dropping(self) -> frozenset[str]:
        """The nodes that dropped events in the last five minutes, by their ids as text."""
        old = self.base.columns[DROPPED]
        new = b"".join([part.columns.get(DROPPED.name, b"") for part in self.parts])
        nodes = zip(self.base.names, old.splitlines(), new.splitlines(), strict=True) if old != new else ()
        return frozenset([name for name, was, now in nodes if was and was != now and now not in {b"", b"0"}])

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


class History:
    """Keeps reads of five minutes, and one before: one of each minute, and each with other nodes than the one before.

    If nothing was read for a while, as in an outage of Redis, the one before is older. Only one thread at a time may
    use it.
    """

    def __init__(self) -> None:
        self._past = deque[Past]()
        self._base = Past(0.0, (), {})

    def note(self, now: Past) -> tuple[Past, Past]:
        """Take a read of all nodes.

        Returns:
            The last kept read that is a minute older, or the oldest one; and the oldest known values of the same nodes.
        """
        past = self._past
        if not past or now.at - past[-1].at >= APART or now.names is not past[-1].names:
            past.append(now)
        while len(past) > 1 and now.at - past[1].at >= LASTS:
            past.popleft()
        if past[-1] is now or past[0].at != self._base.at:
            columns = {}
            for metric in (DROPPED, BACKPRESSURE):
                columns[metric] = past[0].columns[metric]
                if past[0].names is not now.names or b"\n\n" in b"\n" + columns[metric]:  # it lacks nodes, or values
                    values = reduce(or_, [each.of(metric) for each in reversed(past)])
                    columns[metric] = b"".join([values.get(name, b"") + b"\n" for name in now.names])
            self._base = Past(past[0].at, now.names, columns)
        return next((each for each in reversed(past) if now.at - each.at >= APART), past[0]), self._base


def rise(before: bytes | None, now: bytes | float | None) -> int:
    """Return how much a counter rose; 0 if it is not known twice. A node that has started anew counts from 0."""
    if not before or now is None:
        return 0
    more = float(now) - float(before)
    return round(more if more >= 0 else float(now))
