"""``make soak``: nodes come, go, crash and return while Redis fails, and every answer of the exporter is judged.

Times are a tenth of the platform's. One thread scrapes, makes faults and judges; the platform has a thread of its own.
"""

import argparse
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.retry import Retry

from exporter.contract import LOADED_FIELD, STATUS_FIELD
from exporter.demo.platform import Disk, Platform
from lab.monitoring import Alertmanager, Webhook, one_receiver
from lab.oracle import DISCOVERY, OFFLINE, ONLINE, READ_TIMEOUT, UNDECIDED, Answer, Oracle, of_json, of_scrape
from lab.pages import Events, Pages
from lab.platform import RandomNode
from lab.servers import Exporter, RedisServer, wait_for
from lab.truth import GRACE, HOLD, PLAN, TTL, UNREADABLE, Chance, Fault, Lateness, Recorder, Span

SPEED: Final = 30 / TTL
NAMES: Final = (
    *(f"node-{number}" for number in range(18)),
    *("with space", 'with "quotes" and \\', "with\nline", "a:b:c", "节点-1", "<b>bold</b> & co"),
)
PORTFOLIOS: Final = (*(f"portfolio-{number}" for number in range(60)), "with space", 'with "quotes"', "a:b:c", "组合-1")
MISTAKES: Final = {"hung": 3, "moved": 20, "astray": 6, "empty database": 2, "died before HSET": 2, "": 67}
"""What a look of the scheduler may do besides, and how often of all looks, in percent."""
SCRAPE_TIMEOUT: Final = 5.0
SHORT: Final = (0.2, 0.9)
"""Seconds that a node survives: its heartbeat lives for three beats."""
LONG: Final = (6.0, 8.0)
"""Seconds that are a fault: after more than five seconds the contract gives nodes time to beat."""
AWAY: Final = (66.0, 68.0)
"""Seconds that raise GinkgoRedisUnreachable: Redis could not be read for 60 s of two minutes."""
_TOLD: Final = 50
_SOON: Final = 0.05
CRASH_LOOP, FAR_AWAY = "crash loop", "away for over a minute"


class Mode(StrEnum):
    """What a node does now."""

    GONE = "gone"
    STARTING = "starting"
    LIVING = "living"
    FROZEN = "frozen"
    CRASHED = "crashed"
    STOPPING = "stopping"


ACTS: Final = {
    "start": (Mode.GONE, Mode.STARTING, 4),
    "stop": (Mode.LIVING, Mode.STOPPING, 1),
    "crash": (Mode.LIVING, Mode.CRASHED, 1),
    "return": (Mode.CRASHED, Mode.STARTING, 2),
    "freeze": (Mode.LIVING, Mode.FROZEN, 1),
    "thaw": (Mode.FROZEN, Mode.LIVING, 2),
}
"""Changes of a node: its mode before, its mode afterwards, and the weight of the change among all changes."""


@dataclass
class SoakNode(RandomNode):
    """A node that starts and stops at its next beat that Redis takes, and tries again at the one after that."""

    mode: Mode = Mode.GONE

    def act(self, act: str) -> None:
        """Change what the node does."""
        self.mode, self.due = ACTS[act][1], 0.0
        self.alive = self.mode not in (Mode.CRASHED, Mode.FROZEN)

    def beat(self, redis: Any, now: float) -> None:
        """Do what the mode says."""
        heartbeat, metrics = self.own_keys
        if self.mode is Mode.STOPPING:
            redis.delete(heartbeat)
            redis.delete(metrics)
            self.mode, self.alive, self.loaded = Mode.GONE, False, ()
            return
        if self.mode is Mode.STARTING:
            redis.delete(metrics)
            redis.delete(heartbeat)
            self.births.append(time.monotonic())
            self.counters.clear()
            self.mode, self.loaded = Mode.LIVING, ()
        super().beat(redis, now)


