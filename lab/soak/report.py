"""The counts of a run, and their report."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from lab.soak.exporters import ExporterUnderTest

MEMORY_GROWTH: Final = 0.05
MEMORY_ROOM: Final = 4 * 2**20
"""Memory may grow by that share and by that many bytes: garbage of failed reads may not be collected yet."""
DESCRIPTORS_GROWTH: Final = 4
THREADS_GROWTH: Final = 4
"""Descriptors and threads that may be more than after the warm-up: connections and workers are made when needed."""
BUSIEST: Final = 0.3
"""Share of a core that a process may use between two looks. One that tries something again and again uses more."""
_TOLD: Final = 50


@dataclass(frozen=True, slots=True)
class Resources:
    """Memory, descriptors and threads of a process."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, exporter: ExporterUnderTest) -> "Resources":
        """Return the resources of an exporter now."""
        return cls(exporter.memory, exporter.descriptors, exporter.threads)


@dataclass(slots=True)
class Process:
    """One process of the exporter: its resources after the warm-up and at the end, and its use of the processor.

    Attributes:
        started: Start time in monotonic seconds.
        warm: Length of the warm-up in seconds.
        busiest: The largest share of a core that it used between two looks.
    """

    started: float
    warm: float
    first: Resources | None = None
    last: Resources | None = None
    busiest: float = 0.0
    looked: tuple[float, float] | None = None

    def note(self, held: Resources) -> None:
        """Note its resources at a moment without a fault."""
        if time.monotonic() - self.started < self.warm:
            return
        self.first = self.first or held
        self.last = held

    def note_cpu(self, now: float, seconds: float) -> float:
        """Return the share of a core that it used since the last look; 0 at the first one.

        Args:
            now: Monotonic seconds.
            seconds: The seconds of all cores that it has used since its start.
        """
        at, before = self.looked or (now - 1, seconds)
        self.looked = now, seconds
        share = (seconds - before) / (now - at)
        self.busiest = max(self.busiest, share)
        return share

    def leaks(self) -> Iterable[str]:
        """Yield each resource that grew too much."""
        if not self.first or not self.last:
            return
        first, last = self.first, self.last
        if last.memory > first.memory * (1 + MEMORY_GROWTH) + MEMORY_ROOM:
            yield f"memory grew from {first.memory / 2**20:.1f} to {last.memory / 2**20:.1f} MiB"
        if last.descriptors > first.descriptors + DESCRIPTORS_GROWTH:
            yield f"descriptors grew from {first.descriptors} to {last.descriptors}"
        if last.threads > first.threads + THREADS_GROWTH:
            yield f"threads grew from {first.threads} to {last.threads}"


@dataclass(slots=True)
class Report:
    """All counts of a run.

    Attributes:
        head: Seed, servers and machine.
        slowest: Seconds of the slowest scrape.
        portfolios: How often a portfolio was shown in each state, and untraded for each reason.
        scheduler: What the platform's scheduler did.
        ledgers: Ledgers that were judged.
        late: Seconds of the latest wake-up of the soak's own threads.
        wrong: A text for each answer or deed of the exporter that breaks the contract.
    """

    head: str
    began: float = field(default_factory=time.monotonic)
    scrapes: int = 0
    unreadable: int = 0
    values: int = 0
    slowest: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    agreements: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    portfolios: Counter[str] = field(default_factory=Counter)
    scheduler: Counter[str] = field(default_factory=Counter)
    ledgers: int = 0
    processes: list[Process] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    beats: int = 0
    failed: int = 0
    late: float = 0.0

    def add_wrong(self, source: str, what: str, last_fault: str) -> None:
        """Note a wrong answer or deed with its time and the fault before it, and print it."""
        self.verdicts[source] += 1
        self.wrong.append(f"{time.monotonic() - self.began:8.2f} s  {source}: {what}  [last fault: {last_fault}]")
        if len(self.wrong) <= _TOLD:
            print(self.wrong[-1], file=sys.stderr, flush=True)  # noqa: T201

    def text(self) -> str:
        """Return the report."""
        lines = [
            self.head,
            f"lasted             {time.monotonic() - self.began:,.0f} s",
            f"scrapes            {self.scrapes:,}, {self.unreadable:,} of them while Redis could not be read",
            f"busiest look       {max((one.busiest for one in self.processes), default=0.0):.0%} of a core",
            f"slowest scrape     {self.slowest:.2f} s; latest wake-up of the soak's own threads {self.late:.2f} s",
            f"values judged      {self.values:,}; beats written {self.beats:,}, refused or failed {self.failed:,}",
            f"states seen        {_counted(self.states)}",
            f"ledgers judged     {self.ledgers:,}",
            f"agreement checks   {_counted(self.agreements)}",
            "",
            *_table("faults", self.faults),
            *_table("node events", self.acts),
            *_table("looks of the scheduler", self.scheduler),
            *_table("portfolios", self.portfolios),
            *_table("deaths", self.deaths),
            *_table("pages", self.pages),
            *_table("events of the journal", self.events),
            *_table("wrong, by source", self.verdicts),
        ]
        for number, process in enumerate(self.processes, 1):
            if process.first and process.last:
                first, last = process.first, process.last
                lines.append(
                    f"exporter {number:<9} memory {first.memory / 2**20:.1f} to {last.memory / 2**20:.1f} MiB,"
                    f" descriptors {first.descriptors} to {last.descriptors}, threads {first.threads} to {last.threads}"
                )
        lines.append(f"wrong              {len(self.wrong)}")
        lines += self.wrong[:_TOLD]
        return "\n".join(lines)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items())) or "none"


def _table(head: str, counter: Counter[str]) -> Iterator[str]:
    """Yield the lines of a table of counts."""
    yield head
    for name, count in sorted(counter.items()):
        yield f"  {name:<48}{count:>8,}"
    yield ""
