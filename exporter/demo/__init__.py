"""``ginkgo-exporter demo``: runs a simulated platform, an embedded Valkey and the exporter in one command.

Read ``stage`` first: it starts all parts, lets its story happen, and stops the parts. ``platform`` has the
nodes, their scheduler and Valkey's disk. ``receiver`` shows Alertmanager's notifications in compose.yaml.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from exporter.settings import Settings

if TYPE_CHECKING:
    from exporter.fleet import Fleet
    from exporter.web.server import Server

Serving = Callable[[Settings], AbstractAsyncContextManager[tuple["Fleet", "Server"]]]
"""Returns a context in which the exporter serves."""

FAST = 10.0
"""How many times as fast the demo runs with ``--fast``."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only the demo has to a parser."""
    group = parser.add_argument_group("Demo")
    group.add_argument("--no-exporter", action="store_true", help="simulate the nodes only; an exporter runs elsewhere")
    group.add_argument(
        "--fast", action="store_true", help=f"shorten all times to 1/{FAST:g}, heartbeats and their TTL included"
    )


def run(settings: Settings, arguments: argparse.Namespace, serving: Serving) -> int:
    """Run the demo until a signal stops it.

    Args:
        settings: The exporter's settings. The demo replaces some defaults: it uses an embedded Valkey,
            a free port and the log level warning.
        arguments: The result of a parser with ``add_flags``.
        serving: Starts the exporter.

    Raises:
        ExporterError: A package is missing, or a part of the demo failed.
    """
    import asyncio  # noqa: PLC0415 - --help reads this module too

    from exporter.demo.stage import perform  # noqa: PLC0415 - as above

    return asyncio.run(perform(settings, arguments, serving))
