"""What goes wrong with Redis in the soak: each fault begins, lasts a while, and ends with all as it was."""

import random
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
    fault.restart = True
    stage.redis.kill()
    fault.down_from = time.monotonic()
    back = stage.platform.lose(fault.since) if wipe else None
    yield seconds
    if wipe:
        stage.redis.wipe()
    fault.down_until = time.monotonic()
    stage.redis.start()
    if back:
        back()


def _kill_and_wipe(stage: Stage, fault: Fault, seconds: float) -> Acting:
    return _kill(stage, fault, seconds, wipe=True)


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
    """Let nobody in but who is there already, which is the soak alone."""
    before = stage.redis.control.config_get("maxclients")["maxclients"] or ""
    stage.redis.control.config_set("maxclients", 1)
    stage.redis.cut()
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    stage.redis.control.config_set("maxclients", before)


def _rotate(stage: Stage, fault: Fault, seconds: float) -> Acting:
    """Change the password; its clients learn it later, and until then have the old one."""
    stage.redis.control.config_set("requirepass", stage.redis.new_password())
    stage.redis.cut()
    fault.down_from = time.monotonic()
    yield seconds
    fault.down_until = time.monotonic()
    stage.redis.file_password()


SHORT: Final = (0.2, 0.9)
"""Less than a node's reserve: its heartbeat lives for three beats."""
LONG: Final = (6.0, 8.0)
"""More than the five seconds after which the contract gives nodes time to beat."""
FAULTS: Final[Mapping[str, tuple[Act, tuple[float, float]]]] = {
    "killed, back with its data": (_kill, SHORT),
    "killed, back after a while": (_kill, LONG),
    "killed, back empty": (_kill_and_wipe, SHORT),
    "killed, back empty after a while": (_kill_and_wipe, LONG),
    "hangs for a moment": (_hang, SHORT),
    "hangs": (_hang, LONG),
    "connections cut": (_cut, (0.0, 0.0)),
    "asleep": (_sleep, SHORT),
    "busy with a script": (_script, LONG),
    "full": (_full, SHORT),
    "full for a while": (_full, LONG),
    "password rotated": (_rotate, (0.0, 0.1)),
    "password rotated, file late": (_rotate, LONG),
}
"""By name: what is done, and for how many seconds at least and at most."""


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
