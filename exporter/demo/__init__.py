"""Simulated nodes, an embedded Valkey and the exporter beside them: all of it in one command."""

import argparse
import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from exporter.errors import ExporterError
from exporter.fleet import Fleet
from exporter.settings import Settings
from exporter.web.server import Server

Serving = Callable[[Settings], AbstractAsyncContextManager[tuple[Fleet, Server]]]
"""Serves as long as its block lasts."""

_MOST_NODES = 1000
_LONGEST = 3600.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser the flags that only the demo has.

    One is left out of its help: ``--speed 10`` makes the nodes beat, the story pass and
    heartbeats run out ten times as fast, for tests.
    """
    group = parser.add_argument_group("Demo")
    group.add_argument(
        "--nodes", type=_count, default=5, metavar="COUNT", help="how many nodes are simulated [%(default)s]"
    )
    group.add_argument("--no-exporter", action="store_true", help="simulate the nodes only; an exporter runs elsewhere")
    group.add_argument(
        "--stack", action="store_true", help="also run Prometheus and Alertmanager, and show what they notify"
    )
    group.add_argument(
        "--logs", type=Path, metavar="FOLDER", help="keep the logs of all parts there [a temporary folder]"
    )
    group.add_argument("--speed", type=_speed, default=1.0, help=argparse.SUPPRESS)


def run(settings: Settings, arguments: argparse.Namespace, serving: Serving) -> int:
    """Run the demo until it is told to stop.

    Args:
        settings: The exporter's. Of those not given, the demo chooses some: an embedded Valkey,
            an address that is free, a log that leaves the terminal to the story.
        arguments: What a parser with ``add_flags`` made of the command line.
        serving: Starts the exporter.

    Raises:
        ExporterError: A package or program that it needs is missing, or a part of it failed.
    """
    try:
        from exporter.demo.stage import perform  # noqa: PLC0415 - needs psutil, which an exporter does not
    except ModuleNotFoundError as error:
        raise ExporterError(f"the demo needs {error.name}: pip install 'ginkgo-exporter[demo]'") from None
    return asyncio.run(perform(settings, arguments, serving))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_NODES:
        raise argparse.ArgumentTypeError(f"not a number from 1 to {_MOST_NODES}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0
    if not 1 / _LONGEST <= speed <= _LONGEST:
        raise argparse.ArgumentTypeError("not a factor such as 10")
    return speed
