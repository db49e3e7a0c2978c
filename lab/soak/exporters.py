"""The exporter under test: one process after the other, restarted and suspended."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.bench.servers import free_port
from lab.soak.servers import DISCOVERY, READ_TIMEOUT, STOP_WITHIN, TTL, Daemon, RedisUnderFaults


class ExporterUnderTest(Daemon):
    """The exporter, with its times a tenth of the defaults.

    Args:
        server: The Redis that it reads.
        push: The flags for push.
    """

    def __init__(self, server: RedisUnderFaults, push: Sequence[str]) -> None:
        port = free_port()
        times = (f"--heartbeat.ttl={TTL:g}s", f"--discovery.interval={DISCOVERY:g}s")
        flags = (*server.flags(), *times, f"--redis.timeout={READ_TIMEOUT:g}s", *push)
        self.started = time.monotonic()
        address = f"--web.listen-address=127.0.0.1:{port}"
        super().__init__([sys.executable, "-m", "exporter", address, *flags], port)

    @property
    def url(self) -> str:
        """URL of the exporter."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        lines = self._proc("status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    @property
    def descriptors(self) -> int:
        """Number of open files and sockets."""
        return len(list(self._proc("fd").iterdir()))

    @property
    def threads(self) -> int:
        """Number of threads."""
        return len(list(self._proc("task").iterdir()))

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.pid}/{name}")


class Exporters:
    """Starts one exporter after the other. Only one runs at a time.

    Args:
        server: The Redis that they read.
        push: The flags for push.
        started: Called after each start.
        add_wrong: Called with a text for each thing that an exporter does wrong.

    Attributes:
        current: The exporter that was started last.
        suspended: Whether the current exporter is suspended.
    """

    def __init__(
        self,
        server: RedisUnderFaults,
        push: Sequence[str],
        started: Callable[[], None],
        add_wrong: Callable[[str], None],
    ) -> None:
        self._server, self._push, self._started, self._accuse = server, push, started, add_wrong
        self.suspended = False
        self.current = self.start()

    def start(self) -> ExporterUnderTest:
        """Start another exporter."""
        self.current = ExporterUnderTest(self._server, self._push)
        self._started()
        return self.current

    def stop(self) -> None:
        """Stop the current exporter with SIGTERM."""
        self.current.send(signal.SIGTERM)
        try:
            if code := self.current.wait(STOP_WITHIN):
                self._accuse(f"ended with {code} when told to: {self.current.output[-500:]}")
        except subprocess.TimeoutExpired:
            self._accuse(f"did not end within {STOP_WITHIN:g} s")
        self.current.stop()

    def kill(self) -> None:
        """Kill the current exporter."""
        self.current.stop()

    def suspend(self) -> None:
        """Suspend the current exporter."""
        self.suspended = True
        self.current.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the current exporter."""
        self.current.send(signal.SIGCONT)
        self.suspended = False

    @property
    def ready(self) -> bool:
        """Whether the current exporter can answer."""
        return self.current.alive and not self.suspended

    @property
    def age(self) -> float:
        """Seconds since the current exporter was started."""
        return time.monotonic() - self.current.started