class SoakPlatform(Platform):
    """The platform, whose scheduler makes mistakes, in a thread of its own."""

    def __init__(self, recorder: Recorder, dice: random.Random) -> None:
        older = frozenset({STATUS_FIELD, LOADED_FIELD})
        nodes = [
            SoakNode(name, number, ttl=TTL, dice=dice, leaves_out=frozenset() if number % 3 else older)
            for number, name in enumerate(NAMES)
        ]
        super().__init__(recorder, nodes, lambda: time.monotonic() * SPEED)  # type: ignore[arg-type] # it is a client
        self.soaked: dict[str, SoakNode] = {node.node_id: node for node in nodes}
        self.portfolios = set(PORTFOLIOS[:50])
        self.next_look = self.clock() + 30
        self.mistakes: Counter[str] = Counter()
        self._mishaps, self._over = random.Random(dice.random()), Event()  # noqa: S311 - no secret
        self._thread = Thread(target=self._run, name="platform", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(TTL)

    def in_mode(self, *modes: Mode) -> list[str]:
        """Return the names of the nodes in one of these modes."""
        return [name for name, node in self.soaked.items() if node.mode in modes]

    def look(self) -> None:
        """Look at the plan, and make a mistake now and then."""
        dice = self._mishaps
        (mistake,) = dice.choices(tuple(MISTAKES), tuple(MISTAKES.values()))
        self.mistakes[mistake or "none"] += 1
        self.stays, everything = dice.random() < 1 / 2, self.portfolios
        if dice.random() < 1 / 10:
            everything ^= {dice.choice(PORTFOLIOS)}
        if mistake == "hung":
            self.next_look += 60
            return
        if mistake == "died before HSET":
            self.redis.delete(PLAN)
            return
        self.portfolios = set() if mistake == "empty database" else everything
        try:
            super().look()
        finally:
            self.portfolios = everything
        living = self.in_mode(Mode.LIVING)
        if mistake in ("moved", "astray") and living:
            portfolio, name = dice.choice(PORTFOLIOS), dice.choice(living)
            if mistake == "moved":
                self.redis.hset(PLAN, mapping={portfolio: name})
            else:
                self.soaked[name].loaded = (*{*self.soaked[name].loaded, portfolio},)

    def _run(self) -> None:
        while not self._over.wait(0.02):
            self.step()


class FaultyRedis(RedisServer):
    """A Redis that loses no confirmed write if it is killed: it writes to a file before each reply, without a sync."""

    def __init__(self, folder: Path, program: str) -> None:
        super().__init__(folder, program, "--appendonly", "yes", "--appendfsync", "no")
        self.control = self.client(socket_timeout=60)

    def ready(self) -> None:
        """Wait until it answers."""
        wait_for(self.answers, "for Redis")
        self.control = self.client(socket_timeout=60)

    def cut(self) -> None:
        """Close all connections but the soak's own."""
        self.control.client_kill_filter(_type="normal", skipme=True)


Course = Iterator[float]
"""The course of a fault. It yields the seconds to wait before its next step."""


Step = Callable[[], object]


class Faults:
    """The faults of Redis: each begins, lasts a while, and ends with Redis as it was before.

    Args:
        server: The Redis.
        recorder: Takes note of lost data.

    Attributes:
        all: Of each fault its begin, its end, the least and the most seconds between them, and what it is besides.
    """

    def __init__(self, server: FaultyRedis, recorder: Recorder) -> None:
        self._redis, self._recorder = server, recorder
        self._back: Step = lambda: None
        kill, start, readable = server.kill, server.start, ("readable",)
        snapshot = self._fail_to_save, self._save
        self.all: dict[str, tuple[Step, Step, Span, tuple[str, ...]]] = {
            "killed, back with its data": (kill, start, SHORT, ("restart",)),
            "killed, back after a while": (kill, start, LONG, ("restart",)),
            "killed, back empty": (self._kill, self._start_empty, SHORT, ("restart",)),
            "killed, back empty after a while": (self._kill, self._start_empty, LONG, ("restart",)),
            CRASH_LOOP: (kill, start, (1.6, 2.0), ("restart",)),
            "hangs for a moment": (server.pause, server.resume, SHORT, ()),
            "hangs": (server.pause, server.resume, LONG, ()),
            FAR_AWAY: (server.pause, server.resume, AWAY, ()),
            "connections cut": (server.cut, server.cut, (0.0, 0.1), ()),
            "busy with a script": (self._run_script, self._end_script, LONG, ()),
            "writes refused, memory full": (*self._setting("maxmemory"), LONG, readable),
            "writes refused for a moment": (*self._setting("maxmemory"), SHORT, readable),
            "writes refused, no replica": (*self._setting("min-replicas-to-write"), LONG, readable),
            "writes refused, snapshot failed": (*snapshot, LONG, readable),
            "all data deleted": (self._flush, server.ready, (0.0, 0.1), ("readable", "flush")),
        }
        if "paused_actions" in server.control.info("clients"):  # Redis 8.0 does not tell of pauses
            pause = (lambda: server.control.client_pause(60_000, all=False)), (lambda: server.control.client_unpause())  # noqa: PLW0108 - the client changes
            self.all["writes paused"] = *pause, LONG, ("readable", "paused")

    def course(self, kind: str, fault: Fault, dice: random.Random) -> Course:
        """Make a fault. In a crash loop Redis's runs are too short for the nodes to beat."""
        begin, end, bounds, flags = self.all[kind]
        fault.since, loops = time.monotonic(), 6 if kind == CRASH_LOOP else 1
        for flag in flags:
            setattr(fault, flag, True)
        for _ in range(loops):
            if time.monotonic() - fault.down_until > 1.4:
                fault.down_from = math.inf  # the machine was slow, and the last run was long enough
            begin()
            fault.down_from = min(fault.down_from, time.monotonic())
            yield dice.uniform(*bounds)
            fault.down_until = time.monotonic()
            end()
            yield 0.4 if loops > 1 else 0.0
        self._redis.ready()
        fault.until = time.monotonic()

    def _kill(self) -> None:
        begun = time.monotonic()
        self._redis.kill()
        self._back = self._recorder.lose(begun)

    def _start_empty(self) -> None:
        shutil.rmtree(self._redis.folder / "appendonlydir")
        self._redis.start()
        self._back()

    def _run_script(self) -> None:
        """Let Redis execute a script that keeps it from answering other clients; from then on it answers BUSY."""
        self._redis.control.config_set("busy-reply-threshold", 500)
        self._connection = self._redis.control.connection_pool.get_connection()
        self._connection.send_command("EVAL", "while true do end", "0")

    def _end_script(self) -> None:
        with self._redis.client() as client:
            client.script_kill()
        self._connection.disconnect()

    def _setting(self, name: str) -> tuple[Step, Step]:
        """Return how a setting makes Redis refuse writes, and how that ends."""
        return lambda: self._redis.control.config_set(name, 1), lambda: self._redis.control.config_set(name, 0)

    def _fail_to_save(self) -> None:
        """Let a snapshot fail. Redis then refuses all writes until another snapshot succeeds."""
        self._disk = Disk(self._redis.control, self._redis.folder)
        self._disk.fill()

    def _save(self) -> None:
        self._disk.free()
        control = self._redis.control
        wait_for(lambda: control.info("persistence")["rdb_last_bgsave_status"] == "ok", "for a snapshot")

    def _flush(self) -> None:
        self._recorder.flush(self._redis.control.flushall)


class Soak:
    """One run.

    Args:
        folder: For the servers' data.
        seed: Decides what happens. The exact times depend on the machine.
        server: Program of the Redis.
        stack: Ends all processes.
    """

    def __init__(self, folder: Path, seed: int, server: str, stack: ExitStack) -> None:
        self._dice, self._folder = random.Random(seed), folder  # noqa: S311 - no secret
        self._lateness = Lateness()
        stack.callback(self._lateness.close)
        self._redis = FaultyRedis(folder / "redis", server)
        self._recorder = Recorder(self._redis.client(retry=Retry(NoBackoff(), 0), socket_timeout=None))
        self._platform = SoakPlatform(self._recorder, random.Random(seed))  # noqa: S311
        stack.callback(self._platform.close)
        stack.callback(self._redis.kill)  # before the platform, whose thread may wait for it
        self._webhook = stack.enter_context(Webhook())
        self._alertmanager = Alertmanager(folder / "alertmanager", one_receiver(self._webhook.url, 0.0, 0.2))
        stack.callback(self._alertmanager.kill)
        self._chance = Chance(self._recorder, self._lateness)
        self._oracle = Oracle(self._platform.soaked, self._recorder, self._chance)
        self._pages, self._events = Pages(self._oracle), Events(self._oracle)
        self._faults = Faults(self._redis, self._recorder)
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in ("answers", "states", "acts", "faults")}
        self.wrong: list[str] = []
        self._began, self._fault = time.monotonic(), "none yet"
        self._last: Answer | None = None
        self._calm = self._suspended = False
        self._own: dict[tuple[str, ...], float] = {}
        self._processes, self._slowest = 0, 0.0
        self._course: Course | None = None
        self._pending: list[str] = []
        self._incidents: dict[str, Callable[[], Course]] = {
            "exporter restarted": self._restart_exporter,
            "exporter suspended": lambda: self._suspend_exporter(LONG),
            "exporter suspended for a moment": lambda: self._suspend_exporter(SHORT),
            "Alertmanager killed": self._kill_alertmanager,
            "a third of the nodes killed at once": self._lose_many,
        }
        self._exporter = self._start_exporter()
        stack.callback(lambda: self._exporter.kill())  # noqa: PLW0108 - the one that then runs

    def run(self, seconds: float) -> None:
        """Run until the time is over, then until the fault under way has ended."""
        end, ending = time.monotonic() + seconds, False
        turns: dict[Callable[[], float], float] = dict.fromkeys(
            (self._scrape, self._act, self._ask_api, self._judge_pages, self._read_journal), 0.0
        )
        fail = time.monotonic() + 6.0
        while not ending or self._course:
            ending = time.monotonic() >= end
            if time.monotonic() >= fail and (self._course or not ending):
                fail = self._fail(long=seconds > 600) + time.monotonic()
            for turn, due in turns.items():
                if time.monotonic() >= due:
                    turns[turn] = turn() + time.monotonic()
            time.sleep(0.01)
        self._judge_pages()

    def blame(self, source: str, what: str) -> None:
        """Note a wrong answer or deed of the exporter, and print it."""
        self.wrong.append(f"{time.monotonic() - self._began:8.2f} s  {source}: {what}  [last fault: {self._fault}]")
        if len(self.wrong) <= _TOLD:
            print(self.wrong[-1], file=sys.stderr, flush=True)  # noqa: T201

    def report(self) -> Iterator[str]:
        """Yield the lines of the report."""
        yield f"lasted {time.monotonic() - self._began:,.0f} s; slowest scrape {self._slowest:.2f} s;"
        yield f"latest wake-up of the soak's own threads {self._lateness.worst:.2f} s"
        counts = {**self.counts, "looks of the scheduler": self._platform.mistakes, "pages": self._pages.counts}
        counts |= {"events": self._events.counts, "ledger": Counter({"portfolios judged": self._oracle.portfolios})}
        for name, counter in counts.items():
            yield f"\n{name}"
            yield from (f"  {what:<48}{count:>8,}" for what, count in sorted(counter.items()))
        yield f"\nwrong: {len(self.wrong)}"
        yield from self.wrong[:_TOLD]

    # --- turns: each returns the seconds until it is its turn again ------------------------

    def _get(self, path: str) -> tuple[float, float, str] | None:
        """Return the times of request and answer, and the body; None if the exporter is wrong or suspended."""
        if self._suspended:
            return None
        since = time.monotonic()
        try:
            answer = self._exporter.get(path, timeout=SCRAPE_TIMEOUT, X_Prometheus_Scrape_Timeout_Seconds="5")
        except OSError as error:
            self.blame("exporter", f"{path} was not answered within {time.monotonic() - since:.1f} s: {error!r}")
            if not self._exporter.alive:
                self.blame("exporter", f"ended by itself: {self._exporter.output()[-2000:]}")
                self._exporter = self._start_exporter()
            return None
        if answer.status != 200:
            self.blame("exporter", f"{path} answered {answer.status}")
            return None
        return since, time.monotonic(), answer.text

    def _judge(self, answer: Answer) -> None:
        asked = f"asked {answer.until - answer.since:.2f} s before, slack {self._chance.slack:.2f}"
        for wrong in self._oracle.judge(answer):
            self.blame(answer.source, f"{wrong}; {asked}")
        self.counts["answers"][answer.source if answer.states is not None else f"{answer.source}, no Redis"] += 1
        self.counts["states"].update((answer.states or {}).values())
        self._pages.saw(answer)
        self._events.saw(answer)

    def _scrape(self) -> float:
        if got := self._get("/metrics"):
            try:
                answer = of_scrape(*got)
            except ValueError as error:
                self.blame("scrape", str(error))
                return _SOON
            self._slowest = max(self._slowest, answer.until - answer.since)
            self._judge(answer)
            self._last = answer
            self._judge_own(answer)
        return self._dice.uniform(0.1, 0.6)

    def _judge_own(self, answer: Answer) -> None:
        """Judge the exporter's samples about itself."""
        for sample, value in answer.own.items():
            before, told = self._own.get(sample, 0.0), " ".join(sample)
            counts = sample[0].endswith(("_total", "_count", "_bucket", "_sum"))
            if counts and value < before and sample[0] != "ginkgo_redis_refused_writes_total":
                self.blame("scrape", f"{told} went back from {before} to {value}")
            if sample[0].endswith(("invalid_values_total", "internal_errors_total")) and value > before:
                self.blame("scrape", f"{told} rose to {value}")
        self._own = dict(answer.own)
        for state in (ONLINE, OFFLINE, UNDECIDED) if answer.states is not None else ():
            count = sum(each == state for each in (answer.states or {}).values())
            if answer.own.get(("ginkgo_nodes", f"state={state}")) != count:
                self.blame("scrape", f"ginkgo_nodes of {state} is not the {count} that it shows")

    def _ask_api(self) -> float:
        if got := self._get("/api/v1/nodes"):
            self._judge(of_json(*got))
        return self._dice.uniform(0.5, 2.0)

    def _judge_pages(self) -> float:
        for wrong in self._pages.judge(self._webhook.notices):
            self.blame("page", wrong)
        return 0.2

    def _read_journal(self) -> float:
        since = max(self._exporter.started, time.monotonic() - 60) + self._events.behind
        asked = time.monotonic()
        if got := self._get(f"/api/v1/events?since={since:.3f}&limit=1000"):
            events = json.loads(got[2])["events"]
            for wrong in self._events.judge(sorted(events, key=lambda event: float(event["time"])), asked):
                self.blame("journal", wrong)
        return 2.0

    def _act(self) -> float:
        if self._calm:
            return _SOON
        acts = {act: self._platform.in_mode(before) for act, (before, *_) in ACTS.items()}
        # A stop that does not reach Redis looks like a crash, and so does the stop of a node that was never seen.
        seen = self._last.states or {} if self._last and not self._course else {}
        acts["stop"] = [name for name in acts["stop"] if seen.get(name) == ONLINE]
        if possible := [act for act, names in acts.items() if names]:
            (act,) = self._dice.choices(possible, [ACTS[act][2] for act in possible])
            self._platform.soaked[self._dice.choice(acts[act])].act(act)
            self.counts["acts"][act] += 1
        return self._dice.uniform(0.3, 2.0)

    # --- faults ----------------------------------------------------------------------------

    def _fail(self, *, long: bool) -> float:
        """Continue the fault under way, or begin another one; return the seconds until its next step."""
        if self._course is None:
            if self._platform.in_mode(Mode.STARTING, Mode.STOPPING):
                return _SOON
            if not self._pending:
                self._pending = [*self._faults.all, *self._incidents]
                if not long or self._dice.random() < 3 / 4:
                    self._pending.remove(FAR_AWAY)
                self._dice.shuffle(self._pending)
            kind = self._pending.pop()
            self.counts["faults"][kind] += 1
            self._fault = f"{kind}, {time.monotonic() - self._began:.2f} s"
            self._course = self._incidents[kind]() if kind in self._incidents else self._begin(kind)
        try:
            return next(self._course)
        except StopIteration:
            self._course = None
            return self._dice.uniform(1.0, 8.0)

    def _begin(self, kind: str) -> Course:
        fault = Fault(kind, time.monotonic())
        self._chance.faults.append(fault)
        return self._faults.course(kind, fault, self._dice)

    def _flags(self) -> list[str]:
        return [f"--redis.url={self._redis.url}", f"--heartbeat.ttl={TTL:g}s"]

    def _start_exporter(self) -> Exporter:
        self._processes += 1
        times = (f"--discovery.interval={DISCOVERY:g}s", f"--redis.timeout={READ_TIMEOUT:g}s")
        push = (f"--alertmanager.url={self._alertmanager.url}", "--alertmanager.sole-writer")
        exporter = Exporter(self._folder / f"exporter-{self._processes}", *self._flags(), *times, *push)
        wait_for(lambda: not exporter.alive or _listens(exporter), "for the exporter")
        self._oracle.exporter_started(time.monotonic())
        self._events.exporter_started(time.monotonic())
        self._pages.exporter_started()
        self._own, self._last = {}, None
        return exporter

    def _restart_exporter(self) -> Course:
        self._pages.disturb()
        if code := self._exporter.stop():
            self.blame("exporter", f"ended with {code} when told to: {self._exporter.output()[-500:]}")
        self._exporter = self._start_exporter()
        self._pages.undisturb()
        yield 0.0

    def _suspend_exporter(self, bounds: tuple[float, float]) -> Course:
        """Suspend the exporter. It must not mistake its own silence for silence of the nodes."""
        fault = Fault("exporter suspended", time.monotonic(), suspended=True)
        self._chance.faults.append(fault)
        self._pages.disturb()
        self._suspended = True
        self._exporter.send(signal.SIGSTOP)
        fault.down_from = time.monotonic()
        yield self._dice.uniform(*bounds)
        fault.down_until = time.monotonic()
        self._exporter.send(signal.SIGCONT)
        self._suspended = False
        yield 1.0
        fault.until = time.monotonic()
        self._pages.undisturb()

    def _kill_alertmanager(self) -> Course:
        self._pages.disturb()
        self._alertmanager.kill()
        yield self._dice.uniform(*LONG)
        self._alertmanager.start()
        self._pages.undisturb()

    def _lose_many(self) -> Course:
        """Kill a third of the nodes at once, and check that the exporter sees one mass loss."""
        self._calm = True
        yield GRACE + HOLD + UNREADABLE
        known, living = (self._last.states or {}) if self._last else {}, self._platform.in_mode(Mode.LIVING)
        killed = [name for name in living if known.get(name) == ONLINE]
        killed = self._dice.sample(killed, min(len(killed), max(3, math.ceil(len(living) / 2))))
        for name in killed:
            self._platform.soaked[name].act("crash")
        yield TTL + HOLD + 1.5 + self._chance.slack
        last = self._last or Answer("scrape", 0, 0, {})
        alone = {name for name in killed if (last.states or {}).get(name) == OFFLINE} - last.lost
        if len(killed) > max(3, len(living) / 3) and self._chance.slack < 1 and alone:
            self.blame("mass loss", f"{sorted(alone)} are no members of the loss of {sorted(killed)}")
        self._calm = False


def _listens(exporter: Exporter) -> bool:
    try:
        return exporter.get("/-/healthy", timeout=5).status == 200
    except OSError:
        return False


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command line."""
    parser.add_argument("--minutes", type=float, default=60, help="how long [%(default)s]")
    seed = random.SystemRandom().randrange(10**6)
    parser.add_argument("--seed", type=int, default=seed, help="decides what happens [random]")
    parser.add_argument("--server", default="redis-server", help="program of the Redis [%(default)s]")
    parser.add_argument("--busy", type=int, default=0, help="processes that keep the machine busy [0]")


def run(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> bool:
    """Run the soak, print its report, and return whether the exporter was never wrong."""
    for _ in range(arguments.busy):
        stack.callback(subprocess.Popen([sys.executable, "-c", "while True: pass"]).kill)
    soak = Soak(folder, arguments.seed, arguments.server, stack)
    try:
        soak.run(arguments.minutes * 60)
    finally:
        print(f"soak, seed {arguments.seed}, {arguments.server}", *soak.report(), sep="\n", flush=True)  # noqa: T201
    return not soak.wrong
