"""``make siege``: attacks on the exporter, each with what it cost and what a scraper beside it saw.

The exporter has its own control group, whose limit counts the kernel's memory for its sockets, too.
"""

import argparse
import json
import multiprocessing
import os
import re
import signal
import ssl
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

import bcrypt

from lab.attacks import ATTACKS, Attack, Field
from lab.bench import head
from lab.fake_redis import FakeRedis
from lab.fakes import FakeAlertmanager, fake_server
from lab.platform import ManyNodes
from lab.servers import Exporter, RedisServer, wait_for
from lab.tls import Certificates

PASSWORD: Final = "right"  # noqa: S105 - a test's
TTL: Final = 3600.0
SLOWEST: Final = 2.0
"""Seconds in which a scraper beside an attack is answered."""
LINES: Final = 60
"""Log lines a minute that an attack may cause."""
MORE: Final = 30 * 2**20
"""Bytes above the memory before the attack that count as back."""
BACK_WITHIN: Final = 60.0
BUSY_AFTERWARDS: Final = 0.3
"""Share of a core that the exporter may use in the seconds after the attack, in which nobody asks it for anything."""
_REST: Final = 3.0
_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
_UP: Final = re.compile(rb"^ginkgo_redis_up 1", re.MULTILINE)
_ONLINE: Final = re.compile(rb'^ginkgo_node_up\{node_id="execution-node-\d+"\} 1$', re.MULTILINE)
_COLUMNS: Final = (
    *("attack", "lives", "peak MiB", "back after s", "log lines", "whole scrapes", "other scrapes", "slowest s"),
    *("CPU % afterwards", "verdict"),
)


class Group:
    """A control group that holds its processes to a limit of memory, the kernel's memory for their sockets included.

    Version 1 counts that memory apart: so their sum is watched here.

    Args:
        limit: Bytes.

    Raises:
        OSError: The machine allows no such group.
    """

    def __init__(self, limit: int) -> None:
        one = (_V1 / "memory.kmem.tcp.limit_in_bytes").exists()
        self._path = (_V1 if one else _V2) / f"siege-{os.getpid()}-{time.monotonic_ns()}"
        self._path.mkdir()
        if one:
            (self._path / "memory.kmem.tcp.limit_in_bytes").write_text(str(limit), encoding="ascii")
        (self._path / ("memory.limit_in_bytes" if one else "memory.max")).write_text(str(limit), encoding="ascii")
        self._parts = ("memory.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes") if one else ("memory.current",)
        self._peak = self._path / ("memory.max_usage_in_bytes" if one else "memory.peak")
        self.processes = self._path / "cgroup.procs"

    def used(self) -> int:
        """Return the bytes that are used now."""
        return sum(int((self._path / part).read_text(encoding="ascii")) for part in self._parts)

    def peak(self) -> int:
        """Return the most bytes that were used, in version 1 without the memory of sockets."""
        return int(self._peak.read_text(encoding="ascii"))

    def close(self) -> None:
        """Remove the group; its processes have ended."""
        with suppress(OSError):
            self._path.rmdir()


