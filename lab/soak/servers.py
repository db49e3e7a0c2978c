"""The processes of the soak: a Redis that keeps its data through a kill, and the exporter under test."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lab.bench.servers import Program, free_port, redis_binary

TTL: Final = 3.0
"""Seconds that a heartbeat lives: a tenth of the platform's, so that a minute sees many lives."""
BEAT: Final = TTL / 3
DISCOVERY: Final = 1.0
"""Seconds between two looks for names."""
READ_TIMEOUT: Final = 2.0
"""Seconds that the exporter gives Redis for one read."""
STOP_WITHIN: Final = 5.0
"""Seconds in which the exporter ends when told to."""
_PATIENCE: Final = 60.0


class Daemon(Program):
    """A process that gets signals and may end by itself."""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return its exit code when it has ended."""
        return self._process.wait(timeout)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """What it wrote."""
        return Path(self._log.name).read_text(errors="replace")


class FilePassword(redis.CredentialProvider):
    """Reads the password at every connect, as it may have been rotated."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def get_credentials(self) -> tuple[str]:
        """Return what AUTH is sent."""
        return (self.file.read_text(),)


class RedisUnderFaults:
    """A Redis with a password. If it is killed, it loses no write that it has confirmed.

    Args:
        folder: For its data and the password's file.
        program: Path of the server; None for an installed one.
    """

    def __init__(self, folder: Path, program: str | None = None) -> None:
        self._data = folder / "redis"
        self._program = program or redis_binary()
        self.port = free_port()
        self.password_file = folder / "password"
        self._password = ""
        self.new_password()
        self.file_password()
        self.start()

    def start(self) -> None:
        """Start it with the data that it had, and wait until it answers."""
        self._data.mkdir(exist_ok=True)
        # Redis writes to the file before each reply, without a sync: the death of the process loses nothing.
        kept = ("--save", "", "--appendonly", "yes", "--appendfsync", "no")
        options = ("--enable-debug-command", "local", "--requirepass", self._password, "--dir", str(self._data))
        where = ("--bind", "127.0.0.1", "--port", str(self.port))
        self.process = Daemon([self._program, *where, *options, *kept], self.port)
        self.control = redis.Redis(port=self.port, password=self._password, socket_timeout=_PATIENCE)
        self.answer()

    def answer(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.control.ping()
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """Kill it."""
        self.process.stop()
        self.control.close()

    def wipe(self) -> None:
        """Lose its data; it must not run."""
        shutil.rmtree(self._data)

    @property
    def snapshot(self) -> Path:
        """Where it saves snapshots."""
        return self._data / "dump.rdb"

    @property
    def tells_of_pauses(self) -> bool:
        """Whether ``INFO`` says that writes are paused; Redis 8.0 does not."""
        return "paused_actions" in self.control.info("clients")

    def cut(self) -> None:
        """Close all connections but the soak's own."""
        self.control.client_kill_filter(_type="normal", skipme=True)

    def new_password(self) -> str:
        """Make another password, for now and for the next start."""
        self._password = os.urandom(8).hex()
        return self._password

    def file_password(self) -> None:
        """Tell its clients the password."""
        self.password_file.write_text(self._password)

    def client(self) -> "redis.Redis":
        """Return a client that waits for as long as Redis hangs, and tries nothing twice."""
        provider = FilePassword(self.password_file)
        return redis.Redis(
            port=self.port, credential_provider=provider, retry=Retry(NoBackoff(), 0), socket_timeout=None
        )

    def flags(self) -> list[str]:
        """Return the exporter's flags that concern it."""
        return [f"--redis.url=redis://127.0.0.1:{self.port}/0", f"--redis.password-file={self.password_file}"]

    @property
    def version(self) -> str:
        """Its name and version."""
        info = self.control.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}"
