"""``make siege``: attacks on the exporter, each with what it cost and what a scraper beside it saw.

The exporter runs in a control group that limits its memory, where one can be made; the kernel's buffers count too.
Elsewhere the table says that no limit was held, and its memory is the process's.
"""

import argparse
import math
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
from urllib.request import Request, urlopen

from lab.attacks import ATTACKS, AWAY, WHOLE, Attack, Field
from lab.bench import head
from lab.clusters import Certificates, trusting
from lab.fakes import FakeAlertmanager
from lab.platform import ManyNodes
from lab.proxy import NONE, Fault, Proxy
from lab.servers import Exporter, RedisServer, wait_for

TTL: Final = 3600.0
LIMIT: Final = 256 * 2**20
"""Bytes that the exporter may have."""
SLOWEST: Final = 2.0
"""Seconds in which a scraper beside an attack is answered."""
LINES: Final = 60
"""Log lines a minute that an attack may cause."""
MORE: Final = 30 * 2**20
"""Bytes above the memory before the attack that count as back."""
BACK_WITHIN: Final = 60.0
_LIMITS: Final = ("memory.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes"), ("memory.max",)
"""The limits of a control group of version 1, which counts the kernel's buffers apart, and of version 2."""
_USED: Final = ("memory.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes", "memory.current")
_SECURED: Final = """tls_server_config: {cert_file: exporter.pem, key_file: exporter.key}
basic_auth_users: {siege: $2b$10$cFL6g1/t93OUwKxZQsirCupXWMaZpKMOoJDMe7G.9LFoJcRlJxZwy}
"""
"""A web configuration; the hash is that of the password "siege"."""
_ONLINE: Final = re.compile(rb'^ginkgo_node_up\{node_id="execution-node-\d+"\} 1$', re.MULTILINE)


class Stand:
    """An exporter with its Redis and its Alertmanager.

    Args:
        attack: The attack that follows.
        folder: For all of them.
        stack: Ends all of them.
        group: The exporter's control group; None without one.

    Attributes:
        seen: How often each kind of scrape was seen.
        slowest: Seconds of the slowest scrape.
    """

    def __init__(self, attack: Attack, folder: Path, stack: ExitStack, group: Path | None) -> None:
        self._attack, self._group = attack, group
        self.seen, self.slowest = Counter[str](), 0.0
        self.redis = RedisServer(folder / "redis", "redis-server")
        stack.callback(self.redis.kill)
        stack.enter_context(ManyNodes(self.redis.port, attack.nodes, ttl=TTL))
        self.alertmanager = stack.enter_context(FakeAlertmanager())
        self.proxy = stack.enter_context(Proxy(self.redis.port))
        port = self.redis.port if attack.turn is bytes else self.proxy.port  # a proxy costs a scrape some time
        flags = [f"--redis.url=redis://127.0.0.1:{port}", f"--alertmanager.url={self.alertmanager.url}"]
        if attack.secured:
            Certificates(folder)
            (folder / "web.yml").write_text(_SECURED)
            flags.append(f"--web.config.file={folder}/web.yml")
        # SECURITY.md says which number of nodes fits into the limit.
        self.exporter = Exporter(folder / "exporter", *flags, "--heartbeat.ttl=1h", "--collector.max-nodes=20000")
        stack.callback(self.exporter.kill)
        if group:
            (group / "cgroup.procs").write_text(str(self.exporter.pid))
        wait_for(lambda: self.scrape() == WHOLE, "for a whole scrape")

    def memory(self) -> int:
        """Return the bytes that the exporter uses, in a control group with the kernel's part."""
        if not self._group:
            return self.exporter.memory()
        return sum(int((self._group / name).read_text()) for name in _USED if (self._group / name).exists())

    def get(self, path: str = "/metrics") -> bytes:
        """Return the body of an answer, read at the attack's pace; without an answer, why there is none."""
        url = f"http{'s' if self._attack.secured else ''}://127.0.0.1:{self.exporter.port}{path}"
        asked = Request(url, headers={"Authorization": "Basic c2llZ2U6c2llZ2U="})  # noqa: S310
        body = bytearray()
        try:
            with urlopen(asked, timeout=10, context=trusting()) as answer:  # noqa: S310
                while piece := answer.read(100_000):
                    body += piece
                    time.sleep(len(piece) / self._attack.pace)
        except (OSError, HTTPException) as error:
            return repr(error).encode()
        return bytes(body)

    def scrape(self) -> str:
        """Scrape once, and return what was seen: ``WHOLE``, ``AWAY``, or what was wrong."""
        body = self.get()
        if len(_ONLINE.findall(body)) == self._attack.nodes and b"\nginkgo_redis_up 1.0\n" in body:
            return WHOLE
        return AWAY if b"\nginkgo_redis_up 0.0\n" in body else f"{body[-50:]!r}"

    def scrape_until(self, over: Event) -> None:
        """Scrape once a second, and take note of what was seen."""
        while not over.wait(1):
            start = time.monotonic()
            self.seen[self.scrape()] += 1
            self.slowest = max(self.slowest, time.monotonic() - start)


