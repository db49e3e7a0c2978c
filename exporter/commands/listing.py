"""``ginkgo-exporter nodes`` and ``portfolios``: all rows as a table, JSON or CSV, once or again and again."""

import argparse
import csv
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from exporter.commands.asking import NODES, PORTFOLIOS, RedisItself, RunningExporter, asking
from exporter.commands.command_line import ExitCode, say
from exporter.errors import ExporterError, SettingsError
from exporter.escaping import cell, printable, printable_json
from exporter.journal.event import undecided
from exporter.liveness import State
from exporter.portfolios.ledger import FAULTS, PortfolioState
from exporter.settings import Settings
from exporter.snapshot.rows import (
    COLUMNS,
    NODE_KEYS,
    PORTFOLIO_KEYS,
    Column,
    Row,
    count,
    moment,
)

_GAP: Final = 2


class Kind(NamedTuple):
    """What is listed.

    Attributes:
        name: Its name in the exporter's API.
        keys: The keys of a row in JSON and CSV, in their order.
        columns: The columns of the table.
        omitted_first: The columns that a narrow terminal omits first, in this order; never the state and the id.
        styles: The colour of each state, in the order of the summary.
        bad: The state that ``--fail-…`` asks for.
        code: The exit code then.
    """

    name: str
    keys: Sequence[str]
    columns: Sequence[Column]
    omitted_first: Sequence[str]
    styles: dict[str, str]
    bad: str
    code: ExitCode


def _text(value: str | Sequence[str], _: Row) -> str:
    return printable(value if isinstance(value, str) else ", ".join(value))


