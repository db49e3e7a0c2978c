"""``python -m lab.siege``: a table of attacks; exit code 1 if one of them kept the exporter from its work."""

import argparse
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from typing import Final

from lab.bench.servers import end_on_sigterm
from lab.siege.attack import Attack, Field
from lab.siege.attacks import ATTACKS
from lab.siege.report import Result, headings, row
from lab.siege.scraper import Scraper
from lab.siege.stand import Stand, stand

_LIMIT: Final = 256 * 2**20
_BACK_WITHIN: Final = 60.0
_REST: Final = 3.0
"""Seconds after the attack in which nobody asks the exporter for anything, and so it should do little."""
_MORE: Final = 30 * 2**20
"""Bytes above the memory before the attack that count as back."""


def run(attack: Attack, seconds: float, limit: int) -> Result:
    """Run one attack and return what came of it."""
    with stand(attack, limit) as defended:
        _use(defended)
        before = defended.memory("VmRSS")
        lines = len(defended.log_lines())
        since, used = time.monotonic(), defended.cpu_seconds
        scraper = Scraper(defended, attack.nodes)
        _attack(attack, defended, seconds)
        seen = scraper.stop()
        busy = defended.cpu_share(since, used)
        logged = len(defended.log_lines()) - lines
        alive = defended.alive
        load = os.getloadavg()[0]
        back = _back_within(defended, before) if alive else None
        return Result(
            attack,
            alive=defended.alive,
            peak=defended.memory("VmHWM"),
            before=before,
            back=back,
            lines=logged,
            seen=seen,
            pages=sorted(defended.alertmanager.pages),
            well=defended.alive and _is_well(defended, attack),
            log=defended.log_lines()[lines:],
            load=load,
            busy=busy,
            busy_afterwards=_busy_afterwards(defended),
        )


def _use(defended: Stand) -> None:
    """Ask for all that an ordinary reader asks for: what the exporter needs for that is not the attack's doing."""
    for path in ("/metrics", "/api/v1/nodes", "/", "/metrics"):
        with suppress(OSError, HTTPException):
            defended.get(path)


def _attack(attack: Attack, defended: Stand, seconds: float) -> None:
    field = Field(defended.port, defended.redis_port, time.monotonic() + seconds)
    attacker = None
    if defended.fake:
        defended.fake.attack(on=True)
    if attack.run:
        # In a session of its own: attackers have threads that may outlive the attack.
        attacker = multiprocessing.get_context("fork").Process(target=_run_quietly, args=(attack, field), daemon=True)
        attacker.start()
    while field.lasts and defended.alive:
        time.sleep(0.1)
    if defended.fake:
        defended.fake.attack(on=False)
    if attacker:
        attacker.kill()
        attacker.join()


def _run_quietly(attack: Attack, field: Field) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)  # the machine is the exporter's too
    with suppress(OSError):
        attack.run(field)  # type: ignore[misc]


def _back_within(defended: Stand, before: int) -> float | None:
    """Return the seconds until the memory is back; None if that takes too long."""
    start = time.monotonic()
    while time.monotonic() - start < _BACK_WITHIN:
        with suppress(OSError):
            defended.get("/metrics")
        if defended.memory("VmRSS") <= before + _MORE:
            return time.monotonic() - start
        time.sleep(0.5)
    return None


def _busy_afterwards(defended: Stand) -> float:
    """Return the share of a core that the exporter uses while nobody asks it."""
    since, used = time.monotonic(), defended.cpu_seconds
    time.sleep(_REST)
    return defended.cpu_share(since, used)


def _is_well(defended: Stand, attack: Attack) -> bool:
    """Return whether a scrape soon after the attack has all nodes again."""
    with suppress(RuntimeError):
        defended.wait_until_whole(attack.nodes)
        return True
    return False


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m lab.siege", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long each attack lasts [60]")
    parser.add_argument("--only", nargs="+", choices=[attack.name for attack in ATTACKS], help="run these attacks only")
    parser.add_argument("--nodes", type=int, help="nodes of the fleet [as each attack says]")
    parser.add_argument("--limit", type=int, default=_LIMIT >> 20, help="MiB that the exporter may have [256]")
    parser.add_argument("--log", action="store_true", help="show the first log lines of each attack")
    arguments = parser.parse_args()
    end_on_sigterm()
    limit = arguments.limit << 20
    failed = False
    print(headings(), flush=True)  # noqa: T201
    for attack in ATTACKS:
        if arguments.only and attack.name not in arguments.only:
            continue
        fleet = replace(attack, nodes=arguments.nodes) if arguments.nodes else attack
        allowed = attack.memory << 20 or limit
        try:
            result = run(fleet, arguments.seconds, allowed)
        except RuntimeError as error:
            print(f"| {attack.name} | {error} |", flush=True)  # noqa: T201
            failed = True
            continue
        failed = failed or bool(result.failures(arguments.seconds, allowed))
        print(row(result, arguments.seconds, allowed), flush=True)  # noqa: T201
        if arguments.log:
            print(*result.log[:10], sep="\n", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
