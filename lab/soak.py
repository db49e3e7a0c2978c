"""``make soak``: nodes come, go, crash and return while Redis fails, and every scrape and page is judged.

Times are a tenth of the platform's. One thread scrapes, makes faults and judges; the platform has a thread of its own.
"""

import argparse
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.retry import Retry

from exporter.contract import LOADED_FIELD, STATUS_FIELD
from exporter.demo.platform import Platform
from lab.monitoring import Alertmanager, Prometheus, Webhook, beside, one_receiver
from lab.oracle import DISCOVERY, READ_TIMEOUT, Oracle, Pages, answer_of
from lab.platform import RandomNode
from lab.servers import RedisServer, running_exporter, wait_for
from lab.truth import GRACE, HOLD, TTL, UNREADABLE, Chance, Fault, Recorder, Span

SPEED: Final = 30 / TTL
NAMES: Final = (
    *(f"node-{number}" for number in range(18)),
    "with space",
    'with "quotes" and \\',
    "with\nline",
    "a:b:c",
    "节点-1",
    "<b>bold</b> & co",
)
SCRAPE_TIMEOUT: Final = 5.0
SHORT: Final = (0.2, 0.9)
"""Seconds that a node survives: its heartbeat lives for three beats."""
LONG: Final = (6.0, 8.0)
"""Seconds that are a fault: after more than five seconds the contract gives nodes time to beat."""
CRASH_LOOP: Final = "killed again and again"
MANY_DEATHS: Final = "half of the nodes killed at once"
_SOON: Final = 0.05


GONE, LIVING, CRASHED = "gone", "living", "crashed"
"""What a node does now."""
Deed = Callable[[RandomNode, Any, float], object]
ACTS: Final[dict[str, tuple[str, int, Deed]]] = {
    "start": (GONE, 4, RandomNode.start),
    "stop": (LIVING, 1, lambda node, redis, _: node.stop(redis)),
    "crash": (LIVING, 2, lambda node, *_: node.crash()),
    "start again": (CRASHED, 2, RandomNode.start),
    "go on": (CRASHED, 1, lambda node, *_: setattr(node, "alive", True)),
}
"""Changes of a node: what it did before, the weight of the change among all changes, and the change."""
Step = Callable[[], object]
Course = Iterator[float]
"""The course of a fault. It yields the seconds to wait before its next step."""


class FaultyRedis(RedisServer):
    """A Redis and its faults; each begins, lasts a while, and ends with Redis as it was before.

    It loses no confirmed write if it is killed: it writes to a file before each reply, without a sync.

    Attributes:
        recorder: The platform's client.
        chance: The faults that were made.
        faults: Of each fault its begin, its end, the least and the most seconds between them, and what it is besides.
    """

    _back: Step

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "redis-server", "--appendonly", "yes", "--appendfsync", "no")
        control = self.client(socket_timeout=60)
        self.recorder = Recorder(self.client(retry=Retry(NoBackoff(), 0), socket_timeout=None))
        self.chance = Chance(self.recorder)
        self.faults: dict[str, tuple[Step, Step, tuple[Span, ...], tuple[str, ...]]] = {
            "killed, back with its data": (self.kill, self.start, (SHORT, LONG), ("loses",)),
            "killed, back empty": (self._kill_for_good, self._start_empty, (SHORT, LONG), ("loses",)),
            CRASH_LOOP: (self.kill, self.start, ((1.6, 2.0),), ("loses",)),
            "hangs": (self.pause, self.resume, (SHORT, LONG), ()),
            "writes refused, memory full": (
                lambda: control.config_set("maxmemory", 1),
                lambda: control.config_set("maxmemory", 0),
                (SHORT, LONG),
                ("readable",),
            ),
            "all data deleted": (  # at its end: a beat just before is lost, and one just after is not
                self.answers,
                lambda: self.recorder.flush(control.flushall),
                ((0.0, 0.1),),
                ("readable", "loses"),
            ),
        }

    def course(self, kind: str, dice: random.Random) -> Course:
        """Make a fault. In a crash loop Redis's runs are too short for the nodes to beat."""
        begin, end, spans, flags = self.faults[kind]
        fault = Fault(time.monotonic())
        self.chance.faults.append(fault)
        loops = 6 if kind == CRASH_LOOP else 1
        for flag in flags:
            setattr(fault, flag, True)
        for _ in range(loops):
            if time.monotonic() - fault.down_until > 1.4:
                fault.down_from = math.inf  # the machine was slow, and the last run was long enough
            begin()
            fault.down_from = min(fault.down_from, time.monotonic())
            yield dice.uniform(*dice.choice(spans))
            fault.down_until = time.monotonic()
            end()
            yield 0.4 if loops > 1 else 0.0
        wait_for(self.answers, "for Redis")
        fault.until = time.monotonic()

    def _kill_for_good(self) -> None:
        begun = time.monotonic()
        self.kill()
        self._back = self.recorder.lose(begun)

    def _start_empty(self) -> None:
        shutil.rmtree(self.folder / "appendonlydir")
        self.start()
        self._back()


