"""The course of a soak: what happens when, on one thread beside the platform's own."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from exporter.liveness.judge import State
from soak.faults import FAULTS, Acting, Stage, strike
from soak.model import GRACE, Model
from soak.nodes import ACTS, Platform
from soak.report import Process, Report
from soak.servers import STOP_WITHIN, ExporterUnderTest, RedisUnderFaults
from soak.witness import Table, Witness

SCRAPE_EVERY: Final = (0.1, 0.6)
ACT_EVERY: Final = (0.1, 1.0)
COMPARE_EVERY: Final = (0.5, 2.0)
TABLE_EVERY: Final = 10.0
STEADY: Final = GRACE + 1.5
"""Seconds from one fault to the next, at least."""
QUIET: Final = 1.0
"""Seconds to the next fault after one that gives nodes no time."""
LIVES: Final = 3
"""Processes of the exporter in one run: the last must grow old."""
RESTARTED: Final = "exporter restarted"
BOTH_RESTARTED: Final = "killed, and the exporter restarted meanwhile"
_SOON: Final = 0.05
_WARM_WITHIN: Final = 600.0
"""Seconds in which memory may find its size: Python looks for garbage after so many allocations."""


class Soak:
    """One run.

    Args:
        folder: For Redis's data.
        seconds: How long.
        seed: Decides what happens; the moments are the machine's.
        server: Program of the Redis; None for one that is installed.
    """

    def __init__(self, folder: Path, seconds: float, seed: int, server: str | None = None) -> None:
        self._seconds = seconds
        self._warm = min(_WARM_WITHIN, seconds / 5)
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self._redis = RedisUnderFaults(folder, server)
        self._platform = Platform(self._redis.client, seed)
        self._stage = Stage(self._redis, self._platform)
        self._model = Model(self._platform)
        self.report = Report(f"soak, seed {seed}, {self._redis.version}, Python {sys.version.split()[0]}")
        self._witness = Witness(self._model, self.report)
        self._exporter = self._started()
        self._table: Table | None = None
        self._course: Acting | None = None
        self._course_since = 0.0
        self._deck: list[str] = []
        self._ending = False

    def close(self) -> None:
        """End all processes, the last one here first."""
        with ExitStack() as parts:
            parts.callback(self._exporter.stop)
            parts.callback(self._platform.close)
            parts.callback(self._redis.kill)  # before the platform, whose thread may wait for it
            if self._table:
                parts.callback(self._table.kill)

    def run(self) -> None:
        """Let things happen, then let what is under way end."""
        end = time.monotonic() + self._seconds
        turns: dict[Callable[[], float], float] = dict.fromkeys(
            (self._scrape, self._let_node_act, self._fail, self._compare, self._show_table), 0.0
        )
        turns[self._fail] = time.monotonic() + GRACE
        while not self._ending or self._course or self._table:
            self._ending = time.monotonic() >= end
            for turn, due in turns.items():
                if time.monotonic() >= due:
                    turns[turn] = turn() + time.monotonic()
            time.sleep(0.01)
        self._scrape()
        for process in self.report.processes:
            for leak in process.leaks():
                self._witness.accuse("exporter", leak)
        self.report.beats = self._platform.beats

    # --- turns: each returns the seconds until it is its turn again -------------------------

    def _scrape(self) -> float:
        if self._exporter.alive:
            self._witness.scrape(self._exporter, steady=self._course is None)
        elif self._course is None:
            self._witness.accuse("exporter", f"ended by itself: {self._exporter.output[-2000:]}")
            self._exporter = self._started()
        return self._dice.uniform(*SCRAPE_EVERY)

    def _compare(self) -> float:
        if self._course is None and self._exporter.alive:
            self._witness.compare(self._exporter)
        return self._dice.uniform(*COMPARE_EVERY)

    def _show_table(self) -> float:
        if self._table:
            if not self._table.judged_by(self._witness):
                return _SOON
            self._table = None
            return TABLE_EVERY
        if self._course is None and not self._ending:
            self._table = Table(self._redis)
        return _SOON

    def _let_node_act(self) -> float:
        acts = {act: self._platform.in_mode(before) for act, (before, *_) in ACTS.items()}
        # A stop that Redis hears nothing of, or of a node that the exporter has not seen, is as good as a crash.
        last = self._witness.last
        seen = last.nodes if last and last.nodes and not self._course else {}
        acts["stop"] = [name for name in acts["stop"] if name in seen and seen[name].state is State.ONLINE]
        if possible := [act for act, names in acts.items() if names]:
            (act,) = self._dice.choices(possible, [ACTS[act][2] for act in possible])
            self._platform.act(self._dice.choice(acts[act]), act)
            self.report.acts[act] += 1
        return self._dice.uniform(*ACT_EVERY)

    def _fail(self) -> float:
        """Let the fault under way go on, or begin one."""
        if self._course is None:
            if self._ending or self._table or not self._platform.settled or not self._all_decided:
                return _SOON
            self._course, self._course_since = self._next_course(), time.monotonic()
        try:
            return next(self._course)
        except StopIteration:
            self._course = None
            grave = any(fault.extends and fault.since >= self._course_since for fault in self._model.faults)
            return STEADY if grave else QUIET

    @property
    def _all_decided(self) -> bool:
        """Whether everybody has shown what it is: the contract gives a node time to beat once in five minutes."""
        last = self._witness.last
        return (
            last is not None
            and last.nodes is not None
            and all(seen.state is not State.UNDECIDED for seen in last.nodes.values())
        )

    # --- faults ----------------------------------------------------------------------------

    def _next_course(self) -> Acting:
        if not self._deck:
            restarts = (RESTARTED, BOTH_RESTARTED) if len(self.report.processes) < LIVES else ()
            self._deck = [*FAULTS, *restarts]
            self._dice.shuffle(self._deck)
        kind = self._deck.pop()
        self.report.faults[kind] += 1
        self._witness.last_fault = f"{kind}, {time.monotonic() - self.report.began:.2f} s"
        if kind == RESTARTED:
            return self._restart_exporter()
        return self._restart_both() if kind == BOTH_RESTARTED else self._strike(kind)

    def _strike(self, kind: str) -> Acting:
        fault, course = strike(self._stage, kind, self._dice)
        self._model.faults.append(fault)
        return course

    def _restart_both(self) -> Acting:
        course = self._strike("killed, back after a while")
        down = next(course)
        yield from self._restart_exporter()
        yield down
        yield from course

    def _restart_exporter(self) -> Acting:
        self._exporter.send(signal.SIGTERM)
        try:
            if code := self._exporter.wait(STOP_WITHIN):
                self._witness.accuse("exporter", f"ended with {code} when told to: {self._exporter.output[-500:]}")
        except subprocess.TimeoutExpired:
            self._witness.accuse("exporter", f"did not end within {STOP_WITHIN:g} s")
        self._exporter.stop()
        yield 0.0
        self._exporter = self._started()

    def _started(self) -> ExporterUnderTest:
        exporter = ExporterUnderTest(self._redis)
        self._model.exporter_started(time.monotonic())
        self._witness.forget()
        self.report.processes.append(Process(time.monotonic(), self._warm))
        return exporter
