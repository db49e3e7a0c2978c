"""The nodes as a table for a terminal of any width."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from exporter.judge import State
from exporter.rows import COLUMNS, Column, Row, count_states, moment
from exporter.terminal.sight import Sight

_STYLES: Final = {State.OFFLINE: "bold red", State.UNDECIDED: "yellow", State.ONLINE: "green"}
_WIDE: Final = 120
_LESS_TOLD: Final = ("cpu", "memory")
"""Many nodes write a constant there; a narrow terminal has no room for that."""


def render(sight: Sight, rows: Sequence[Row], width: int) -> RenderableType:
    """Return the table of some rows, under a line that counts all nodes.

    Args:
        sight: What was seen.
        rows: Those to list, in their order.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [summary(sight)]
    if rows:
        parts.append(_table(_columns(rows, width), rows))
    if not sight.remembers and any(row["state"] == State.OFFLINE for row in rows):
        parts.append(
            Text("Since when a node is offline can't be known from its keys; a running exporter may know: --exporter.url", "dim")
        )
    return Group(*parts)


def summary(sight: Sight) -> Text:
    """Return the line that counts the nodes."""
    text = Text()
    counts = count_states(sight.rows)
    for state in (State.ONLINE, State.OFFLINE, State.UNDECIDED):
        if counts[state] or state is not State.UNDECIDED:
            text.append(f"{counts[state]} {state}", _STYLES[state] if counts[state] else "dim").append("  ")
    return text.append(f"{sight.place} at {moment(sight.wall)} UTC", "dim")


def _columns(rows: Sequence[Row], width: int) -> Sequence[Column]:
    left_out = {"events" if any("events_per_second" in row for row in rows) else "events/s"}
    if not any(row["offline_since"] is not None for row in rows):
        left_out.add("since")
    if width < _WIDE:
        left_out.update(_LESS_TOLD)
    return [column for column in COLUMNS if column.name not in left_out]


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        name = column.name == "node"
        table.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=not name,
            overflow="fold",
            min_width=8 if name else None,
        )
    for row in rows:
        offline = row["state"] == State.OFFLINE
        cells = (Text(column.text(row), _style(column, row)) for column in columns)
        table.add_row(*cells, style="red" if offline else "")
    return table


def _style(column: Column, row: Row) -> str:
    return _STYLES[row["state"]] if column.name == "state" else ""
