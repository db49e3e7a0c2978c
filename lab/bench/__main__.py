"""``python -m lab.bench``: the tables of docs/explanation/benchmarks.md, measured on this machine, in Markdown.

The last table is the footprint at five nodes, from ``benchmarks.footprint``.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from lab.bench import footprint, idle
from lab.bench.cases import SCRAPERS, Bench, Case, Way
from lab.bench.servers import end_on_sigterm

CASES: Final[Sequence[Case]] = (Case(1000), Case(10_000), Case(100_000), Case(1000, 1_000_000))
COLUMNS: Final = (
    "one whole scrape",
    "ms, median (quartiles)",
    "rounds",
    "times the floor",
    "times ours",
    "longest block of Redis, ms, median (most)",
    "peak MiB",
)


def measure(case: Case, rounds: int, *, slow_ways: bool) -> None:
    """Measure one case and print its table."""
    with Bench(case, slow_ways=slow_ways) as bench:
        bench.warm_up()
        for number in range(rounds):
            bench.round(number)
            print(f"{case.title}: round {number + 1} of {rounds}", file=sys.stderr)  # noqa: T201
        show(f"\n### {case.title}\n\n{table(bench.ways)}")
        if case == CASES[0]:
            work = bench.crowd(rounds)
            show(f"\n{SCRAPERS} scrapers at once: Redis does the work of {work:g} at most.")


def table(ways: list[Way]) -> str:
    """Return the table of one case; the first two ways are the floor and this exporter."""
    floor, ours = (median(way.seconds) for way in ways[:2])
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for way in ways:
        middle = median(way.seconds)
        low, _, high = quantiles(way.seconds, n=4) if len(way.seconds) > 1 else [middle] * 3
        cells = (
            way.name,
            f"{middle * 1e3:,.1f} ({low * 1e3:,.1f} to {high * 1e3:,.1f})",
            f"{len(way.seconds)}",
            f"{middle / floor:.2f}",
            f"{middle / ours:.2f}",
            f"{median(way.blocks) * 1e3:,.2f} ({max(way.blocks) * 1e3:,.2f})",
            f"{way.peak_memory / 2**20:,.0f}" if way.peak_memory else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(text: str) -> None:
    """Print a part of the report without a delay by the buffer."""
    print(text, flush=True)  # noqa: T201


def machine(redis_version: str) -> str:
    """Return a description of the machine and of the software."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    parts = (platform.system(), platform.release(), f"Python {platform.python_version()}", redis_version)
    return f"{os.cpu_count()} cores of {model}, {', '.join(parts)}"


def main() -> None:
    """Run the cases that the command line selects."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each case [9]")
    parser.add_argument("--nodes", type=int, nargs="+", help="measure these numbers of nodes only")
    parser.add_argument("--others", type=int, default=0, help="keys of others beside those nodes [0]")
    parser.add_argument("--ours-only", action="store_true", help="measure only the floor and this exporter")
    parser.add_argument(
        "--quick", action="store_true", help="1,000 nodes and three rounds, to see whether everything works"
    )
    arguments = parser.parse_args()
    end_on_sigterm()
    cases: Sequence[Case] = CASES
    rounds = arguments.rounds
    if arguments.quick:
        cases, rounds = CASES[:1], 3
    elif arguments.nodes:
        cases = tuple(Case(count, arguments.others) for count in arguments.nodes)
    with Bench(Case(1), slow_ways=False) as bench:
        version = bench.redis.version
    show(f"{machine(version)}. Rounds are interleaved, every node beats before each scrape; identity encoding.")
    for case in cases:
        measure(case, rounds, slow_ways=not arguments.ours_only)
    if not arguments.nodes:
        starts = 1 if arguments.quick else footprint.STARTS
        show(f"\n### Footprint\n\n{footprint.table(footprint.NODES, starts)}")
    if not (arguments.quick or arguments.nodes):
        show(f"\n### Nobody scrapes\n\n{idle.table(idle.measure())}")


if __name__ == "__main__":
    main()
