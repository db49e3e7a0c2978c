"""Facts beside the nodes' values: about the last read, about discovery, and about Redis."""

from dataclasses import dataclass

from exporter.source.reading import Server


@dataclass(frozen=True, slots=True)
class Discovered:
    """The last complete discovery of node names.

    Attributes:
        duration: Seconds that the discovery took.
        timestamp: Unix time of its end.
        over_limit: How many nodes were dropped because there are too many.
    """

    duration: float
    timestamp: float
    over_limit: int


@dataclass(frozen=True, slots=True)
class ReadInfo:
    """Facts beside the nodes' values: about the last read, about discovery, and about Redis.

    Attributes:
        collect_duration: Seconds that the last read took, even if it failed; None before the first read.
        discovered: The last complete discovery; None before the first.
        server: The last known state of Redis; None before Redis first answered.
        writes_refused: Whether Redis refuses writes, as the judge sees it.
        missing_rights: Commands that Redis refuses to the exporter's user.
        expected: How many nodes there should be; None if the setting is absent.
    """

    collect_duration: float | None = None
    discovered: Discovered | None = None
    server: Server | None = None
    writes_refused: bool = False
    missing_rights: frozenset[str] = frozenset()
    expected: int | None = None
