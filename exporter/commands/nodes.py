"""``ginkgo-exporter nodes``: prints all nodes as a table, once or again and again (``--watch``)."""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from operator import itemgetter
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from exporter.commands.formats import csv_of, json_of
from exporter.commands.listing import Listing, ReadListing, from_exporter, from_fleet, from_redis
from exporter.commands.live import show_live, table_console
from exporter.commands.options import SOME_OFFLINE
from exporter.commands.rates import Rates
from exporter.commands.table import render
from exporter.errors import SettingsError
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.settings import Settings
from exporter.snapshot.rows import COLUMNS, Row, offline_first


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Show the nodes and return the exit code."""
    options = vars(arguments)
    if options["watch"] and (options["output"] != "table" or options["rate_over"]):
        raise SettingsError(
            "--watch: shows a table and measures events/s by itself; leave out --output and --rate-over"
        )
    console = table_console()
    ttl, url = settings.heartbeat.ttl, options["exporter.url"]
    read = from_exporter(url, ttl) if url else None
    if options["watch"]:
        listing = _watch(settings, console, read, options)
    else:
        listing = _read(read or from_redis(settings), Rates(ttl), options["rate_over"])
        _show(settings, console, listing, options)
    return SOME_OFFLINE if options["fail_offline"] and any(r["state"] == State.OFFLINE for r in listing.rows) else 0


def _read(read: ReadListing, rates: Rates, rate_over: float | None) -> Listing:
    listing = read()
    if rate_over:
        rates.add(listing)
        time.sleep(rate_over)
        listing = rates.add(read())
    return listing


def _show(settings: Settings, console: Console, listing: Listing, options: dict[str, Any]) -> None:
    rows = chosen(listing.rows, options["state"], options["sort"], reverse=options["reverse"])
    if options["output"] == "json":
        print(json_of(rows))  # noqa: T201
    elif options["output"] == "csv":
        print(csv_of(rows))  # noqa: T201
    elif listing.rows:
        console.print(render(listing, rows, console.width))
    if not listing.rows:
        print(_no_nodes(settings, listing), file=sys.stderr)  # noqa: T201


def _watch(settings: Settings, console: Console, read: ReadListing | None, options: dict[str, Any]) -> Listing:
    """Show the nodes again and again until Ctrl-C, and return the last listing."""
    rates = Rates(settings.heartbeat.ttl)
    fleet = Fleet(settings)
    if read is None:
        fleet.look()  # a Redis that cannot be read ends the command at once, with one line
    listing = Listing(0.0, (), "", remembers=True)
    with nullcontext(fleet) if read else fleet:
        read_again = read or from_fleet(fleet)

        def table() -> RenderableType:
            nonlocal listing
            listing = rates.add(read_again())
            rows = chosen(listing.rows, options["state"], options["sort"], reverse=options["reverse"])
            return render(listing, rows, console.width) if listing.rows else Text(_no_nodes(settings, listing))

        show_live(console, options["interval"], table)
    fleet.close()
    return listing


def _no_nodes(settings: Settings, listing: Listing) -> str:
    keys = settings.keys
    return f"No nodes: {listing.place} has no key that begins with {keys.metrics_prefix} or {keys.heartbeat_prefix}"


def chosen(rows: Sequence[Row], state: str | None, sort: str | None, *, reverse: bool) -> list[Row]:
    """Return the rows to show in their order. Rows whose sort value is unknown come last."""
    some = [row for row in rows if state is None or row["state"] == state]
    if sort is None:
        return sorted(some, key=offline_first, reverse=reverse)
    key = next(column.key for column in COLUMNS if column.name == sort)
    known = [row for row in some if row.get(key) is not None]
    return sorted(known, key=itemgetter(key), reverse=reverse) + [row for row in some if row.get(key) is None]
