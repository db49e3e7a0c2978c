"""The command line: the only place that puts the parts together."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import structlog
from prometheus_client import disable_created_metrics

from exporter import __revision__, __version__, demo, logs, settings
from exporter.check import check
from exporter.errors import ExporterError, SettingsError
from exporter.fleet import Fleet
from exporter.push.bridge import Bridge
from exporter.settings import Settings
from exporter.web.server import Server

_GC_THRESHOLDS: Final = (50_000, 50, 100)
"""A read makes some 10,000 lists that live for milliseconds: no reason to look at everything else."""

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 bad usage or setting."""
    disable_created_metrics()
    arguments = _parser().parse_args(argv)
    try:
        loaded = settings.load(vars(arguments))
        logs.configure(loaded.log)
        sys.exit(arguments.run(loaded, arguments))
    except SettingsError as error:
        _fail(str(error), 2)
    except ExporterError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(reason: str, code: int) -> NoReturn:
    print(f"ginkgo-exporter: {reason}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(f"{message} (see {self.prog} --help)", 2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ginkgo-exporter",
        description="Serve the metrics of Ginkgo's ExecutionNodes to Prometheus.",
        epilog="Every flag has an environment variable, such as GINKGO_EXPORTER_REDIS_URL.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__} ({__revision__})")
    parser.set_defaults(run=_serve)
    settings.add_flags(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for name, run, text in (
        ("serve", _serve, "serve metrics; what is done when no command is given"),
        ("demo", _demo, "simulate nodes on an embedded Valkey, and serve their metrics"),
        ("check", _check, "check the configuration, Redis and Alertmanager once"),
    ):
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        if run is _demo:
            demo.add_flags(command)
        settings.add_flags(command)
    return parser


def _serve(loaded: Settings, _: argparse.Namespace) -> int:
    return asyncio.run(serve(loaded))


def _demo(loaded: Settings, arguments: argparse.Namespace) -> int:
    return demo.run(loaded, arguments, serving)


def _check(loaded: Settings, _: argparse.Namespace) -> int:
    return check(loaded)


def _nodes(loaded: Settings, arguments: argparse.Namespace) -> int:
    # What matters is said in the output; a log line would stand in the middle of a table.
    logging.disable(logging.NOTSET if "log.level" in arguments else logging.CRITICAL)
    from exporter.terminal import nodes  # noqa: PLC0415 - rich is no burden for who serves

    return nodes.run(loaded, arguments)


def _forget(loaded: Settings, arguments: argparse.Namespace) -> int:
    logging.disable(logging.NOTSET if "log.level" in arguments else logging.CRITICAL)
    return forget.run(loaded, arguments)


async def serve(loaded: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is being served."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with serving(loaded):
        await stopped.wait()
    return 0


@asynccontextmanager
async def serving(loaded: Settings) -> AsyncIterator[tuple[Fleet, Server]]:
    """Serve as long as the block lasts, then finish what is being served."""
    fleet = Fleet(loaded)
    bridge = Bridge(fleet) if loaded.alertmanager.url else None
    server = Server(fleet)
    server.listen()
    with fleet:
        if bridge:
            bridge.start()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        try:
            yield fleet, server
        finally:
            log.info("stopping")
            if bridge:
                await bridge.stop()
            await server.stop()
