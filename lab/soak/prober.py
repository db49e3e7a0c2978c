"""Requests answers of the exporter by scrape, JSON, page and table, and passes each to the judges."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from exporter.liveness.judge import State
from lab.soak import answers
from lab.soak.answers import Answer, BrokenAnswer, ShownNode
from lab.soak.events import EventJudge, events_since
from lab.soak.exporters import ExporterUnderTest
from lab.soak.model import Model
from lab.soak.pages import Pages
from lab.soak.report import Report, Resources
from lab.soak.servers import TTL, RedisUnderFaults

MUST_NOT_RISE: Final = ("ginkgo_exporter_invalid_values_total", "ginkgo_exporter_internal_errors_total")
"""The exporter's counters of invalid values and of its own errors."""
REFUSED_WRITES: Final = "ginkgo_redis_refused_writes_total"
"""Redis's own count, passed on as it is: it begins at 0 with each run of Redis."""
_MOVES: Final = frozenset({"heartbeat_ttl_seconds", "last_heartbeat"})
_COUNTS: Final = ("_total", "_count", "_bucket", "_sum")
_SHOWN: Final = (State.ONLINE, State.OFFLINE, State.UNDECIDED)


class Prober:
    """Requests answers, and reports all that is wrong with them.

    Args:
        model: The judge of the answers.
        report: The counts.
        pages: The judge of the pages; None without push.
        events: The judge of the journal.

    Attributes:
        last: The last answer of the running exporter. The table comes from another process.
        last_fault: Name and time of the last fault that was made, for the report.
        mass_lost: The members of mass losses in the last scrape that read Redis.
    """

    def __init__(self, model: Model, report: Report, pages: Pages | None, events: EventJudge) -> None:
        self.last: Answer | None = None
        self.last_fault = "none yet"
        self.mass_lost: frozenset[str] = frozenset()
        self._model = model
        self._report = report
        self._pages, self._events = pages, events
        self._own: Mapping[tuple[str, ...], float] = {}

    def add_wrong(self, source: str, what: str) -> None:
        """Report a wrong answer or deed of the exporter."""
        self._report.add_wrong(source, what, self.last_fault)

    def forget(self) -> None:
        """Forget the counters of the last process of the exporter."""
        self._own = {}

    def scrape(self, exporter: ExporterUnderTest, *, steady: bool) -> None:
        """Scrape once. While no fault is under way, note the memory of the process too."""
        answer = self._see(answers.scrape, exporter)
        if answer is None:
            return
        self._report.scrapes += 1
        self._report.slowest = max(self._report.slowest, answer.until - answer.since)
        self._report.unreadable += answer.nodes is None
        if steady and answer.nodes is not None:
            self._report.processes[-1].note(Resources.of(exporter))

    def compare(self, exporter: ExporterUnderTest) -> None:
        """Request JSON and the page between scrapes. Each must agree with the scrape before or after it."""
        ways = (answers.scrape, answers.ask_api, answers.scrape, answers.ask_page, answers.scrape)
        asked = [self._see(way, exporter) for way in ways]
        for before, other, after in zip(asked[:-2:2], asked[1::2], asked[2::2], strict=True):
            if before and other and after and before.nodes and other.nodes and after.nodes:
                self._report.agreements[other.source] += 1
                for wrong in self._disagreements(
                    other, before.nodes, other.nodes, after.nodes, (before.since, after.until)
                ):
                    self.add_wrong(other.source, wrong)

    def read_journal(self, exporter: ExporterUnderTest) -> None:
        """Request the events, and judge them."""
        asked = time.monotonic()
        try:
            events = events_since(exporter.port, self._events.since)
        except BrokenAnswer as broken:
            self.add_wrong("exporter", str(broken))
            return
        for wrong in self._events.judge(events, asked):
            self.add_wrong("journal", wrong)

    def judge(self, answer: Answer) -> None:
        """Judge one answer."""
        for wrong in self._model.judge(answer):
            self.add_wrong(answer.source, wrong)
        for seen in (answer.nodes or {}).values():
            self._report.values += len(seen.values)
            self._report.states[seen.state] += 1
        if not answer.fresh:
            self.last = answer
        if answer.mass_lost is not None:
            self.mass_lost = answer.mass_lost
        if self._pages:
            self._pages.saw(answer)
        self._events.saw(answer)

    def agreed(self, source: str) -> None:
        """Count an answer that was judged for its agreement with what was written."""
        self._report.agreements[source] += 1

    def _see(self, way: Callable[[int], Answer], exporter: ExporterUnderTest) -> Answer | None:
        try:
            answer = way(exporter.port)
        except BrokenAnswer as broken:
            self.add_wrong("exporter", str(broken))
            return None
        self.judge(answer)
        if answer.own:
            self._judge_own(answer)
        return answer

    def _judge_own(self, answer: Answer) -> None:
        """Judge the exporter's samples about itself."""
        for sample, value in answer.own.items():
            before = self._own.get(sample, 0.0)
            if sample[0].endswith(_COUNTS) and value < before and sample[0] != REFUSED_WRITES:
                self.add_wrong(answer.source, f"{' '.join(sample)} went back from {before} to {value}")
            if sample[0] in MUST_NOT_RISE and value > before:
                self.add_wrong(answer.source, f"{' '.join(sample)} rose to {value}")
        self._own = answer.own
        for state in _SHOWN if answer.nodes is not None else ():
            count = sum(seen.state is state for seen in (answer.nodes or {}).values())
            if answer.own.get(("ginkgo_nodes", f"state={state}")) != count:
                self.add_wrong(answer.source, f"ginkgo_nodes of {state} is not the {count} that it shows")

    def _disagreements(
        self,
        other: Answer,
        before: Mapping[str, ShownNode],
        between: Mapping[str, ShownNode],
        after: Mapping[str, ShownNode],
        span: tuple[float, float],
    ) -> Iterator[str]:
        for name in before.keys() | between.keys() | after.keys():
            if self._model.written_in(name, *span):
                continue  # both values may be right: only the model can judge them
            seen, around = between.get(name), (before.get(name), after.get(name))
            states = {one and one.state for one in around}
            if len(states) > 1:
                states.add(State.UNDECIDED)  # a death may be held back before it shows
            if (seen and seen.state) not in states:
                yield f"{name!r} is {seen and seen.state} between {states}"
            for key in other.shows - _MOVES:
                value, values = seen and seen.values.get(key), {one and one.values.get(key) for one in around}
                if value not in values:
                    yield f"{name!r}: {key} is {value} between {values}"


class Table:
    """``ginkgo-exporter nodes``, run beside the scrapes. Its process has never read Redis before.

    Args:
        redis: The Redis that it reads.
    """

    def __init__(self, redis: RedisUnderFaults) -> None:
        command = (sys.executable, "-m", "exporter", "nodes", "--output=json", f"--heartbeat.ttl={TTL:g}s")
        self._since = time.monotonic()
        self._process = subprocess.Popen(
            [*command, *redis.flags()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def judged_by(self, prober: Prober) -> bool:
        """Return whether it has ended, and so was judged."""
        if self._process.poll() is None:
            return False
        output = self._process.communicate()[0]
        if self._process.returncode:
            prober.add_wrong("nodes", f"ended with {self._process.returncode}: {output}")
        else:
            prober.judge(answers.of_json("nodes", self._since, time.monotonic(), output, fresh=True))
            prober.agreed("nodes")
        return True

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