def besiege(attack: Attack, seconds: float, folder: Path) -> tuple[str, bool]:
    """Run one attack, and return its row of the table, and whether the exporter held."""
    with ExitStack() as stack:
        stand = Stand(attack, folder, stack, group := control_group(stack))
        for path in ("/metrics", "/api/v1/nodes", "/", "/metrics"):  # what ordinary readers need is no attack's doing
            stand.get(path)
        before, lines = stand.memory(), stand.exporter.output().count("\n")
        peak = _attack(attack, stand, seconds)
        lines = stand.exporter.output().count("\n") - lines
        back = _back_within(stand, before)
        checks = {
            "killed": not stand.exporter.alive,
            "memory": peak > LIMIT,
            "no limit": not group and "CI" in os.environ,
            "memory stays": back is None,
            "log": lines > LINES * max(1.0, seconds / 60),
            "wrong answers": bool(stand.seen.keys() - {attack.sees}),
            "slow": stand.slowest > SLOWEST and attack.pace == math.inf,
            "pages": any(stand.alertmanager.posts),
        }
        failures = [name for name, failed in checks.items() if failed]
        verdict = (", ".join(failures) or "held") + ("" if group else " (no limit held)")
        return (
            f"| {attack.name}: {attack.what} | {peak / 2**20:.0f} | {back or BACK_WITHIN:.0f} | {lines} |"
            f" {dict(stand.seen)} | {stand.slowest:.2f} | {verdict} |"
        ), not failures


def _attack(attack: Attack, stand: Stand, seconds: float) -> int:
    """Attack, with a scraper beside it, and return the most bytes that the exporter used."""
    until, over, peak = time.monotonic() + seconds, Event(), 0
    target = Field(stand.exporter.port, stand.redis.port, until, attack.secured)
    scraper = Thread(target=stand.scrape_until, args=(over,), daemon=True)
    attacker = multiprocessing.get_context("fork").Process(target=_run, args=(attack, target), daemon=True)
    stand.alertmanager.headers, stand.proxy.fault = attack.headers, Fault(turn=attack.turn)
    attacker.start()
    scraper.start()
    while target.left and stand.exporter.alive:
        time.sleep(0.05)
        peak = max(peak, stand.memory())
    attacker.kill()
    attacker.join()
    over.set()
    scraper.join()
    stand.proxy.fault = NONE
    return peak


def control_group(stack: ExitStack) -> Path | None:
    """Return a control group whose memory is limited until the stack ends; None where none can be made."""
    old = Path("/sys/fs/cgroup/memory")
    group = (old if old.is_dir() else old.parent) / f"siege-{os.getpid()}"
    with suppress(OSError):
        group.mkdir()
        stack.callback(group.rmdir)
        for name in _LIMITS[not old.is_dir()]:
            (group / name).write_text(str(LIMIT))
        return group
    return None


def _run(attack: Attack, target: Field) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)  # the machine is the exporter's, too
    with suppress(OSError):
        attack.run(target)


def _back_within(stand: Stand, before: int) -> float | None:
    """Return the seconds until the memory is back and a scrape is whole; None if that takes too long."""
    start = time.monotonic()
    while (passed := time.monotonic() - start) < BACK_WITHIN and stand.exporter.alive:
        if stand.scrape() == WHOLE and stand.memory() <= before + MORE:
            return passed
        time.sleep(0.5)
    return None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command line."""
    names = [attack.name for attack in ATTACKS]
    parser.add_argument("--seconds", type=float, default=60, help="length of each attack [%(default)s]")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="run these attacks only")


def table(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield each line of the table, and whether the exporter held."""
    yield head("attack", "peak MiB", "back after s", "log lines", "scrapes", "slowest s", "verdict"), True
    for attack in ATTACKS:
        if attack.name in arguments.only:
            (place := folder / attack.name).mkdir()
            yield besiege(attack, arguments.seconds, place)


def run(arguments: argparse.Namespace, folder: Path, _: ExitStack) -> bool:
    """Print the table, and return whether the exporter held in all attacks."""
    well = True
    for line, held in table(arguments, folder):
        print(line, flush=True)  # noqa: T201
        well = well and held
    return well
