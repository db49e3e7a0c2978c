"""``ginkgo-exporter serve``: serves the metrics, and pushes alerts if an Alertmanager is given.

This is the only place that puts the parts of the exporter together.
"""

import argparse
import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from prometheus_client import disable_created_metrics

from exporter import __version__, settings
from exporter.errors import SettingsError
from exporter.fleet import Fleet
from exporter.journal.event import EventKind
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.settings import Settings
from exporter.telemetry import Telemetry
from exporter.web.server import Server, set_malloc_options

_GC_THRESHOLDS: Final = (50_000, 50, 100)
"""A read makes some 10,000 lists that live for milliseconds. With Python's own thresholds each read would make the
collector look through all other objects as well."""
_END_WITHIN: Final = 4.8
"""Seconds after a signal in which the process ends, whatever hangs. Running requests have four of these seconds."""

log = structlog.get_logger(__name__)


def run(loaded: Settings, _: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: Files that the settings name are invalid, a line for each.
        ExporterError: The address cannot be used.
    """
    try:
        return asyncio.run(serve(loaded))
    except SettingsError as error:
        from exporter.commands.check import read_files  # noqa: PLC0415 - only errors need it

        read_files(loaded)  # if a file is wrong, it raises the errors of all files
        raise error from None


async def serve(loaded: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then finish the running requests."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with serving(loaded) as (_, server):
        loop.add_signal_handler(signal.SIGHUP, server.reload)
        await stopped.wait()
        # A thread that waits for a name server or a connection cannot be stopped, and Python waits for all threads.
        end = threading.Timer(_END_WITHIN, os._exit, (0,))
        end.daemon = True
        end.start()
    return 0


@asynccontextmanager
async def serving(loaded: Settings) -> AsyncIterator[tuple[Fleet, Server]]:
    """Serve as long as the block lasts, then finish the running requests."""
    set_malloc_options()
    disable_created_metrics()
    for hint in settings.unknown_variables():
        log.warning("an environment variable looks like a setting, but is not one", hint=hint)
    telemetry = Telemetry()
    file = JournalFile(loaded.journal.file, loaded.journal.max_size) if loaded.journal.file else None
    journal = Journal(file, telemetry)
    fleet = Fleet(loaded, telemetry, journal=journal)
    bridge = None
    if loaded.alertmanager.url:
        from exporter.push.bridge import Bridge  # noqa: PLC0415 - most exporters do not push

        bridge = Bridge(fleet)
    server = Server(fleet, bridge)
    server.listen()
    journal.note(EventKind.EXPORTER, EventKind.EXPORTER, None, "started", version=__version__)
    with fleet:
        if bridge:
            bridge.start()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        gc.enable()
        try:
            yield fleet, server
        finally:
            log.info("stopping")
            journal.note(EventKind.EXPORTER, EventKind.EXPORTER, "started", "stopped")
            if bridge:
                bridge.stop()
            await server.stop()