def _live(platform: Platform) -> None:
    while True:
        platform.step()
        time.sleep(0.02)


class Soak:
    """One run.

    Args:
        folder: For the servers' data.
        seed: Decides what happens. The exact times depend on the machine.
        stack: Ends all processes.
        beside_rules: Whether Prometheus with the same rules is the other source of these alerts. Then an alert lasts
            some minutes longer, and its page tells of the next deaths of the node, too.
    """

    def __init__(self, folder: Path, seed: int, stack: ExitStack, *, beside_rules: bool) -> None:
        self._dice, self._folder = random.Random(seed), folder  # noqa: S311 - no secret
        self._redis = FaultyRedis(folder / "redis")
        older, dice = frozenset({STATUS_FIELD, LOADED_FIELD}), random.Random(seed)  # noqa: S311
        self._nodes = {
            name: RandomNode(name, number, ttl=TTL, dice=dice, leaves_out=frozenset() if number % 3 else older)
            for number, name in enumerate(NAMES)
        }
        recorder = self._redis.recorder
        self._platform = Platform(recorder, [*self._nodes.values()], lambda: time.monotonic() * SPEED)  # type: ignore[arg-type] # it is a client
        self._platform.portfolios = {f"portfolio-{number}" for number in range(50)}
        self._acting: set[str] = set()  # nodes whose act is under way
        Thread(target=_live, args=(self._platform,), daemon=True).start()
        stack.callback(self._redis.kill)
        self._webhook = stack.enter_context(Webhook())
        alertmanager = Alertmanager(folder / "alertmanager", one_receiver(self._webhook.url, 0.0, 0.2))
        stack.callback(alertmanager.kill)
        self._chance = self._redis.chance
        self._oracle = Oracle(self._nodes, recorder, self._chance)
        self._pages = Pages(self._oracle, beside_rules=beside_rules)
        self.wrong: list[str] = []
        self._began, self._end, self._fault = time.monotonic(), math.inf, "none yet"
        self._course: Course = iter(())
        self._failing = self._calm = False
        self._pending: list[str] = []
        flags = (
            f"--redis.url={self._redis.url}",
            f"--heartbeat.ttl={TTL:g}s",
            f"--redis.timeout={READ_TIMEOUT:g}s",
            f"--discovery.interval={DISCOVERY:g}s",
            f"--alertmanager.url={alertmanager.url}",
            *(() if beside_rules else ("--alertmanager.sole-writer",)),
        )
        self._exporter = stack.enter_context(running_exporter(folder / "exporter", *flags))
        if beside_rules:
            stack.callback(Prometheus(folder / "prometheus", beside([self._exporter], alertmanager)).kill)

    def run(self, seconds: float) -> None:
        """Run until the time is over, then until the fault under way has ended."""
        now = time.monotonic()
        self._end = now + seconds
        turns = {self._scrape: now, self._act: now, self._judge_pages: now, self._fail: now + 6.0}
        while self._failing or now < self._end:
            for turn, due in turns.items():
                if time.monotonic() >= due:
                    turns[turn] = turn() + time.monotonic()
            self._chance.sleep(0.01)
            now = time.monotonic()
        self._judge_pages()

    def blame(self, what: str) -> None:
        """Note a wrong answer or deed of the exporter, and print it."""
        self.wrong.append(f"{time.monotonic() - self._began:8.2f} s  {what}  [last fault: {self._fault}]")
        print(self.wrong[-1], file=sys.stderr, flush=True)  # noqa: T201

    def report(self) -> Iterator[str]:
        """Yield the lines of the report."""
        yield f"lasted {time.monotonic() - self._began:,.0f} s"
        yield from (f"{what:<56}{count:>8,}" for what, count in sorted(self._pages.counts.items()))
        yield f"wrong: {len(self.wrong)}"
        yield from self.wrong

    # --- turns: each returns the seconds until it is its turn again ------------------------

    def _scrape(self) -> float:
        since = time.monotonic()
        try:
            got = self._exporter.get(timeout=SCRAPE_TIMEOUT, X_Prometheus_Scrape_Timeout_Seconds=f"{SCRAPE_TIMEOUT}")
            assert got.status == 200
            answer = answer_of(since, time.monotonic(), got.body)
        except (OSError, ValueError, AssertionError) as error:
            self.blame(f"the scrape, asked {time.monotonic() - since:.1f} s before: {error!r}")
            assert self._exporter.alive, self._exporter.output()[-2000:]
            return _SOON
        for wrong in self._oracle.judge(answer):
            self.blame(f"{wrong}; asked {answer.until - since:.2f} s before, slack {self._chance.slack:.2f}")
        self._pages.counts.update(f"state: {state}" for state in (answer.states or {"": "no Redis"}).values())
        return self._dice.uniform(0.1, 0.6)

    def _judge_pages(self) -> float:
        notices = list(self._webhook.notices)
        got = self._exporter.get(f"/api/v1/events?limit=1000&since={time.time() - 60:.0f}")
        for wrong in self._pages.judge(json.loads(got.body)["events"], notices, time.monotonic()):
            self.blame(f"page: {wrong}")
        return 0.5

    def _act(self) -> float:
        if self._calm:
            return _SOON
        acts = {act: self._in_mode(before) for act, (before, *_) in ACTS.items()}
        # A stop that does not reach Redis looks like a crash, and so does the stop of a node that was never seen.
        acts["stop"] = [] if self._failing else self._seen_online()
        if possible := [act for act, names in acts.items() if names]:
            (act,) = self._dice.choices(possible, [ACTS[act][1] for act in possible])
            self._do(act, self._dice.choice(acts[act]))
            self._pages.counts[f"act: {act}"] += 1
        return self._dice.uniform(0.3, 2.0)

    def _do(self, act: str, name: str) -> None:
        """Let a node do something at the platform's next step; what Redis does not take is not done."""
        self._acting.add(name)

        def do() -> None:
            try:
                ACTS[act][2](self._nodes[name], self._platform.redis, self._platform.clock())
            finally:
                self._acting.discard(name)

        self._platform.todo.append(do)

    def _in_mode(self, mode: str) -> list[str]:
        keys, free = self._redis.recorder.keys, [each for each in self._nodes.items() if each[0] not in self._acting]
        left = {name: CRASHED if keys[node.own_keys[1]].writes[-1].value else GONE for name, node in free}
        return [name for name, node in free if mode is (LIVING if node.alive else left[name])]

    def _seen_online(self) -> list[str]:
        """Return the living nodes that answers call online."""
        return [name for name in self._in_mode(LIVING) if self._oracle.memories[name].alive]

    # --- faults ----------------------------------------------------------------------------

    def _fail(self) -> float:
        """Continue the fault under way, or begin another one; return the seconds until its next step."""
        if not self._failing:
            if time.monotonic() >= self._end or self._acting:
                return _SOON
            if not self._pending:
                self._pending = [*self._redis.faults, MANY_DEATHS]
                self._dice.shuffle(self._pending)
            kind = self._pending.pop()
            self._pages.counts[f"fault: {kind}"] += 1
            self._fault, self._failing = f"{kind}, {time.monotonic() - self._began:.2f} s", True
            self._course = self._lose_many() if kind == MANY_DEATHS else self._redis.course(kind, self._dice)
        wait = next(self._course, None)
        self._failing = wait is not None
        return self._dice.uniform(1.0, 8.0) if wait is None else wait

    def _lose_many(self) -> Course:
        """Kill half of the nodes at once, and check that the exporter sees one mass loss."""
        self._calm = True
        yield GRACE + HOLD + UNREADABLE
        known, living = self._seen_online(), self._in_mode(LIVING)
        killed = self._dice.sample(known, min(len(known), max(3, math.ceil(len(living) / 2))))
        for name in killed:
            self._do("crash", name)
        yield TTL + HOLD + 1.5 + self._chance.slack
        memories = self._oracle.memories
        alone = [name for name in killed if memories[name].told_at is not None and not memories[name].member]
        if len(killed) > max(3, len(living) / 3) and self._chance.slack < 1 and alone:
            self.blame(f"{alone} are no members of the loss of {killed}")
        self._calm = False


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command line."""
    parser.add_argument("--minutes", type=float, default=60, help="how long [%(default)s]")
    seed = random.SystemRandom().randrange(10**6)
    parser.add_argument("--beside-rules", action="store_true", help="let Prometheus raise the same alerts, too")
    parser.add_argument("--seed", type=int, default=seed, help="decides what happens [random]")


def run(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> bool:
    """Run the soak, print its report, and return whether the exporter was never wrong."""
    soak = Soak(folder, arguments.seed, stack, beside_rules=arguments.beside_rules)
    try:
        soak.run(arguments.minutes * 60)
    finally:
        print(f"soak, seed {arguments.seed}", *soak.report(), sep="\n", flush=True)  # noqa: T201
    return not soak.wrong
