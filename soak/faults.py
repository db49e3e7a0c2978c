"""Faults of Redis in the soak: each begins, lasts a while, and ends with Redis as it was before."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from soak.nodes import Platform
from soak.servers import RedisUnderFaults
from soak.truth import Fault

_BUSY: Final = """
local function now() local time = redis.call('TIME') return time[1] + time[2] / 1e6 end
local over = now() + ARGV[1]
repeat until now() > over
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where faults happen."""

    redis: RedisUnderFaults
    platform: Platform


Acting = Iterator[float]
"""A fault under way: yields the seconds to wait before it goes on."""
Act = Callable[[Stage, Fault, float], Acting]


def _kill(stage: Stage, fault: Fault, seconds: float, *, wipe: bool = False) -> Acting:
    fault.restart, begun = True, time.monotonic()
    stage.redis.kill()
    fault.down_from = min(fault.down_from, time.monotonic())
    back = stage.platform.lose(begun) if wipe else None
    yield seconds
    if wipe:
        stage.redis.wipe()
    fault.down_until = time.monotonic()
    stage.redis.start()
    if back:
        back()


def _kill_and_wipe(stage: Stage, fault: Fault, seconds: float) -> Acting:
    return _kill(stage, fault, seconds, wipe=True)


def _crash_loop(stage: Stage, fault: Fault, seconds: float, *, wipe: bool = False) -> Acting:
    """Kill Redis again and again: its runs are too short for nodes to beat in."""
    for _ in range(_CRASHES):
        started = time.monotonic()
        if started - fault.down_until > _SHORT_RUN:
            fault.down_from = started  # the machine was slow, and the last run was long enough
        yield from _kill(stage, fault, seconds, wipe=wipe)
        yield _UP


def _crash_loop_and_wipe(stage: Stage, fault: Fault, seconds: float) -> Acting:
    return _crash_loop(stage, fault, seconds, wipe=True)


def _hang(stage: Stage, fault: Fault, seconds: float) -> Acting:
    stage.redis.process.send(signal.SIGSTOP)
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    stage.redis.process.send(signal.SIGCONT)


def _cut(stage: Stage, fault: Fault, seconds: float) -> Acting:
    stage.redis.cut()
    fault.until = time.monotonic()
    yield seconds


def _sleep(stage: Stage, fault: Fault, seconds: float) -> Acting:
    yield from _occupied(stage, fault, seconds, "DEBUG", "SLEEP", f"{seconds:.2f}")


def _script(stage: Stage, fault: Fault, seconds: float) -> Acting:
    stage.redis.control.config_set("busy-reply-threshold", 500)  # from then on it answers BUSY
    yield from _occupied(stage, fault, seconds, "EVAL", _BUSY, "0", f"{seconds:.2f}")


def _occupied(stage: Stage, fault: Fault, seconds: float, *words: str) -> Acting:
    """Give Redis something to do that keeps it from everything else."""
    del fault
    connection = stage.redis.control.connection_pool.get_connection()
    try:
        connection.send_command(*words)
        yield seconds
        connection.read_response()
    finally:
        stage.redis.control.connection_pool.release(connection)


def _full(stage: Stage, fault: Fault, seconds: float) -> Acting:
    """Refuse all connections but the soak's own."""
    before = stage.redis.control.config_get("maxclients")["maxclients"] or ""
    stage.redis.control.config_set("maxclients", 1)
    stage.redis.cut()
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    stage.redis.control.config_set("maxclients", before)


def _rotate(stage: Stage, fault: Fault, seconds: float) -> Acting:
    """Change the password. The clients have the old one until they are told the new one."""
    stage.redis.control.config_set("requirepass", stage.redis.new_password())
    stage.redis.cut()
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    stage.redis.file_password()


def _refuse(setting: str) -> Act:
    """Return a fault in which a setting makes Redis refuse writes; the refused writes say for how long."""

    def act(stage: Stage, fault: Fault, seconds: float) -> Acting:
        fault.readable = True
        stage.redis.control.config_set(setting, 1)
        yield seconds
        stage.redis.control.config_set(setting, 0)

    return act


