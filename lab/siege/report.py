"""What came of an attack, and whether it is good enough."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lab.siege.attack import Attack
from lab.siege.scraper import Seen

LINES: Final = 100
"""Log lines that an attack of a minute may cause."""
SLOWEST: Final = 2.0
"""Seconds in which a scraper beside an attack must be answered."""
_SLOWEST_WITH_PASSWORD: Final = 5.0
_BUSY: Final = 0.7
"""Share of a core that the exporter may use while only its Redis or its Alertmanager misbehaves. It must not try
again without a pause."""
_BUSY_AFTERWARDS: Final = 0.3
_UNREACHABLE: Final = "GinkgoRedisUnreachable"
_COLUMNS: Final = (
    *("attack", "lives", "peak MiB", "back after s", "log lines", "scrapes: whole", "Redis down"),
    *("wrong", "slowest s", "load", "CPU %", "CPU % afterwards", "verdict"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attack.

    Attributes:
        attack: The attack.
        alive: Whether the exporter lives after it.
        peak: Bytes of memory at most.
        before: Bytes of memory before the attack.
        back: Seconds until its memory was back; None if it was not in time.
        lines: Lines that it logged.
        seen: What the scraper saw.
        pages: Names of the alerts that were pushed.
        well: Whether a scrape after the attack had all nodes.
        log: What was logged.
        load: Processes that wanted to run during the attack, as the system's load average: with more of them than the
            machine has cores, the seconds say as much about the machine as about the exporter.
        busy: The share of a core that the exporter used during the attack.
        busy_afterwards: The share that it used after the attack, while nobody asked it.
    """

    attack: Attack
    alive: bool
    peak: int
    before: int
    back: float | None
    lines: int
    seen: Seen
    pages: list[str]
    well: bool
    log: list[bytes]
    load: float
    busy: float
    busy_afterwards: float

    def failures(self, seconds: float, limit: int) -> Iterator[str] | list[str]:
        """Return what was not good enough, given the seconds that the attack lasted and the limit of memory."""
        allowed = _SLOWEST_WITH_PASSWORD if self.attack.users else SLOWEST
        pages = {*self.pages} - ({_UNREACHABLE} if self.attack.unreadable else set())
        checks = (
            ("killed", not self.alive),
            ("memory", self.peak > limit),
            ("memory stays", self.back is None),
            ("log", self.lines > LINES * max(1.0, seconds / 60)),
            ("wrong answers", bool(self.seen.wrong)),
            ("Redis called down", bool(self.seen.down) and not self.attack.unreadable),
            ("slow", max(self.seen.seconds, default=0.0) > allowed),
            ("pages", bool(pages)),
            ("busy", self.busy > _BUSY and self.attack.run is None),
            ("busy afterwards", self.busy_afterwards > _BUSY_AFTERWARDS),
            ("not well again", not self.well),
        )
        return [name for name, failed in checks if failed]


def headings() -> str:
    """Return the head of the table."""
    return f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|"


def row(result: Result, seconds: float, limit: int) -> str:
    """Return the table's row of an attack."""
    seen = result.seen
    cells = (
        f"{result.attack.name}: {result.attack.what}",
        "yes" if result.alive else "no",
        f"{result.peak / 2**20:.0f}" if result.peak else "?",
        "never" if result.back is None else f"{result.back:.0f}",
        f"{result.lines}",
        f"{seen.whole} of {len(seen.seconds)}",
        f"{seen.down}",
        ", ".join(f"{kind} {count}" for kind, count in seen.wrong.items()) or "0",
        f"{max(seen.seconds, default=0):.2f}",
        f"{result.load:.0f}",
        f"{result.busy * 100:.0f}",
        f"{result.busy_afterwards * 100:.0f}",
        ", ".join(result.failures(seconds, limit)) or "held",
    )
    return f"| {' | '.join(cells)} |"
