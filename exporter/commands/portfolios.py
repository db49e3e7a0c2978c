"""``ginkgo-exporter portfolios``: prints all portfolios as a table, once or again and again (``--watch``)."""

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from exporter.commands.exporter_api import ExporterApi
from exporter.commands.listing import redis_place
from exporter.commands.live import show_live, table_console
from exporter.commands.options import SOME_UNTRADED
from exporter.errors import SettingsError, SourceError
from exporter.escaping import cell, printable, printable_json
from exporter.fleet import Fleet
from exporter.portfolios.history import FAULTS
from exporter.portfolios.ledger import PortfolioState
from exporter.settings import Settings
from exporter.snapshot.portfolio_rows import KEYS, PortfolioRow, faults_first, portfolio_rows
from exporter.snapshot.rows import moment
from exporter.snapshot.snapshot import Snapshot

_STYLES: Final = {PortfolioState.TRADED: "green", PortfolioState.UNKNOWN: "yellow"} | dict.fromkeys(FAULTS, "bold red")


@dataclass(frozen=True, slots=True)
class Ledgers:
    """All portfolios at one moment.

    Attributes:
        rows: The portfolios, faults first.
        wall: Unix time, by the clock of the reader.
        place: The address of Redis or of the exporter that they were read from.
    """

    rows: Sequence[PortfolioRow]
    wall: float
    place: str


Read = Callable[[], Ledgers]
"""Reads the portfolios again. Raises an ExporterError with one line if they cannot be read."""


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Show the portfolios and return the exit code."""
    options = vars(arguments)
    if options["watch"] and options["output"] != "table":
        raise SettingsError("--watch: shows a table; leave out --output")
    console = table_console()
    url = options["exporter.url"]
    api = ExporterApi(url) if url else None
    if options["watch"]:
        ledgers = _watch(settings, console, api, options)
    else:
        ledgers = _from_exporter(api)() if api else _once(settings)
        _show(console, ledgers, options)
    untraded = any(row["state"] == PortfolioState.UNTRADED for row in ledgers.rows)
    return SOME_UNTRADED if options["fail_untraded"] and untraded else 0


def _from_exporter(api: ExporterApi) -> Read:
    def read() -> Ledgers:
        rows, wall = api.rows("portfolios")
        return Ledgers(faults_first(rows), wall, api.place)

    return read


def _once(settings: Settings) -> Ledgers:
    """Read Redis once. Nobody knows since when a fault lasts, so that is left out."""
    fleet = Fleet(settings)
    try:
        ledgers = _ledgers(fleet.look(), settings)
    finally:
        fleet.close()
    return Ledgers([row | {"since": None} for row in ledgers.rows], ledgers.wall, ledgers.place)


def _ledgers(snapshot: Snapshot, settings: Settings) -> Ledgers:
    if snapshot.portfolios_error:
        raise SourceError(f"the portfolios cannot be read: {snapshot.portfolios_error}")
    rows = portfolio_rows(snapshot.portfolios.reading.account) if snapshot.portfolios else ()
    return Ledgers(faults_first(rows), snapshot.wall, redis_place(settings))


def _chosen(rows: Sequence[PortfolioRow], state: str | None) -> Sequence[PortfolioRow]:
    return [row for row in rows if state is None or row["state"] == state]


def _show(console: Console, ledgers: Ledgers, options: dict[str, Any]) -> None:
    rows = _chosen(ledgers.rows, options["state"])
    if options["output"] == "json":
        print(printable_json({"redis_up": True, "portfolios": list(rows)}))  # noqa: T201
    elif options["output"] == "csv":
        print(_csv(rows))  # noqa: T201
    elif ledgers.rows:
        console.print(_table(ledgers, rows))
    if not ledgers.rows:
        print(_nothing(ledgers), file=sys.stderr)  # noqa: T201


def _watch(settings: Settings, console: Console, api: ExporterApi | None, options: dict[str, Any]) -> Ledgers:
    """Show the portfolios again and again until Ctrl-C, and return the last ones."""
    fleet = Fleet(settings)
    if api is None:
        fleet.look()  # a Redis that cannot be read ends the command at once, with one line
    read = _from_exporter(api) if api else lambda: _ledgers(fleet.read(), settings)
    ledgers = Ledgers((), 0.0, "")

    def table() -> RenderableType:
        nonlocal ledgers
        ledgers = read()
        rows = _chosen(ledgers.rows, options["state"])
        return _table(ledgers, rows) if ledgers.rows else Text(_nothing(ledgers))

    with nullcontext(fleet) if api else fleet:
        show_live(console, options["interval"], table)
    fleet.close()
    return ledgers


def _nothing(ledgers: Ledgers) -> str:
    return f"No portfolios: {ledgers.place} has no plan, and no node says what it has loaded"


def _table(ledgers: Ledgers, rows: Sequence[PortfolioRow]) -> RenderableType:
    """Return the rows as a table, under a line that counts all portfolios."""
    counts = Counter(row["state"] for row in ledgers.rows)
    summary = Text()
    for state in (PortfolioState.TRADED, *FAULTS, PortfolioState.UNKNOWN):
        if counts[state] or state in (PortfolioState.TRADED, PortfolioState.UNTRADED):
            summary.append(f"{counts[state]} {state}", _STYLES[state] if counts[state] else "dim").append("  ")
    summary.append(f"{ledgers.place} at {moment(ledgers.wall)} UTC", "dim")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline")
    for title in ("State", "Portfolio", "Reason", "Planned on", "Loaded on", "Listed by", "Since"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text, style) for text, style in _cells(row)))
    return Group(summary, table)


def _cells(row: PortfolioRow) -> list[tuple[str, str]]:
    return [
        (row["state"], _STYLES[PortfolioState(row["state"])]),
        (printable(row["portfolio_id"]), ""),
        (row["reason"] or "", ""),
        (printable(row["planned_node"] or ""), ""),
        (printable(", ".join(row["loaded_nodes"])), ""),
        (printable(", ".join(row["listed_nodes"])), "dim"),
        ("" if row["since"] is None else moment(row["since"]), ""),
    ]


def _csv(rows: Sequence[PortfolioRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(KEYS)
    for row in rows:
        values = (" ".join(value) if isinstance(value, list) else value for value in map(row.get, KEYS))
        writer.writerow([cell(value) if isinstance(value, str) else value for value in values])
    return text.getvalue().rstrip("\n")
