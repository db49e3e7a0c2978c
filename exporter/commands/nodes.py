"""``ginkgo-exporter nodes``: all nodes as a table, once or for as long as somebody looks."""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from operator import itemgetter
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from exporter.commands import sight as seeing
from exporter.commands.options import SOME_OFFLINE
from exporter.commands.rates import Rates
from exporter.commands.sight import See, Sight
from exporter.commands.table import render
from exporter.commands.texts import csv_of, json_of
from exporter.errors import ExporterError, SettingsError
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.settings import Settings
from exporter.snapshot.rows import COLUMNS, Row, offline_first

_UNLIMITED: Final = 10_000
"""Columns that a pipe has: nothing is cut off for it."""


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Show the nodes and return the exit code."""
    options = vars(arguments)
    if options["watch"] and (options["output"] != "table" or options["rate_over"]):
        raise SettingsError(
            "--watch: shows a table and measures events/s by itself; leave out --output and --rate-over"
        )
    # A pipe's width is nobody's: only a terminal makes lines fit.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)
    ttl, url = settings.heartbeat.ttl, options["exporter.url"]
    see = seeing.ask(url, ttl) if url else None
    if options["watch"]:
        seen = _watch(settings, console, see, options)
    else:
        seen = _look(see or seeing.look_once(settings), Rates(ttl), options["rate_over"])
        _show(settings, console, seen, options)
    return SOME_OFFLINE if options["fail_offline"] and any(r["state"] == State.OFFLINE for r in seen.rows) else 0


def _look(see: See, rates: Rates, rate_over: float | None) -> Sight:
    seen = see()
    if rate_over:
        rates.add(seen)
        time.sleep(rate_over)
        seen = rates.add(see())
    return seen


def _show(settings: Settings, console: Console, seen: Sight, options: dict[str, Any]) -> None:
    rows = chosen(seen.rows, options["state"], options["sort"], reverse=options["reverse"])
    if options["output"] == "json":
        print(json_of(rows))  # noqa: T201
    elif options["output"] == "csv":
        print(csv_of(rows))  # noqa: T201
    elif seen.rows:
        console.print(render(seen, rows, console.width))
    if not seen.rows:
        print(_nobody(settings, seen), file=sys.stderr)  # noqa: T201


def _watch(settings: Settings, console: Console, see: See | None, options: dict[str, Any]) -> Sight:
    """Show the nodes again and again until Ctrl-C, and return what was seen last."""
    rates = Rates(settings.heartbeat.ttl)
    fleet = Fleet(settings)
    if see is None:
        fleet.look()  # so that a Redis that can't be read ends in one line at once
    started = nullcontext(fleet) if see else fleet
    seen = Sight(0.0, (), "", remembers=True)
    with started, Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        again = see or seeing.watch(fleet)
        try:
            while True:
                shown: RenderableType
                try:
                    seen = rates.add(again())
                    rows = chosen(seen.rows, options["state"], options["sort"], reverse=options["reverse"])
                    shown = render(seen, rows, console.width) if seen.rows else Text(_nobody(settings, seen))
                except ExporterError as error:
                    # Values of an earlier read would be taken for what is.
                    shown = Group(Text(str(error), "bold red"), Text("trying again; Ctrl-C ends", "dim"))
                if console.is_terminal:
                    live.update(shown, refresh=True)
                else:
                    console.print(shown)
                time.sleep(options["interval"])
        except KeyboardInterrupt:
            pass
    fleet.close()
    return seen


def _nobody(settings: Settings, seen: Sight) -> str:
    keys = settings.keys
    return f"No nodes: {seen.place} has no key that begins with {keys.metrics_prefix} or {keys.heartbeat_prefix}"


def chosen(rows: Sequence[Row], state: str | None, sort: str | None, *, reverse: bool) -> list[Row]:
    """Return the rows to show, in the order to show them in; what is not known comes last."""
    some = [row for row in rows if state is None or row["state"] == state]
    if sort is None:
        return sorted(some, key=offline_first, reverse=reverse)
    key = next(column.key for column in COLUMNS if column.name == sort)
    known = [row for row in some if row.get(key) is not None]
    return sorted(known, key=itemgetter(key), reverse=reverse) + [row for row in some if row.get(key) is None]
