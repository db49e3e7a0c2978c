"""Starts exporters with the bridge's times scaled and the clock set wrong: loads the program once, forks for each.

Reads orders from its standard input, one JSON object a line, and answers each
with a process id. A test session starts some thirty exporters; loading the
program takes a second or more each time.
"""

import functools
import json
import os
import signal
import sys
import time
from typing import Any

from exporter import cli
from exporter.commands import serve  # noqa: F401 - loaded before the forks
from exporter.push import bridge as bridge_module


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run(**order)
        print(pid, flush=True)  # noqa: T201


def run(flags: list[str], log: str, clock_off: float, bridge: dict[str, Any]) -> None:
    """Be an exporter.

    Args:
        flags: Its command line.
        log: File for its output.
        clock_off: Seconds by which the bridge's clock is ahead; the monotonic clock is right.
        bridge: Keyword arguments for its bridge.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    bridge_of = functools.partial(bridge_module.Bridge, wall=lambda: time.time() + clock_off, **bridge)
    bridge_module.Bridge = bridge_of  # type: ignore[misc, assignment]
    cli.main(flags)


main()