_PORTFOLIO_COLUMNS: Final = (
    Column("state", "State", "state", _text, number=False),
    Column("portfolio", "Portfolio", "portfolio_id", _text, number=False),
    Column("reason", "Reason", "reason", _text, number=False),
    Column("positions", "Positions", "positions", lambda value, _: count(value)),
    Column("planned", "Planned on", "planned_node", _text, number=False),
    Column("loaded", "Loaded on", "loaded_nodes", _text, number=False),
    Column("listed", "Listed by", "listed_nodes", _text, number=False),
    Column("since", "Since", "since", lambda value, _: moment(value), number=False),
)
_NODES: Final = Kind(
    NODES,
    NODE_KEYS,
    COLUMNS,
    ("memory", "cpu", "events", "events/s", "status", "since", "backpressure", "queue", "portfolios", "drops"),
    {State.ONLINE: "green", State.OFFLINE: "bold red", State.UNDECIDED: "yellow"},
    State.OFFLINE,
    ExitCode.SOME_OFFLINE,
)
_PORTFOLIOS: Final = Kind(
    PORTFOLIOS,
    PORTFOLIO_KEYS,
    _PORTFOLIO_COLUMNS,
    ("listed", "since", "loaded", "planned", "reason", "positions"),
    {PortfolioState.TRADED: "green", **dict.fromkeys(FAULTS, "bold red"), PortfolioState.UNKNOWN: "yellow"},
    PortfolioState.UNTRADED,
    ExitCode.FAILURE,
)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Show the nodes, or the portfolios, and return the exit code.

    Raises:
        SettingsError: The arguments do not fit together.
        ExporterError: Redis or an exporter cannot be asked.
    """
    options = vars(arguments)
    kind = _NODES if options["command"] == NODES else _PORTFOLIOS
    form, watch = options["output"], options["watch"]
    fails = options.get("fail_offline") or options.get("fail_untraded")
    if watch and (form != "table" or fails):
        raise SettingsError(
            "--watch: shows a table until Ctrl-C; leave out --output, --fail-offline and --fail-untraded"
        )
    # In a pipe no line must fit a width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    with asking(settings, options["exporter.url"], quiet=form == "table", watch=watch) as source:
        if watch:
            _watch(console, lambda: _table(kind, source.rows(kind.name), source, options, console))
            return ExitCode.SUCCESS
        rows = source.rows(kind.name)
        if form == "json":
            values = [{key: row.get(key) for key in kind.keys} for row in chosen(rows, options)]
            print(printable_json({"redis_up": True, kind.name: values}))  # noqa: T201
        elif form == "csv":
            _write_csv(kind.keys, chosen(rows, options))
        elif rows:
            console.print(_table(kind, rows, source, options, console), crop=False)
    if not rows:
        say(f"No {kind.name} at {source.place}. ginkgo-exporter check looks for the reason.", file=sys.stderr)
    return kind.code if fails and any(row["state"] == kind.bad for row in rows) else ExitCode.SUCCESS


def _watch(console: Console, table: Callable[[], RenderableType]) -> None:
    """Show what ``table`` returns, every two seconds until Ctrl-C."""
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            try:
                shown = table()
            except ExporterError as error:
                # The values of an earlier read are not shown: an operator would take them for current ones.
                shown = Text(f"{error}\ntrying again; Ctrl-C ends", "bold red")
            if console.is_terminal:
                live.update(shown, refresh=True)
            else:
                console.print(shown)
            time.sleep(2)


def chosen(rows: Sequence[Row], options: dict[str, Any]) -> Sequence[Row]:
    """Return the rows to show in their order. Rows whose sort value is unknown come last."""
    some = [row for row in rows if options["state"] in (None, row["state"])]
    key = next((column.key for column in COLUMNS if column.name == options.get("sort")), "")
    if not key:
        return some
    return sorted(some, key=lambda row: (row.get(key) is None, row.get(key) or 0, row["node_id"]))


def _write_csv(keys: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a line of headings and a line for each row (RFC 4180, but lines end as in Unix).

    The cell of an unknown value is empty.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(keys)
    for row in rows:
        values = [" ".join(value) if isinstance(value, list) else value for value in map(row.get, keys)]
        writer.writerow([cell(value) if isinstance(value, str) else value for value in values])


def _table(
    kind: Kind, rows: Sequence[Row], source: RunningExporter | RedisItself, options: dict[str, Any], console: Console
) -> RenderableType:
    """Return the chosen rows as a table under a line that counts all rows, with remarks."""
    counts = Counter(row["state"] for row in rows)
    summary = Text()
    for state, style in kind.styles.items():
        if counts[state]:
            summary.append(f"{counts[state]} {state}  ", style)
    summary.append(f"{source.place} at {moment(time.time())} UTC", "dim")
    shown = chosen(rows, options)
    remarks = undecided(rows) if kind is _NODES else []
    parts = _fitting(kind, shown, console.width) if shown else ()
    return Group(summary, *parts, *(Text(each, "yellow") for each in remarks))


def _fitting(kind: Kind, rows: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """Yield rows as a table without the columns that do not fit, and a line that names these columns."""
    columns = {c.name: c for c in kind.columns if any(row.get(c.key) not in (None, []) for row in rows)}
    texts = {name: [column.text(row) for row in rows] for name, column in columns.items()}
    titles = {name: column.short or column.title for name, column in columns.items()}
    widths = {name: max(map(cell_len, (titles[name], *texts[name]))) + _GAP for name in columns}
    omitted = []
    for name in (*kind.omitted_first, *[*columns][2:]):
        if name in widths and sum(widths.values()) - _GAP > width:
            omitted.append(columns[name].title)
            del widths[name]
    table = Table(
        box=None,
        padding=(0, _GAP, 0, 0),
        pad_edge=False,
        header_style="bold underline",
        width=sum(widths.values()) - _GAP,
    )
    for name in widths:
        table.add_column(titles[name], justify="right" if columns[name].number else "left", no_wrap=True)
    for state, *others in zip(*(texts[name] for name in widths), strict=True):
        table.add_row(Text(state, kind.styles[state]), *map(Text, others))
    yield table
    if omitted:
        yield Text(f"A wider terminal and --output json also show: {', '.join(omitted)}.", "dim")
