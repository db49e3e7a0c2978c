"""Runs the demo: starts its parts, lets the story happen, and stops and removes everything."""

import argparse
import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from redis import ConnectionPool, Redis
from redis.connection import parse_url

from exporter import logs
from exporter.demo import FAST, Serving
from exporter.demo.platform import BEAT, TTL, Disk, Node, Platform
from exporter.demo.programs import HOST, Programs, free_port, start_alertmanager, start_prometheus, start_valkey
from exporter.demo.receiver import Receiver
from exporter.demo.story import Clock, live, play, watch
from exporter.errors import ExporterError, SettingsError
from exporter.settings import ListenAddress, Secret, Settings
from exporter.source.connection import options_of

_PROGRAMME: Final = """
Within five minutes a node crashes, and the scheduler moves its portfolios to other nodes. Another node is flooded,
a third one stops. Then Redis's disk is full: nobody can beat, and nobody is called dead."""
_FAST: Final = """
--fast: all times are a tenth. A heartbeat lives for 3 s instead of 30 s, a node beats every second, and the scheduler
looks every 3 to 4 s. Only Prometheus's rules keep the times that they wait before they fire."""
_OTHER_REDIS: Final = """
The disk of the Redis given by --redis.url is left alone: that part of the story is left out."""
_STACK: Final = """
Alertmanager notifies about the crash as soon as the heartbeat has expired. It notifies about
the return some minutes later, because the rule keeps firing for a while (keep_firing_for)."""


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
    _refuse(settings, arguments)
    clock, embedded = Clock(FAST if arguments.fast else 1.0), "url" not in settings.redis.given
    async with AsyncExitStack() as parts:
        programs = Programs(parts)
        redis_url = await start_valkey(programs) if embedded else ""
        alertmanager = pages = ""
        if arguments.stack:
            receiver = Receiver(HOST, 0, clock.tell)
            parts.push_async_callback(receiver.close)
            pages = f"http://{HOST}:{receiver.port}"
            alertmanager = await start_alertmanager(programs, pages)
        settings = _with_demo_defaults(settings, redis_url, alertmanager, clock.speed)
        redis_url = settings.redis.url[0].get_secret_value()
        redis = Redis(connection_pool=ConnectionPool(**options_of(settings.redis, parse_url(redis_url))))
        parts.callback(redis.close)
        clock.restart()
        platform = Platform(redis, _nodes(arguments.nodes, settings), clock.now, clock.tell)
        platform.begin()
        parts.callback(platform.end)
        scheme, _, place = redis_url.partition("://")
        places = {"Redis": f"{scheme}://{place.rpartition('@')[2].partition('?')[0]}"}
        acts: list[Coroutine[Any, Any, None]] = [live(platform), programs.watch()]
        url, metrics = _url(settings), ""
        if not arguments.no_exporter:
            fleet, _ = await parts.enter_async_context(serving(settings))
            acts.append(watch(fleet, clock))
            metrics = url + settings.web.telemetry_path
            places["status page"] = f"{url}/"
            places["metrics"] = f"curl -s {metrics} | grep -E '^ginkgo_(node|portfolio)'"
            places["JSON"] = f"curl -s {url}/api/v1/portfolios"
        if arguments.stack:
            prometheus = await start_prometheus(programs, metrics, alertmanager, clock.speed)
            places |= {"Prometheus": f"{prometheus}/alerts", "Alertmanager": f"{alertmanager}/#/alerts", "pages": pages}
        if embedded or arguments.stack:
            places["logs"] = str(programs.folder)
        told = {_PROGRAMME: True, _FAST: arguments.fast, _OTHER_REDIS: not embedded, _STACK: arguments.stack}
        print(  # noqa: T201
            f"ginkgo-exporter demo: {arguments.nodes} simulated nodes\n",
            *(f"  {name:12}  {place}" for name, place in places.items()),
            "".join(text for text, holds in told.items() if holds),
            "Ctrl-C ends all of it and leaves nothing behind.\n",
            sep="\n",
            flush=True,
        )
        acts.append(play(platform, Disk(redis, programs.folder) if embedded else None, clock, metrics))
        try:
            async with asyncio.TaskGroup() as group:
                for act in acts:
                    group.create_task(act)
        except* (ExporterError, OSError) as failures:  # an OSError: the terminal or the pipe is closed
            raise failures.exceptions[0] from None
        finally:
            print("\nending the demo", flush=True)  # noqa: T201


def _refuse(settings: Settings, arguments: argparse.Namespace) -> None:
    wrong = {
        "--redis.mode: the demo's nodes write to a standalone Redis": settings.redis.mode != "standalone",
        "--web.config.file: the demo serves without TLS and passwords": settings.web.config_file,
        "--stack: there is nothing to scrape with --no-exporter": arguments.stack and arguments.no_exporter,
    }
    if found := [text for text, holds in wrong.items() if holds]:
        raise SettingsError("\n".join(found))


def _with_demo_defaults(settings: Settings, redis_url: str, alertmanager: str, speed: float) -> Settings:
    """Return the settings with the demo's own defaults for what the user did not give."""
    if "listen_address" not in settings.web.given:
        address = ListenAddress(HOST, free_port(settings.web.listen_address.port))
        settings = settings._replace(web=settings.web.with_values(listen_address=address))
    chosen: dict[str, dict[str, Any]] = {
        "redis": {"url": (Secret(redis_url),)},
        "web": {"external_url": _url(settings)},
        "alertmanager": {"url": (alertmanager,)} if alertmanager else {},
        "log": {"level": "warning"},  # the terminal shows the story
        "heartbeat": {"ttl": TTL / speed},
        "discovery": {"interval": BEAT / speed},
    }
    sections: dict[str, Any] = {name: getattr(settings, name) for name in chosen}
    for name, values in chosen.items():
        free = {key: value for key, value in values.items() if key not in sections[name].given}
        sections[name] = sections[name].with_values(**free)
    settings = settings._replace(**sections)
    logs.configure(settings.log)
    return settings


def _nodes(count: int, settings: Settings) -> list[Node]:
    """Return the nodes: each has two to four portfolios."""
    portfolios = [tuple(f"portfolio-{i + 1}-{place + 1}" for place in range(2 + i % 3)) for i in range(count)]
    ttl = settings.heartbeat.ttl
    return [Node(f"demo-node-{i + 1}", i, settings.keys, ttl, portfolios[i]) for i in range(count)]


def _url(settings: Settings) -> str:
    """Return the address of the exporter's page."""
    host, port = settings.web.listen_address
    return f"http://{ListenAddress(host or 'localhost', port)}"
