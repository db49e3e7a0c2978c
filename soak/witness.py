"""Asks the exporter by scrape, JSON, page and table, and has every answer judged."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from exporter.liveness.judge import State
from soak import sights
from soak.exporters import ExporterUnderTest
from soak.model import Model
from soak.pages import Pages
from soak.report import Report, Resources
from soak.servers import TTL, RedisUnderFaults
from soak.sights import BrokenAnswer, Seen, Sight

MUST_NOT_RISE: Final = ("ginkgo_exporter_invalid_values_total", "ginkgo_exporter_internal_errors_total")
"""The exporter's counts of what was wrong with a value, or with itself."""
REFUSED_WRITES: Final = "ginkgo_redis_refused_writes_total"
"""Redis's own count, passed on as it is: it begins at 0 with each run of Redis."""
_MOVES: Final = frozenset({"heartbeat_ttl_seconds", "last_heartbeat"})
_COUNTS: Final = ("_total", "_count", "_bucket", "_sum")
_SHOWN: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)


class Witness:
    """Asks the exporter, and reports what is wrong.

    Args:
        model: The judge of the answers.
        report: The counts.
        pages: The judge of the pages; None without push.

    Attributes:
        last: The last answer of the exporter; the table is no answer of the exporter.
        last_fault: What went wrong last, for the report.
        mass_lost: The members of mass losses in the last scrape that read Redis.
    """

    def __init__(self, model: Model, report: Report, pages: Pages | None = None) -> None:
        self.last: Sight | None = None
        self.last_fault = "none yet"
        self.mass_lost: frozenset[str] = frozenset()
        self._model = model
        self._report = report
        self._pages = pages
        self._own: Mapping[tuple[str, ...], float] = {}

    def accuse(self, source: str, what: str) -> None:
        """Report that something is wrong."""
        self._report.accuse(source, what, self.last_fault)

    def forget(self) -> None:
        """Forget the counters of the last process of the exporter."""
        self._own = {}

    def scrape(self, exporter: ExporterUnderTest, *, steady: bool) -> None:
        """Scrape once. While no fault is under way, note the memory of the process too."""
        sight = self._see(sights.scrape, exporter)
        if sight is None:
            return
        self._report.scrapes += 1
        self._report.slowest = max(self._report.slowest, sight.until - sight.since)
        self._report.unreadable += sight.nodes is None
        if steady and sight.nodes is not None:
            self._report.processes[-1].note(Resources.of(exporter))

    def compare(self, exporter: ExporterUnderTest) -> None:
        """Ask for JSON and the page between scrapes: each must agree with the one before it or after it."""
        ways = (sights.scrape, sights.ask_api, sights.scrape, sights.ask_page, sights.scrape)
        asked = [self._see(way, exporter) for way in ways]
        for before, other, after in zip(asked[:-2:2], asked[1::2], asked[2::2], strict=True):
            if before and other and after and before.nodes and other.nodes and after.nodes:
                self._report.agreements[other.source] += 1
                for wrong in self._disagreements(
                    other, before.nodes, other.nodes, after.nodes, (before.since, after.until)
                ):
                    self.accuse(other.source, wrong)

    def judge(self, sight: Sight) -> None:
        """Judge one answer."""
        for wrong in self._model.judge(sight):
            self.accuse(sight.source, wrong)
        for seen in (sight.nodes or {}).values():
            self._report.values += len(seen.values)
            self._report.states[seen.state] += 1
        if not sight.fresh:
            self.last = sight
        if sight.mass_lost is not None:
            self.mass_lost = sight.mass_lost
        if self._pages:
            self._pages.saw(sight)

    def agreed(self, source: str) -> None:
        """Count an answer that was judged for its agreement with what was written."""
        self._report.agreements[source] += 1

    def _see(self, way: Callable[[int], Sight], exporter: ExporterUnderTest) -> Sight | None:
        try:
            sight = way(exporter.port)
        except BrokenAnswer as broken:
            self.accuse("exporter", str(broken))
            return None
        self.judge(sight)
        if sight.own:
            self._judge_own(sight)
        return sight

    def _judge_own(self, sight: Sight) -> None:
        """Look at what the exporter counts, and says of itself."""
        for sample, value in sight.own.items():
            before = self._own.get(sample, 0.0)
            if sample[0].endswith(_COUNTS) and value < before and sample[0] != REFUSED_WRITES:
                self.accuse(sight.source, f"{' '.join(sample)} went back from {before} to {value}")
            if sample[0] in MUST_NOT_RISE and value > before:
                self.accuse(sight.source, f"{' '.join(sample)} rose to {value}")
        self._own = sight.own
        for state in _SHOWN if sight.nodes is not None else ():
            count = sum(seen.state is state for seen in (sight.nodes or {}).values())
            if sight.own.get(("ginkgo_nodes", f"state={state}")) != count:
                self.accuse(sight.source, f"ginkgo_nodes of {state} is not the {count} that it shows")

    def _disagreements(
        self,
        other: Sight,
        before: Mapping[str, Seen],
        between: Mapping[str, Seen],
        after: Mapping[str, Seen],
        span: tuple[float, float],
    ) -> Iterator[str]:
        for name in before.keys() | between.keys() | after.keys():
            if self._model.written_in(name, *span):
                continue  # the model alone can tell
            seen, around = between.get(name), (before.get(name), after.get(name))
            states = {one and one.state for one in around}
            if (seen and seen.state) not in states:
                yield f"{name!r} is {seen and seen.state} between {states}"
            for key in other.shows - _MOVES:
                value, values = seen and seen.values.get(key), {one and one.values.get(key) for one in around}
                if value not in values:
                    yield f"{name!r}: {key} is {value} between {values}"


class Table:
    """``ginkgo-exporter nodes``, run beside the scrapes; it sees Redis for the first time.

    Args:
        redis: What it reads.
    """

    def __init__(self, redis: RedisUnderFaults) -> None:
        command = (sys.executable, "-m", "exporter", "nodes", "--output=json", f"--heartbeat.ttl={TTL:g}s")
        self._since = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603
            [*command, *redis.flags()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def judged_by(self, witness: Witness) -> bool:
        """Return whether it has ended, and so was judged."""
        if self._process.poll() is None:
            return False
        output = self._process.communicate()[0]
        if self._process.returncode:
            witness.accuse("nodes", f"ended with {self._process.returncode}: {output}")
        else:
            witness.judge(sights.of_json("nodes", self._since, time.monotonic(), output, fresh=True))
            witness.agreed("nodes")
        return True

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