class Stand:
    """An exporter with its Redis and its Alertmanager.

    Args:
        attack: The attack that follows.
        folder: For all of them.
        group: Holds the exporter to its memory; None if the machine allows no limit.
        stack: Ends all of them.

    Attributes:
        hostile: Set while Redis and Alertmanager are hostile.
    """

    def __init__(self, attack: Attack, folder: Path, group: Group | None, stack: ExitStack) -> None:
        self._attack, self._group = attack, group
        self.hostile = multiprocessing.Event()
        self.redis_port = self._fake_redis(stack) if attack.twist else self._real_redis(folder, stack)
        self.alertmanager = stack.enter_context(FakeAlertmanager())
        self._headers: dict[str, str] = {}
        web = self._web_config(folder)
        urls = (f"--redis.url=redis://127.0.0.1:{self.redis_port}/0", f"--alertmanager.url={self.alertmanager.url}")
        self.exporter = _Held(folder / "exporter", group, *urls, "--heartbeat.ttl=1h", *web)
        stack.callback(self.exporter.kill)
        wait_for(lambda: self.scrape() == "whole", "for a whole scrape")

    def _real_redis(self, folder: Path, stack: ExitStack) -> int:
        redis = RedisServer(folder / "redis", "redis-server")
        stack.callback(redis.kill)
        stack.enter_context(ManyNodes(redis.port, self._attack.nodes, ttl=TTL))
        return redis.port

    def _fake_redis(self, stack: ExitStack) -> int:
        """Start a fake Redis in a process of its own, and return its port."""
        near, far = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=self._serve_fake, args=(far,), daemon=True)
        process.start()
        stack.callback(process.kill)
        return int(near.recv())

    def _serve_fake(self, far: "multiprocessing.connection.Connection[int, int]") -> None:
        fake, twist = FakeRedis(), self._attack.twist
        assert twist

        with fake_server(
            lambda near: fake.serve(near, lambda w, r: twist(w, r) if self.hostile.is_set() else r)
        ) as port:
            ManyNodes(port, self._attack.nodes, ttl=TTL)
            far.send(port)
            signal.pause()

    def _web_config(self, folder: Path) -> list[str]:
        config: dict[str, object] = {}
        if self._attack.users:
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
            config["basic_auth_users"] = {"prometheus": hashed}
            self._headers["Authorization"] = f"Basic {b64encode(f'prometheus:{PASSWORD}'.encode()).decode()}"
        if self._attack.tls:
            cert, key = Certificates.made_in(folder).pair("127.0.0.1")
            config["tls_server_config"] = {"cert_file": str(cert), "key_file": str(key)}
        if not config:
            return []
        (folder / "web.yml").write_text(json.dumps(config), encoding="utf-8")
        return [f"--web.config.file={folder / 'web.yml'}"]

    def memory(self) -> int:
        """Return the bytes that the exporter uses, with the kernel's part if there is a group."""
        return self._group.used() if self._group else self.exporter.memory()

    def get(self, path: str, reads: int = 0) -> tuple[int, bytes]:
        """Return the status and the whole body of an answer, read at so many bytes a second; 0 for no limit."""
        address, timeout = ("127.0.0.1", self.exporter.port), 30.0 if reads else 10.0
        if self._attack.tls:
            context = ssl._create_unverified_context()  # noqa: S323 - its own exporter
            connection: HTTPConnection = HTTPSConnection(*address, timeout=timeout, context=context)
        else:
            connection = HTTPConnection(*address, timeout=timeout)
        try:
            connection.request("GET", path, headers=self._headers)
            reply, body = connection.getresponse(), bytearray()
            while piece := reply.read(reads // 10 or None):
                body += piece
                time.sleep(0.1 if reads else 0)
            return reply.status, bytes(body)
        finally:
            connection.close()

    def scrape(self) -> str:
        """Scrape once, and return what was seen: ``whole``, ``Redis down``, or what was wrong."""
        try:
            status, body = self.get("/metrics", self._attack.reads)
        except (OSError, HTTPException) as error:
            return type(error).__name__
        if status != 200:
            return f"HTTP {status}"
        online = len(_ONLINE.findall(body))
        if not _UP.search(body):
            return "Redis down"
        return "whole" if online == self._attack.nodes else f"{online} nodes online"


class _Held(Exporter):
    """An exporter that joins a control group before it starts."""

    def __init__(self, folder: Path, group: Group | None, *flags: str) -> None:
        if group:
            join = ("sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group.processes))
            self.program = (*join, sys.executable, "-m", "exporter")
        super().__init__(folder, *flags)


class Watch:
    """Scrapes once a second, and watches the memory, until it is stopped.

    Attributes:
        seen: How often each kind of scrape was seen.
        slowest: Seconds of the slowest scrape.
        peak: The most bytes that the exporter used.
    """

    def __init__(self, stand: Stand) -> None:
        self._stand, self.seen, self.slowest, self.peak = stand, Counter[str](), 0.0, 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._scrape, self._weigh)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the scrape that is under way."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _scrape(self) -> None:
        while not self._over.is_set():
            start = time.monotonic()
            self.seen[self._stand.scrape()] += 1
            self.slowest = max(self.slowest, time.monotonic() - start)
            self._over.wait(max(0.0, start + 1 - time.monotonic()))

    def _weigh(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, self._stand.memory())


def besiege(attack: Attack, seconds: float, limit: int, folder: Path) -> tuple[str, bool]:
    """Run one attack, and return its row of the table, and whether the exporter held."""
    with ExitStack() as stack:
        group = None
        with suppress(OSError):
            group = Group(limit)
            stack.callback(group.close)
        stand = Stand(attack, folder, group, stack)
        for path in ("/metrics", "/api/v1/nodes", "/", "/metrics"):  # what ordinary readers need is no attack's doing
            with suppress(OSError, HTTPException):
                stand.get(path)
        before, lines = stand.memory(), stand.exporter.output().count("\n")
        watch = Watch(stand)
        _attack(attack, stand, seconds)
        watch.stop()
        lines = stand.exporter.output().count("\n") - lines
        back = _back_within(stand, before)
        since, used = time.monotonic(), stand.exporter.cpu_seconds
        time.sleep(_REST)
        busy = (stand.exporter.cpu_seconds - used) / (time.monotonic() - since)
        pages = {alert["labels"]["alertname"] for post in stand.alertmanager.posts for alert in post}
        peak = max(watch.peak, group.peak() if group else 0)
        lives, wrong = stand.exporter.alive, watch.seen - Counter(whole=watch.seen["whole"])
        allowed = {"Redis down"} if attack.twist else set()
        checks = {
            "killed": not lives,
            "memory": peak > limit,
            "memory stays": back is None,
            "log": lines > LINES * max(1.0, seconds / 60),
            "wrong answers": bool(wrong.keys() - allowed),
            "slow": watch.slowest > SLOWEST and not attack.reads,
            "pages": bool(pages - ({"GinkgoRedisUnreachable"} if attack.twist else set())),
            "busy afterwards": busy > BUSY_AFTERWARDS,
        }
        failures = [name for name, failed in checks.items() if failed]
        others = ", ".join(f"{kind} {count}" for kind, count in wrong.items())
        cells = (
            *(f"{attack.name}: {attack.what}", "yes" if lives else "no", f"{peak / 2**20:.0f}"),
            *("never" if back is None else f"{back:.0f}", f"{lines}", f"{watch.seen['whole']} of {watch.seen.total()}"),
            *(
                others or "0",
                f"{watch.slowest:.2f}",
                f"{busy * 100:.0f}",
            ),
            (", ".join(failures) or "held") + ("" if group else " (no limit of memory)"),
        )
        return f"| {' | '.join(cells)} |", not failures and (group is not None or "CI" not in os.environ)


def _attack(attack: Attack, stand: Stand, seconds: float) -> None:
    target = Field(stand.exporter.port, stand.redis_port, time.monotonic() + seconds)
    stand.hostile.set()
    stand.alertmanager.pieces = attack.pieces
    attacker = None
    if attack.run:
        attacker = multiprocessing.get_context("fork").Process(target=_run, args=(attack, target), daemon=True)
        attacker.start()
    while target.left and stand.exporter.alive:
        time.sleep(0.1)
    stand.hostile.clear()
    stand.alertmanager.pieces = None
    if attacker:
        attacker.kill()
        attacker.join()


def _run(attack: Attack, target: Field) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)  # the machine is the exporter's, too
    assert attack.run
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
    yield head(*_COLUMNS), True
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
