"""The ledger portfolio by portfolio, for people and programs: the rows of table, page and JSON."""

from collections.abc import Iterable, Iterator
from typing import Any

from exporter.portfolios.history import FAULTS, Account
from exporter.portfolios.ledger import Portfolio, PortfolioState
from exporter.source.names import shown_id

PortfolioRow = dict[str, Any]
"""One portfolio by the keys of ``/api/v1/portfolios``; an unknown value is None."""

KEYS = ("portfolio_id", "state", "reason", "planned_node", "loaded_nodes", "listed_nodes", "since")
"""The keys of a row, in their order."""

_RANKS = {state.value: rank for rank, state in enumerate((*FAULTS, PortfolioState.UNKNOWN, PortfolioState.TRADED))}


def portfolio_row(portfolio: Portfolio, account: Account) -> PortfolioRow:
    """Return the row of one portfolio.

    Args:
        portfolio: The portfolio, out of the account's ledger.
        account: Knows since when it is at fault.
    """
    return {
        "portfolio_id": shown_id(portfolio.id),
        "state": portfolio.state.value,
        "reason": portfolio.reason and portfolio.reason.value,
        "planned_node": None if portfolio.planned is None else shown_id(portfolio.planned),
        "loaded_nodes": list(map(shown_id, portfolio.loaded)),
        "listed_nodes": list(map(shown_id, portfolio.listed)),
        "since": account.since.get(portfolio.id),
    }


def portfolio_rows(account: Account) -> Iterator[PortfolioRow]:
    """Yield all portfolios, sorted by id."""
    return (portfolio_row(portfolio, account) for portfolio in account.ledger.portfolios())


def faults_first(rows: Iterable[PortfolioRow]) -> list[PortfolioRow]:
    """Return rows in the order of ``fault_order``."""
    return sorted(rows, key=fault_order)


def fault_order(row: PortfolioRow) -> tuple[int, float, str]:
    """Return a sort key: by state, faults first; then the longest-lasting first, then by id."""
    return _RANKS[row["state"]], row["since"] or 0.0, row["portfolio_id"]
