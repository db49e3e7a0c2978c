"""Faults of Redis in the soak: each begins, lasts a while, and ends with Redis as it was before."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lab.soak.nodes import Platform
from lab.soak.servers import RedisUnderFaults
from lab.soak.truth import Fault

_BUSY: Final = """
local function now() local time = redis.call('TIME') return time[1] + time[2] / 1e6 end
local over = now() + ARGV[1]
repeat until now() > over
"""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts that a fault can hit."""

    redis: RedisUnderFaults
    platform: Platform


Course = Iterator[float]
"""The course of a fault. It yields the seconds to wait before its next step."""
Act = Callable[[Target, Fault, float], Course]


def _kill(target: Target, fault: Fault, seconds: float, *, wipe: bool = False) -> Course:
    fault.restart, begun = True, time.monotonic()
    target.redis.kill()
    fault.down_from = min(fault.down_from, time.monotonic())
    back = target.platform.lose(begun) if wipe else None
    yield seconds
    if wipe:
        target.redis.wipe()
    fault.down_until = time.monotonic()
    target.redis.start()
    if back:
        back()


def _kill_and_wipe(target: Target, fault: Fault, seconds: float) -> Course:
    return _kill(target, fault, seconds, wipe=True)


def _crash_loop(target: Target, fault: Fault, seconds: float, *, wipe: bool = False) -> Course:
    """Kill Redis again and again. Its runs are too short for the nodes to beat."""
    for _ in range(_CRASHES):
        started = time.monotonic()
        if started - fault.down_until > _SHORT_RUN:
            fault.down_from = started  # the machine was slow, and the last run was long enough
        yield from _kill(target, fault, seconds, wipe=wipe)
        yield _UP


def _crash_loop_and_wipe(target: Target, fault: Fault, seconds: float) -> Course:
    return _crash_loop(target, fault, seconds, wipe=True)


def _hang(target: Target, fault: Fault, seconds: float) -> Course:
    target.redis.process.send(signal.SIGSTOP)
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    target.redis.process.send(signal.SIGCONT)


def _cut(target: Target, fault: Fault, seconds: float) -> Course:
    target.redis.cut()
    fault.until = time.monotonic()
    yield seconds


def _sleep(target: Target, fault: Fault, seconds: float) -> Course:
    yield from _occupied(target, fault, seconds, "DEBUG", "SLEEP", f"{seconds:.2f}")


def _script(target: Target, fault: Fault, seconds: float) -> Course:
    target.redis.control.config_set("busy-reply-threshold", 500)  # from then on it answers BUSY
    yield from _occupied(target, fault, seconds, "EVAL", _BUSY, "0", f"{seconds:.2f}")


def _occupied(target: Target, fault: Fault, seconds: float, *words: str) -> Course:
    """Let Redis execute a command that keeps it from answering other clients."""
    del fault
    connection = target.redis.control.connection_pool.get_connection()
    try:
        connection.send_command(*words)
        yield seconds
        connection.read_response()
    finally:
        target.redis.control.connection_pool.release(connection)


def _full(target: Target, fault: Fault, seconds: float) -> Course:
    """Let Redis refuse all connections except the soak's own."""
    before = target.redis.control.config_get("maxclients")["maxclients"] or ""
    target.redis.control.config_set("maxclients", 1)
    target.redis.cut()
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    target.redis.control.config_set("maxclients", before)


def _rotate(target: Target, fault: Fault, seconds: float) -> Course:
    """Change the password. The clients know only the old password until the file is written."""
    target.redis.control.config_set("requirepass", target.redis.new_password())
    target.redis.cut()
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    target.redis.file_password()


def _refuse(setting: str) -> Act:
    """Return a fault in which a setting makes Redis refuse writes. The refused writes show how long it lasts."""

    def act(target: Target, fault: Fault, seconds: float) -> Course:
        fault.readable = True
        target.redis.control.config_set(setting, 1)
        yield seconds
        target.redis.control.config_set(setting, 0)

    return act


def _fail_to_save(target: Target, fault: Fault, seconds: float) -> Course:
    """Let a snapshot fail. Redis then refuses all writes until another snapshot succeeds."""
    fault.readable = True
    target.redis.snapshot.unlink(missing_ok=True)
    (target.redis.snapshot / "in the way").mkdir(parents=True)
    target.redis.control.config_set("save", "3600 1000000")
    target.redis.control.bgsave()
    yield seconds
    shutil.rmtree(target.redis.snapshot)
    target.redis.control.bgsave()
    while target.redis.control.info("persistence")["rdb_last_bgsave_status"] != "ok":
        yield _SOON
    target.redis.control.config_set("save", "")


def _pause(target: Target, fault: Fault, seconds: float) -> Course:
    """Pause writes. The nodes wait, and heartbeats expire."""
    fault.readable = fault.paused = True
    target.redis.control.execute_command("CLIENT", "PAUSE", round(seconds * 1000), "WRITE")
    fault.down_from = time.monotonic()
    fault.down_until = fault.down_from + seconds - _SOON
    yield seconds


def _flush(target: Target, fault: Fault, seconds: float) -> Course:
    fault.readable = fault.flush = True
    target.platform.flush(target.redis.control.flushall)
    yield seconds


SHORT: Final = (0.2, 0.9)
"""Seconds that a node survives: its heartbeat lives for three beats."""
LONG: Final = (6.0, 8.0)
"""Seconds that are a fault: after more than five seconds the contract gives nodes time to beat."""
AWAY: Final = (66.0, 68.0)
"""Seconds that raise GinkgoRedisUnreachable: Redis could not be read for 60 s of two minutes."""
_CRASHES: Final = 6
_UP: Final = 0.4
_SHORT_RUN: Final = 1.4
_SOON: Final = 0.05
FAR_AWAY: Final = "away for over a minute"
PAUSED: Final = "writes paused"
SAVES: Final = "writes refused, snapshot failed"
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
    SAVES: (_fail_to_save, LONG),
    PAUSED: (_pause, LONG),
    "all data deleted": (_flush, (0.0, 0.1)),
}
"""Each fault by its name: the function that makes it, and its shortest and longest duration in seconds."""


def fault_of(target: Target, kind: str, rng: random.Random) -> tuple[Fault, Course]:
    """Return a fault and its course, which has not begun yet."""
    act, (least, most) = FAULTS[kind]
    fault = Fault(kind, time.monotonic())

    def course() -> Course:
        fault.since = time.monotonic()
        yield from act(target, fault, rng.uniform(least, most))
        target.redis.answer()
        fault.until = time.monotonic()

    return fault, course()
