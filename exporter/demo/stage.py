"""Runs the demo: starts its parts, lets the story happen, and stops and removes everything."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from exporter import logs
from exporter.demo import FAST, Serving
from exporter.demo.children import Children, free_port
from exporter.demo.clock import Clock
from exporter.demo.platform import Platform
from exporter.demo.receiver import Receiver
from exporter.demo.stack import Programs, start_alertmanager, start_prometheus
from exporter.demo.story import play
from exporter.demo.terminal import Terminal
from exporter.demo.valkey import start_valkey
from exporter.demo.watch import watch
from exporter.errors import SettingsError
from exporter.reporter import BEAT, TTL
from exporter.settings import ListenAddress, Secret, Settings
from exporter.web.config import WebConfig
from exporter.web.server import Server

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HOST: Final = "127.0.0.1"

_PROGRAMME: Final = """
Within five minutes a node crashes, and the scheduler moves its portfolios to other nodes. Another node is flooded,
a third one stops. Then Redis's disk is full: nobody can beat, and nobody is called dead."""
_FAST_PROGRAMME: Final = """\
--fast: all times are a tenth. A heartbeat lives for 3 s instead of 30 s, a node beats every second, and the scheduler
looks every 3 to 4 s. Only Prometheus's rules keep the times that they wait before they fire."""
_OTHER_REDIS: Final = """\
The disk of the Redis given by --redis.url is left alone: that part of the story is left out."""
_PROGRAMME_OF_STACK: Final = """\
Alertmanager notifies about the crash as soon as the heartbeat has expired. It notifies about
the return some minutes later, because the rule keeps firing for a while (keep_firing_for)."""


async def perform(settings: Settings, arguments: argparse.Namespace, serving: Serving) -> int:
    """Run the demo until a signal ends it.

    Raises:
        ExporterError: A part of the demo could not be started, or failed.
    """
    performance = asyncio.ensure_future(_perform(settings, arguments, serving))
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            asyncio.get_running_loop().add_signal_handler(number, performance.cancel)
    with suppress(asyncio.CancelledError):
        await performance
    return 0


async def _perform(settings: Settings, arguments: argparse.Namespace, serving: Serving) -> None:
    programs = _programs(settings, arguments)
    async with AsyncExitStack() as parts:
        children = await parts.enter_async_context(Children(_folder(arguments.logs)))
        clock = Clock(FAST if arguments.fast else arguments.speed)
        terminal = Terminal(clock)
        alertmanager = ""
        if programs:
            receiver = Receiver(terminal)
            parts.push_async_callback(receiver.close)
            alertmanager = await start_alertmanager(children, programs.alertmanager, receiver.url)
        theirs = "url" in settings.redis.given
        settings = await _with_demo_defaults(settings, children, alertmanager, clock.speed)
        clock.restart()
        folder = None if theirs else children.folder
        platform = await parts.enter_async_context(Platform(settings, arguments.nodes, clock, terminal, folder))
        places, fleet, metrics = {"Redis": _redis_address(settings)}, None, ""
        if not arguments.no_exporter:
            fleet, server = await parts.enter_async_context(serving(settings))
            url = _url(settings, server)
            metrics = url + settings.web.telemetry_path
            places |= {
                "status page": f"{url}/",
                "metrics": f"curl -s {metrics} | grep -E '^ginkgo_(node|portfolio)'",
                "JSON": f"curl -s {url}/api/v1/portfolios",
                "nodes": f"{_command()} nodes --watch --exporter.url {url}",
                "portfolios": f"{_command()} portfolios --watch --exporter.url {url}",
            }
        if programs:
            prometheus = await start_prometheus(children, programs.prometheus, metrics, alertmanager, clock.speed)
            places |= {"Prometheus": f"{prometheus}/alerts", "Alertmanager": f"{alertmanager}/#/alerts"}
        if children.logs:
            places["logs"] = str(children.logs)
        terminal.say(f"ginkgo-exporter demo: {len(platform.nodes)} simulated nodes\n")
        for name, place in places.items():
            terminal.say(f"  {name:12}  {place}")
        terminal.say(_PROGRAMME)
        if arguments.fast:
            terminal.say(_FAST_PROGRAMME)
        if theirs:
            terminal.say(_OTHER_REDIS)
        if programs:
            terminal.say(_PROGRAMME_OF_STACK)
        terminal.say("Ctrl-C ends all of it and leaves nothing behind.\n")
        acts = [children.first_to_end(), platform.scheduler.run(), play(platform, clock, terminal, metrics)]
        if fleet:
            acts.append(watch(fleet, clock, terminal))
        try:
            await _together(acts)
        finally:
            terminal.say("\nending the demo")


def _programs(settings: Settings, arguments: argparse.Namespace) -> Programs | None:
    """Return the programs of the stack; None without ``--stack``."""
    if not arguments.stack:
        return None
    if arguments.no_exporter:
        raise SettingsError("--stack: there is nothing to scrape with --no-exporter")
    if settings.web.config_file:
        raise SettingsError("--stack: cannot scrape an exporter with --web.config.file")
    return Programs.find()


def _folder(logs: Path | None) -> Path | None:
    try:
        if logs:
            logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--logs: cannot make {logs}: {error.strerror}") from None
    return logs and logs.resolve()


async def _together(acts: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all coroutines until one ends or fails, and cancel the others."""
    tasks = [asyncio.create_task(act) for act in acts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _with_demo_defaults(settings: Settings, children: Children, alertmanager: str, speed: float) -> Settings:
    """Return the settings with the demo's own defaults for settings that the user did not give."""
    if settings.redis.mode != "standalone":
        raise SettingsError("--redis.mode: the demo's nodes write to a standalone Redis")
    chosen: dict[str, dict[str, Any]] = {
        "web": {"listen_address": ListenAddress(_HOST, free_port(settings.web.listen_address.port))},
        "log": {"level": "warning"},  # the terminal shows the story
    }
    if "url" not in settings.redis.given:
        chosen["redis"] = {"url": (Secret(await start_valkey(children)),)}
    if alertmanager:
        chosen["alertmanager"] = {"url": (alertmanager,)}
    if speed != 1:
        chosen["heartbeat"] = {"ttl": TTL / speed}
        chosen["discovery"] = {"interval": BEAT / speed}
    sections: dict[str, Any] = {name: getattr(settings, name) for name in chosen}
    for name, values in chosen.items():
        free = {key: value for key, value in values.items() if key not in sections[name].given}
        sections[name] = sections[name].with_values(**free)
    settings = settings._replace(**sections)
    logs.configure(settings.log)
    return settings


def _url(settings: Settings, server: Server) -> str:
    host = settings.web.listen_address.host
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - a comparison; nothing listens here
        host = "localhost"
    scheme = "https" if WebConfig.load(settings.web.config_file).tls_server_config else "http"
    return f"{scheme}://{ListenAddress(host, server.port)}"


def _command() -> str:
    """Return the command that started this program, so that the user can run other commands of it."""
    called = Path(sys.argv[0])
    return f"{sys.executable} -m exporter" if called.suffix == ".py" else sys.argv[0]


def _redis_address(settings: Settings) -> str:
    """Return Redis's URL without user, password and options."""
    scheme, _, rest = settings.redis.url[0].get_secret_value().partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
