"""What is now, in sentences: the box of a runbook and ``explain`` say the same of the same rows.

Rows are those of ``exporter.snapshot.rows``, or of the JSON of another exporter.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from exporter.journal.sentences import REASONS, at, first, shown, undecided
from exporter.liveness import State
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.rows import COLUMNS, Row, count, fault_order

MOST_PORTFOLIOS: Final = 5
"""Portfolios that are named."""
_OFFLINE_FOR: Final = next(column for column in COLUMNS if column.name == "since")


def of_node(row: Row, portfolios: Iterable[Row] | None) -> Iterator[str]:
    """Yield what is known of a node: its state, what it drops, and its portfolios, if anything is known of them."""
    name, state = shown(row["node_id"]), row["state"]
    if state == State.UNDECIDED:
        yield from undecided([row])
    elif row["offline_since"] is not None:
        yield f"Node {name} is offline for {_OFFLINE_FOR.text(row)}."
    else:
        yield f"Node {name} is {state} now."
    if row.get("dropped_recently"):
        yield f"It drops events: {count(row['dropped_recently'])} since {at(row['dropped_since'])}."
    if row.get("backpressure_recently"):
        pushed = f"{count(row['backpressure_recently'])} times since {at(row['backpressure_since'])}"
        yield f"Its full queues push back: {pushed}."
    if portfolios is None:
        return
    mine = [
        each
        for each in portfolios
        if row["node_id"] in (each["planned_node"], *each["loaded_nodes"], *each["listed_nodes"])
    ]
    yield (
        f"Its portfolios: {first([each['portfolio_id'] for each in mine], MOST_PORTFOLIOS)}."
        if mine
        else "It has no portfolios."
    )
    yield from of_portfolios(mine)


def of_portfolios(rows: Sequence[Row]) -> Iterator[str]:
    """Yield how much money is at risk in some portfolios, and which of them are at fault."""
    counts = Counter(row["state"] for row in rows)
    if number := counts[PortfolioState.UNTRADED]:
        positions = [row["positions"] for row in rows if row["state"] == PortfolioState.UNTRADED]
        known = f"{'at least ' if None in positions else ''}{count(sum(filter(None, positions)))}"
        yield f"No node manages {_many(number)} with {known} open position{'' if known == '1' else 's'}."
    if number := counts[PortfolioState.UNKNOWN]:
        yield f"Whether {_many(number)} {'is' if number == 1 else 'are'} traded is unknown, as long as nodes are."
    faults = [row for row in rows if row["state"] not in (PortfolioState.TRADED, PortfolioState.UNKNOWN)]
    for row in sorted(faults, key=fault_order)[:MOST_PORTFOLIOS]:
        yield of_portfolio(row)
    if len(faults) > MOST_PORTFOLIOS:
        yield f"{len(faults) - MOST_PORTFOLIOS} more portfolios are not traded as planned."


def of_portfolio(row: Row) -> str:
    """Return what is known of a portfolio."""
    since = f" since {at(row['since'])}" if row["since"] is not None else ""
    because = f": {REASONS.get(row['reason'], shown(row['reason']))}" if row["reason"] else ""
    positions = "" if row["positions"] is None else f" Its open positions: {count(row['positions'])}."
    planned = f" The plan gives it to {shown(row['planned_node'])}." if row["planned_node"] is not None else ""
    loaded = f" It is loaded on {first(row['loaded_nodes'], MOST_PORTFOLIOS)}." if row["loaded_nodes"] else ""
    return f"Portfolio {shown(row['portfolio_id'])} is {row['state']}{since}{because}.{positions}{planned}{loaded}"


def _many(portfolios: int) -> str:
    return "1 portfolio" if portfolios == 1 else f"{portfolios} portfolios"
