"""The course of a soak. One thread scrapes, makes faults and judges; the platform has threads of its own."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from exporter.liveness.judge import State
from lab.soak.alertmanager import Alertmanager, Webhook, alertmanager_binary
from lab.soak.events import EventJudge
from lab.soak.exporters import Exporters
from lab.soak.faults import FAR_AWAY, FAULTS, PAUSED, Course, Target, fault_of
from lab.soak.incidents import BOTH_RESTARTED, INCIDENTS, PUSH_INCIDENTS, RESTARTED, Setup, restart_exporter
from lab.soak.lateness import Lateness
from lab.soak.model import Model
from lab.soak.nodes import ACTS, Platform
from lab.soak.pages import Pages
from lab.soak.prober import Prober, Table
from lab.soak.report import BUSIEST, Process, Report
from lab.soak.scheduler import Scheduler
from lab.soak.servers import RedisUnderFaults

SCRAPE_EVERY: Final = (0.1, 0.6)
ACT_EVERY: Final = (0.3, 2.0)
COMPARE_EVERY: Final = (0.5, 2.0)
TABLE_EVERY: Final = 10.0
JUDGE_PAGES_EVERY: Final = 0.2
READ_JOURNAL_EVERY: Final = 2.0
LOOK_AT_CPU_EVERY: Final = 3.0
FAULT_EVERY: Final = (1.0, 8.0)
"""Seconds from the end of one fault to the next. Faults may come before nodes have had their chance."""
FIRST_FAULT: Final = 6.0
FAR_AWAY_EVERY: Final = 4
"""Rounds of all faults for one fault that lasts over a minute."""
LONG_RUN: Final = 600.0
"""Minimum duration in seconds of a run with such a fault."""
_SOON: Final = 0.05
_WARM_WITHIN: Final = 600.0
"""Length of the warm-up in seconds: memory grows until Python collects garbage for the first time."""
_BUSY: Final = "while True: pass"


class Soak:
    """One run.

    Args:
        folder: For the servers' data.
        seconds: Duration of the run in seconds.
        seed: Decides what happens. The exact times depend on the machine.
        server: Program of the Redis; None for an installed one.
        busy: How many processes only keep the machine busy.
        sole_writer: Whether the exporter ends alerts at once. Otherwise an alert ends two minutes after its last
            post, so most deaths are told by a page that is still open.
    """

    def __init__(  # noqa: PLR0913 - what the command line can say
        self,
        folder: Path,
        seconds: float,
        seed: int,
        *,
        server: str | None = None,
        busy: int = 0,
        sole_writer: bool = True,
    ) -> None:
        self._seconds = seconds
        self._warm = min(_WARM_WITHIN, seconds / 5)
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._parts = ExitStack()
        self._lateness = Lateness()
        self._parts.callback(self._lateness.close)
        for _ in range(busy):
            self._parts.callback(subprocess.Popen([sys.executable, "-c", _BUSY]).kill)
        self._redis = RedisUnderFaults(folder, server)
        self._platform = Platform(self._redis.client, seed)
        self._parts.callback(self._platform.close)
        self._scheduler = Scheduler(self._platform, self._redis.client, seed)
        self._parts.callback(self._scheduler.close)
        self._parts.callback(self._redis.kill)  # before the platform, whose thread may wait for it
        self._webhook = Webhook()
        self._parts.callback(self._webhook.close)
        program = alertmanager_binary()
        alertmanager = Alertmanager(folder, program, self._webhook) if program else None
        if alertmanager:
            self._parts.callback(alertmanager.kill)
        self._target = Target(self._redis, self._platform)
        self._model = Model(self._platform, self._lateness)
        how = ("push" if sole_writer else "push beside rules") if alertmanager else "no push"
        python = f"Python {sys.version.split()[0]}, {busy} busy loops, {how}"
        self.report = Report(f"soak, seed {seed}, {self._redis.version}, {python}")
        self._pages = Pages(self._model, self.report) if alertmanager else None
        self._events = EventJudge(self._model, self.report)
        self._prober = Prober(self._model, self.report, self._pages, self._events)
        push = [f"--alertmanager.url={alertmanager.url}"] if alertmanager else []
        push += ["--alertmanager.sole-writer"] if alertmanager and sole_writer else []
        self._exporters = Exporters(
            self._redis, push, self._exporter_started, lambda wrong: self._prober.add_wrong("exporter", wrong)
        )
        self._parts.callback(self._exporters.kill)
        self._setup = Setup(
            self._platform, self._exporters, self._model, self._prober, self._pages, alertmanager, self._rng
        )
        self._table: Table | None = None
        self._course: Course | None = None
        self._rounds, self._heard = 0, 0
        self._pending: list[str] = []
        self._ending = False

    def close(self) -> None:
        """End all processes, in the reverse order of their start."""
        if self._table:
            self._table.kill()
        self._parts.close()
        self.report.beats, self.report.failed = self._platform.beats, self._platform.failed
        self.report.late = self._lateness.worst
        ledger = self._model.ledger
        self.report.ledgers, self.report.portfolios = ledger.judged, ledger.seen
        self.report.scheduler = self._scheduler.events

    def run(self) -> None:
        """Run until the time is over, then until the fault under way has ended."""
        self._end = time.monotonic() + self._seconds
        turns: dict[Callable[[], float], float] = dict.fromkeys(
            (
                *(self._scrape, self._let_node_act, self._fail, self._compare),
                *(self._show_table, self._judge_pages, self._read_journal, self._look_at_cpu),
            ),
            0.0,
        )
        turns[self._fail] = time.monotonic() + FIRST_FAULT
        while not self._ending or self._course or self._table:
            self._ending = time.monotonic() >= self._end
            for turn, due in turns.items():
                if time.monotonic() >= due:
                    turns[turn] = turn() + time.monotonic()
            time.sleep(0.01)
        self._scrape()
        self._judge_pages()
        for process in self.report.processes:
            for leak in process.leaks():
                self._prober.add_wrong("exporter", leak)

    # --- turns: each returns the seconds until it is its turn again -------------------------

    def _scrape(self) -> float:
        if self._exporters.ready:
            self._prober.scrape(self._exporters.current, steady=self._course is None)
        elif self._course is None:
            output = self._exporters.current.output[-2000:]
            self._prober.add_wrong("exporter", f"ended by itself: {output}")
            self._exporters.start()
        return self._rng.uniform(*SCRAPE_EVERY)

    def _compare(self) -> float:
        if self._course is None and self._exporters.ready:
            self._prober.compare(self._exporters.current)
        return self._rng.uniform(*COMPARE_EVERY)

    def _judge_pages(self) -> float:
        notices = self._webhook.notices
        for notice in notices[self._heard :]:
            self._heard += 1
            if self._pages and not self._pages.disturbed(notice.at):
                self._events.heard(notice)
        for wrong in self._pages.judge(notices) if self._pages else ():
            self._prober.add_wrong("page", wrong)
        return JUDGE_PAGES_EVERY

    def _read_journal(self) -> float:
        if self._exporters.ready:
            self._prober.read_journal(self._exporters.current)
        return READ_JOURNAL_EVERY

    def _look_at_cpu(self) -> float:
        if self._exporters.ready:
            share = self.report.processes[-1].note_cpu(time.monotonic(), self._exporters.current.cpu_seconds)
            if share > BUSIEST:
                self._prober.add_wrong("exporter", f"used {share:.0%} of a core since the last look")
        return LOOK_AT_CPU_EVERY

    def _show_table(self) -> float:
        if self._table:
            if not self._table.judged_by(self._prober):
                return _SOON
            self._table = None
            return TABLE_EVERY
        if self._course is None and not self._ending:
            self._table = Table(self._redis)
        return _SOON

    def _let_node_act(self) -> float:
        if self._setup.calm:
            return _SOON
        acts = {act: self._platform.in_mode(before) for act, (before, *_) in ACTS.items()}
        # A stop that does not reach Redis looks like a crash, and so does the stop of a node that was never seen.
        last = self._prober.last
        seen = last.nodes if last and last.nodes and not self._course else {}
        acts["stop"] = [name for name in acts["stop"] if name in seen and seen[name].state is State.ONLINE]
        if possible := [act for act, names in acts.items() if names]:
            (act,) = self._rng.choices(possible, [ACTS[act][2] for act in possible])
            self._platform.act(self._rng.choice(acts[act]), act)
            self.report.acts[act] += 1
        return self._rng.uniform(*ACT_EVERY)

    def _fail(self) -> float:
        """Continue the fault under way, or begin another one."""
        if self._course is None:
            if self._ending or self._table or not self._platform.settled:
                return _SOON
            self._course = self._next_course()
        try:
            return next(self._course)
        except StopIteration:
            self._course = None
            return self._rng.uniform(*FAULT_EVERY)

    # --- faults ----------------------------------------------------------------------------

    def _next_course(self) -> Course:
        if not self._pending:
            self._pending = self._shuffled()
        kind = self._pending.pop()
        self.report.faults[kind] += 1
        self._prober.last_fault = f"{kind}, {time.monotonic() - self.report.began:.2f} s"
        if kind == RESTARTED:
            return restart_exporter(self._setup)
        if kind == BOTH_RESTARTED:
            return self._restart_both()
        incident = INCIDENTS.get(kind) or PUSH_INCIDENTS.get(kind)
        return incident(self._setup) if incident else self._begin(kind)

    def _shuffled(self) -> list[str]:
        """Return each kind of fault once, in a random order."""
        self._rounds += 1
        kinds = [*FAULTS, *INCIDENTS, *(PUSH_INCIDENTS if self._pages else ())]
        if self._rounds % FAR_AWAY_EVERY != 1 or self._seconds < LONG_RUN:
            kinds.remove(FAR_AWAY)
        if not self._redis.tells_of_pauses:
            kinds.remove(PAUSED)
        if self._end - time.monotonic() > self._seconds / 2:  # the last process must run for long
            kinds += [RESTARTED, BOTH_RESTARTED]
        self._rng.shuffle(kinds)
        return kinds

    def _begin(self, kind: str) -> Course:
        fault, course = fault_of(self._target, kind, self._rng)
        self._model.chance.faults.append(fault)
        return course

    def _restart_both(self) -> Course:
        course = self._begin("killed, back after a while")
        down = next(course)
        yield from restart_exporter(self._setup)
        yield down
        yield from course

    def _exporter_started(self) -> None:
        self._model.exporter_started(time.monotonic())
        self._events.exporter_started(time.monotonic())
        self._prober.forget()
        if self._pages:
            self._pages.exporter_started()
        self.report.processes.append(Process(time.monotonic(), self._warm))
