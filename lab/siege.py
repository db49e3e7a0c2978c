"""``make siege``: attacks on the exporter, each with what it cost and what a scraper beside it saw.

Its memory is the process's and the kernel's for all TCP sockets of the machine: the attackers' ones are small.
"""

import argparse
import multiprocessing
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Final

from lab.attacks import ATTACKS, Attack, Field
from lab.bench import head
from lab.fakes import FakeAlertmanager
from lab.platform import ManyNodes
from lab.servers import Exporter, RedisServer, wait_for

TTL: Final = 3600.0
SLOWEST: Final = 2.0
"""Seconds in which a scraper beside an attack is answered."""
LINES: Final = 60
"""Log lines a minute that an attack may cause."""
MORE: Final = 30 * 2**20
"""Bytes above the memory before the attack that count as back."""
BACK_WITHIN: Final = 60.0
_ONLINE: Final = re.compile(rb'^ginkgo_node_up\{node_id="execution-node-\d+"\} 1$', re.MULTILINE)


class Stand:
    """An exporter with its Redis and its Alertmanager.

    Args:
        attack: The attack that follows.
        folder: For all of them.
        stack: Ends all of them.

    Attributes:
        seen: How often each kind of scrape was seen.
        slowest: Seconds of the slowest scrape.
    """

    def __init__(self, attack: Attack, folder: Path, stack: ExitStack) -> None:
        self._attack = attack
        self.seen, self.slowest = Counter[str](), 0.0
        self.redis = RedisServer(folder / "redis", "redis-server")
        stack.callback(self.redis.kill)
        stack.enter_context(ManyNodes(self.redis.port, attack.nodes, ttl=TTL))
        self.alertmanager = stack.enter_context(FakeAlertmanager())
        urls = (f"--redis.url={self.redis.url}", f"--alertmanager.url={self.alertmanager.url}")
        self.exporter = Exporter(folder / "exporter", *urls, "--heartbeat.ttl=1h")
        stack.callback(self.exporter.kill)
        wait_for(lambda: self.scrape() == "whole", "for a whole scrape")

    def memory(self) -> int:
        """Return the bytes that the exporter uses, with the kernel's part."""
        words = Path("/proc/net/sockstat").read_text(encoding="ascii").split()
        return self.exporter.memory() + int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE")

    def scrape(self) -> str:
        """Scrape once, and return what was seen: ``whole``, or what was wrong."""
        try:
            body = self.exporter.get(timeout=10).body
        except (OSError, HTTPException) as error:
            return type(error).__name__
        if len(_ONLINE.findall(body)) == self._attack.nodes:
            return "whole"
        return f"{body[-50:]!r}"

    def scrape_until(self, over: Event) -> None:
        """Scrape once a second, and take note of what was seen."""
        while not over.wait(1):
            start = time.monotonic()
            self.seen[self.scrape()] += 1
            self.slowest = max(self.slowest, time.monotonic() - start)


def besiege(attack: Attack, seconds: float, limit: int, folder: Path) -> tuple[str, bool]:
    """Run one attack, and return its row of the table, and whether the exporter held."""
    with ExitStack() as stack:
        stand = Stand(attack, folder, stack)
        for path in ("/metrics", "/api/v1/nodes", "/", "/metrics"):  # what ordinary readers need is no attack's doing
            with suppress(OSError, HTTPException):
                stand.exporter.get(path, timeout=10)
        before, lines = stand.memory(), stand.exporter.output().count("\n")
        peak = _attack(attack, stand, seconds)
        lines = stand.exporter.output().count("\n") - lines
        back = _back_within(stand, before)
        pages = {alert["labels"]["alertname"] for post in stand.alertmanager.posts for alert in post}
        checks = {
            "killed": not stand.exporter.alive,
            "memory": peak > limit,
            "memory stays": back is None,
            "log": lines > LINES * max(1.0, seconds / 60),
            "wrong answers": bool(stand.seen.keys() - {"whole"}),
            "slow": stand.slowest > SLOWEST,
            "pages": bool(pages),
        }
        failures = [name for name, failed in checks.items() if failed]
        cells = (
            *(f"{attack.name}: {attack.what}", f"{peak / 2**20:.0f}", f"{back or BACK_WITHIN:.0f}", f"{lines}"),
            *(", ".join(f"{kind} {count}" for kind, count in stand.seen.items()), f"{stand.slowest:.2f}"),
            ", ".join(failures) or "held",
        )
        return f"| {' | '.join(cells)} |", not failures


def _attack(attack: Attack, stand: Stand, seconds: float) -> int:
    """Attack, with a scraper beside it, and return the most bytes that the exporter used."""
    target, over, peak = Field(stand.exporter.port, stand.redis.port, time.monotonic() + seconds), Event(), 0
    scraper = Thread(target=stand.scrape_until, args=(over,), daemon=True)
    attacker = multiprocessing.get_context("fork").Process(target=_run, args=(attack, target), daemon=True)
    stand.alertmanager.headers = attack.headers
    attacker.start()
    scraper.start()
    while target.left and stand.exporter.alive:
        time.sleep(0.05)
        peak = max(peak, stand.memory())
    stand.alertmanager.headers = {}
    attacker.kill()
    attacker.join()
    over.set()
    scraper.join()
    return peak


def _run(attack: Attack, target: Field) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)  # the machine is the exporter's, too
    with suppress(OSError):
        attack.run(target)


def _back_within(stand: Stand, before: int) -> float | None:
    """Return the seconds until the memory is back and a scrape is whole; None if that takes too long."""
    start = time.monotonic()
    while (passed := time.monotonic() - start) < BACK_WITHIN and stand.exporter.alive:
        if stand.scrape() == "whole" and stand.memory() <= before + MORE:
            return passed
        time.sleep(0.5)
    return None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command line."""
    names = [attack.name for attack in ATTACKS]
    parser.add_argument("--seconds", type=float, default=60, help="length of each attack [%(default)s]")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="run these attacks only")
    parser.add_argument("--limit", type=int, default=256, help="MiB that the exporter may have [%(default)s]")


def table(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield each line of the table, and whether the exporter held."""
    yield head("attack", "peak MiB", "back after s", "log lines", "scrapes", "slowest s", "verdict"), True
    for attack in ATTACKS:
        if attack.name in arguments.only:
            (place := folder / attack.name).mkdir()
            yield besiege(attack, arguments.seconds, arguments.limit << 20, place)


def run(arguments: argparse.Namespace, folder: Path, _: ExitStack) -> bool:
    """Print the table, and return whether the exporter held in all attacks."""
    well = True
    for line, held in table(arguments, folder):
        print(line, flush=True)  # noqa: T201
        well = well and held
    return well
