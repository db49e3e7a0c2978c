"""The nodes as a table for a terminal of any width."""

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from exporter.commands.listing import Listing
from exporter.journal.situation import undecided
from exporter.liveness.judge import State
from exporter.snapshot.rows import COLUMNS, Column, Row, count_states, moment

_STYLES: Final = {State.OFFLINE: "bold red", State.UNDECIDED: "yellow", State.ONLINE: "green"}
_OMITTED_FIRST: Final = (
    "memory", "cpu", "events", "events/s", "status", "since", "drops", "backpressure", "queue", "portfolios",
)  # fmt: skip
"""The columns that a narrow terminal omits, in this order. Many nodes write constants as memory and CPU."""
_GAP: Final = 2
_NODE_WIDTH: Final = 20
"""Width up to which other columns are omitted to show ids on one line. A longer id may be broken into lines."""


def render(listing: Listing, rows: Sequence[Row], width: int) -> RenderableType:
    """Return the table of some rows, under a line that counts all nodes.

    Args:
        listing: All nodes.
        rows: The rows to show, in their order.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [summary(listing)]
    if rows:
        parts.append(_table(_fitting(_columns(rows), width), rows))
    parts += [Text(sentence, "yellow") for sentence in undecided(listing.rows)]
    if not listing.remembers and any(row["state"] == State.OFFLINE for row in rows):
        parts.append(
            Text(
                "Redis does not store when a node went offline. A running exporter may know: --exporter.url",
                "dim",
            )
        )
    return Group(*parts)


def summary(listing: Listing) -> Text:
    """Return the line that counts the nodes."""
    text = Text()
    counts = count_states(listing.rows)
    for state in (State.ONLINE, State.OFFLINE, State.UNDECIDED):
        if counts[state] or state is not State.UNDECIDED:
            text.append(f"{counts[state]} {state}", _STYLES[state] if counts[state] else "dim").append("  ")
    return text.append(f"{listing.place} at {moment(listing.wall)} UTC", "dim")


def _columns(rows: Sequence[Row]) -> dict[Column, list[str]]:
    """Return the columns that are not empty, with their cells."""
    omitted = {"events" if any("events_per_second" in row for row in rows) else "events/s"}
    if not any(row["offline_since"] is not None for row in rows):
        omitted.add("since")
    return {column: [column.text(row) for row in rows] for column in COLUMNS if column.name not in omitted}


def _fitting(columns: dict[Column, list[str]], width: int) -> dict[Column, list[str]]:
    """Return the columns that fit the width."""
    widths = {c.name: max(cell_len(c.short or c.title), *map(cell_len, cells)) + _GAP for c, cells in columns.items()}
    widths["node"] = min(widths["node"], _NODE_WIDTH + _GAP)
    for name in _OMITTED_FIRST:
        if sum(widths.values()) - _GAP <= width:
            break
        widths.pop(name, None)
    return {column: cells for column, cells in columns.items() if column.name in widths}


def _table(columns: dict[Column, list[str]], rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold underline")
    for column in columns:
        table.add_column(
            column.short or column.title,
            justify="right" if column.number else "left",
            no_wrap=column.name != "node",
            overflow="fold",
        )
    for row, *cells in zip(rows, *columns.values(), strict=True):
        texts = (Text(text, _style(column, row)) for column, text in zip(columns, cells, strict=True))
        table.add_row(*texts, style="red" if row["state"] == State.OFFLINE else "")
    return table


def _style(column: Column, row: Row) -> str:
    return _STYLES[row["state"]] if column.name == "state" else ""
