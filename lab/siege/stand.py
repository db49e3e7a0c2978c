"""The exporter under attack: it runs in its own process, and its memory is limited."""

import json
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import bcrypt

from exporter.source.protocol import pack
from lab.bench.servers import RedisServer, cpu_seconds, free_port
from lab.siege.alertmanager import FakeAlertmanager
from lab.siege.attack import Attack
from lab.siege.fake_redis import FakeRedis

PASSWORD: Final = "right"  # noqa: S105 - a test's
_GROUPS: Final = Path("/sys/fs/cgroup/memory")
_CHUNK: Final = 500
_TTL: Final = b"3600"
_PATIENCE: Final = 60.0
_FIELDS: Final = (
    *(b"portfolio_count", b"3", b"queue_size", b"15", b"cpu_usage", b"12.5", b"memory_usage", b"512"),
    *(b"total_events", b"15000", b"backpressure_count", b"5", b"dropped_events", b"2", b"status", b"RUNNING"),
)


class Stand:
    """An exporter with its Redis and its Alertmanager.

    Args:
        attack: The attack that follows. It decides on the nodes, on Redis's and Alertmanager's replies, and on flags.
        limit: Largest memory of the exporter, in bytes. The kernel kills a larger process if the machine allows limits.

    Attributes:
        port: The exporter's port.
        redis_port: The port of the Redis that it reads.
    """

    def __init__(self, attack: Attack, limit: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="siege-")
        self.folder = Path(self._folder.name)
        self.fake = FakeRedis(attack.nodes, attack.twist) if attack.twist else None
        self._real = None if self.fake else RedisServer()
        self.redis_port = self.fake.port if self.fake else (self._real.port if self._real else 0)
        if self._real:
            _fill(self._real, attack.nodes)
        self.alertmanager = FakeAlertmanager(attack.alertmanager)
        self.port = free_port()
        self.headers: dict[str, str] = {}
        self._log = (self.folder / "log").open("wb")
        self._exporter = self._start(attack, limit)
        self.pid = self._exporter.pid

    def _start(self, attack: Attack, limit: int) -> "subprocess.Popen[bytes]":
        flags = [
            f"--redis.url=redis://127.0.0.1:{self.redis_port}/0",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--alertmanager.url=http://127.0.0.1:{self.alertmanager.port}",
            "--heartbeat.ttl=1h",
            *attack.flags,
        ]
        if attack.users:
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
            config = self.folder / "web.yml"
            config.write_text(json.dumps({"basic_auth_users": {"prometheus": hashed}}), encoding="utf-8")
            flags.append(f"--web.config.file={config}")
            self.headers["Authorization"] = f"Basic {b64encode(f'prometheus:{PASSWORD}'.encode()).decode()}"
        command = [sys.executable, "-m", "exporter", *flags]
        process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self._group = _limit_memory(process.pid, limit)
        return process

    def stop(self) -> None:
        """Kill the exporter, stop the servers beside it, and delete the folder."""
        self._exporter.kill()
        self._exporter.wait()
        for server in (self.fake, self._real, self.alertmanager):
            if server:
                server.stop()
        self._log.close()
        self._folder.cleanup()
        if self._group:
            with suppress(OSError):
                self._group.rmdir()

    @property
    def alive(self) -> bool:
        """Whether the exporter's process runs."""
        return self._exporter.poll() is None

    def cpu_share(self, since: float, before: float) -> float:
        """Return the share of a core that the exporter has used since a moment.

        Args:
            since: The moment, in monotonic seconds.
            before: The seconds of all cores that the exporter had used until then.
        """
        return (self.cpu_seconds - before) / (time.monotonic() - since)

    @property
    def cpu_seconds(self) -> float:
        """The seconds of all cores that the exporter has used; 0 if it has ended."""
        return cpu_seconds(self.pid) if self.alive else 0

    def memory(self, name: str) -> int:
        """Return the exporter's memory in bytes: the present one (``VmRSS``) or the largest so far (``VmHWM``)."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith(f"{name}:"):
                    return int(line.split()[1]) * 1024
        return 0

    def log_lines(self) -> list[bytes]:
        """Return the lines of the exporter's log."""
        return (self.folder / "log").read_bytes().splitlines()

    def wait_until_whole(self, nodes: int) -> None:
        """Wait until a scrape has all nodes.

        Raises:
            RuntimeError: The exporter has ended, or a scrape still lacks nodes after a minute.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self.alive:
            with suppress(OSError, HTTPException):
                if self.get("/metrics")[1].count(b"\nginkgo_node_up{") >= nodes:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"the exporter does not serve: {self.log_lines()[-5:]}")

    def get(self, path: str, timeout: float = 10.0, **headers: str) -> tuple[int, bytes]:
        """Return the status and the body of an answer, read in full."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={**self.headers, **headers})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


@contextmanager
def stand(attack: Attack, limit: int) -> Iterator[Stand]:
    """Yield a stand whose exporter has read all nodes; the end of the block stops it."""
    made = Stand(attack, limit)
    try:
        made.wait_until_whole(attack.nodes)
        yield made
    finally:
        made.stop()


def _fill(server: RedisServer, nodes: int) -> None:
    """Write the keys of ``nodes`` nodes. Their heartbeats outlive the attack."""
    connection = server.client.connection_pool.get_connection()
    for start in range(0, nodes, _CHUNK):
        names = [b"execution-node-%06d" % number for number in range(start, min(start + _CHUNK, nodes))]
        commands = [
            pack(b"SET", b"heartbeat:node:" + name, b"2026-01-06T12:30:45.123456", b"EX", _TTL)
            + pack(b"HSET", b"node:metrics:" + name, *_FIELDS)
            for name in names
        ]
        connection.send_packed_command(commands, check_health=False)
        for _ in range(2 * len(names)):
            connection.read_response()
    server.client.connection_pool.release(connection)


def _limit_memory(pid: int, limit: int) -> Path | None:
    """Limit a process's memory, in bytes, and return its control group; None if the machine allows no limit."""
    group = _GROUPS / f"siege-{pid}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit), encoding="ascii")
        (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError:
        return None
    return group
