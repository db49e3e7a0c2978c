"""What is known beside the nodes' values: of the read itself, of discovery, and of Redis."""

from dataclasses import dataclass

from exporter.source.reading import Server


@dataclass(frozen=True, slots=True)
class Discovered:
    """The last complete discovery of node names.

    Attributes:
        duration: Seconds that it took.
        timestamp: Unix time of its end.
        over_limit: Nodes that were left out because there are too many.
    """

    duration: float
    timestamp: float
    over_limit: int


@dataclass(frozen=True, slots=True)
class ReadInfo:
    """What is known beside the nodes' values: of the last read, of discovery, and of Redis.

    Attributes:
        collect_duration: Seconds that the last read took, also one that failed; None before the first.
        discovered: The last complete discovery; None before the first.
        server: What Redis said of itself at the last look; None before the first.
        writes_refused: Whether Redis is taken to refuse writes.
        missing_rights: Commands that Redis refuses to the exporter's user.
        expected: How many nodes there should be; None if that is not set.
    """

    collect_duration: float | None = None
    discovered: Discovered | None = None
    server: Server | None = None
    writes_refused: bool = False
    missing_rights: frozenset[str] = frozenset()
    expected: int | None = None