def _fail_to_save(stage: Stage, fault: Fault, seconds: float) -> Acting:
    """Have a snapshot fail: Redis refuses all writes until another one succeeds."""
    fault.readable = True
    stage.redis.snapshot.unlink(missing_ok=True)
    (stage.redis.snapshot / "in the way").mkdir(parents=True)
    stage.redis.control.config_set("save", "3600 1000000")
    stage.redis.control.bgsave()
    yield seconds
    shutil.rmtree(stage.redis.snapshot)
    stage.redis.control.bgsave()
    while stage.redis.control.info("persistence")["rdb_last_bgsave_status"] != "ok":
        yield _SOON
    stage.redis.control.config_set("save", "")


def _pause(stage: Stage, fault: Fault, seconds: float) -> Acting:
    """Pause writes: nodes wait, heartbeats expire."""
    fault.readable = fault.paused = True
    stage.redis.control.execute_command("CLIENT", "PAUSE", round(seconds * 1000), "WRITE")
    fault.down_from = time.monotonic()
    fault.down_until = fault.down_from + seconds - _SOON
    yield seconds


def _flush(stage: Stage, fault: Fault, seconds: float) -> Acting:
    fault.readable = fault.flush = True
    stage.platform.flush(stage.redis.control.flushall)
    yield seconds


SHORT: Final = (0.2, 0.9)
"""Less than a node's reserve: its heartbeat lives for three beats."""
LONG: Final = (6.0, 8.0)
"""More than the five seconds after which the contract gives nodes time to beat."""
AWAY: Final = (66.0, 68.0)
"""Long enough for GinkgoRedisUnreachable: Redis could not be read for 60 s of two minutes."""
_CRASHES: Final = 6
_UP: Final = 0.4
_SHORT_RUN: Final = 1.4
_SOON: Final = 0.05
FAR_AWAY: Final = "away for over a minute"
PAUSED: Final = "writes paused"
FAULTS: Final[Mapping[str, tuple[Act, tuple[float, float]]]] = {
    "killed, back with its data": (_kill, SHORT),
    "killed, back after a while": (_kill, LONG),
    "killed, back empty": (_kill_and_wipe, SHORT),
    "killed, back empty after a while": (_kill_and_wipe, LONG),
    "crash loop": (_crash_loop, (1.6, 2.0)),
    "crash loop, back empty": (_crash_loop_and_wipe, (1.6, 2.0)),
    "hangs for a moment": (_hang, SHORT),
    "hangs": (_hang, LONG),
    FAR_AWAY: (_hang, AWAY),
    "connections cut": (_cut, (0.0, 0.0)),
    "asleep": (_sleep, SHORT),
    "busy with a script": (_script, LONG),
    "full": (_full, SHORT),
    "full for a while": (_full, LONG),
    "password rotated": (_rotate, (0.0, 0.1)),
    "password rotated, file late": (_rotate, LONG),
    "writes refused, memory full": (_refuse("maxmemory"), LONG),
    "writes refused for a moment": (_refuse("maxmemory"), SHORT),
    "writes refused, no replica": (_refuse("min-replicas-to-write"), LONG),
    "writes refused, snapshot failed": (_fail_to_save, LONG),
    PAUSED: (_pause, LONG),
    "all data deleted": (_flush, (0.0, 0.1)),
}
"""By name: the act, and for how many seconds at least and at most."""


def strike(stage: Stage, kind: str, dice: random.Random) -> tuple[Fault, Acting]:
    """Return a fault and its course, which has not begun yet."""
    act, (least, most) = FAULTS[kind]
    fault = Fault(kind, time.monotonic())

    def course() -> Acting:
        fault.since = time.monotonic()
        yield from act(stage, fault, dice.uniform(least, most))
        stage.redis.answer()
        fault.until = time.monotonic()

    return fault, course()
