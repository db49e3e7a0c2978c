"""The status page's section on portfolios: faults first, and all portfolios on request."""

import heapq
from pathlib import Path
from typing import Any, Final

from tornado.template import Loader

from exporter.escaping import printable
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.portfolio_rows import PortfolioRow, fault_order, portfolio_row, portfolio_rows
from exporter.snapshot.rows import NOT_KNOWN, moment
from exporter.snapshot.snapshot import Snapshot
from exporter.web.precedence import Pause

MOST_ROWS: Final = 1000
"""Maximum number of rows that are shown: a browser is slow with more."""
TITLES: Final = ("State", "Portfolio", "Reason", "Planned on", "Loaded on", "Listed by", "Since")

_TEMPLATE: Final = Loader(str(Path(__file__).parent / "templates"), autoescape="xhtml_escape").load("portfolios.html")


def portfolio_section(snapshot: Snapshot | None, *, everything: bool, pause: Pause) -> bytes:
    """Return the section as HTML; empty without plan and lists, or if Redis could not be read.

    Args:
        snapshot: The portfolios; None if Redis could not be read.
        everything: Whether traded portfolios are shown too.
        pause: See ``Pause``.
    """
    if snapshot is None or snapshot.portfolios is None:
        return b""
    account = snapshot.portfolios.reading.account
    ledger = account.ledger
    pause()
    if everything:
        rows = heapq.nsmallest(MOST_ROWS, portfolio_rows(account), key=fault_order)
        count = sum(ledger.counts.values())
    else:
        abnormal = (portfolio_row(portfolio, account) for portfolio in ledger.abnormal.values())
        rows = heapq.nsmallest(MOST_ROWS, abnormal, key=fault_order)
        count = len(ledger.abnormal)
    namespaces: list[dict[str, Any]] = []
    section = _TEMPLATE.generate(
        namespaces=namespaces,
        counts=[(state.value, ledger.counts[state]) for state in _shown_states(snapshot)],
        titles=TITLES,
        rows=[(row["state"], _cells(row)) for row in rows],
        more=count - len(rows),
        everything=everything,
    )
    for namespace in namespaces:  # it would stay in memory until the garbage collector runs: see ``page.render``
        namespace.clear()
    return section


def _shown_states(snapshot: Snapshot) -> list[PortfolioState]:
    counts = snapshot.portfolios.reading.account.ledger.counts if snapshot.portfolios else {}
    always = (PortfolioState.TRADED, PortfolioState.UNTRADED)
    return [state for state in PortfolioState if state in always or counts[state]]


def _cells(row: PortfolioRow) -> list[str]:
    return [
        row["state"],
        printable(row["portfolio_id"]),
        row["reason"] or "",
        printable(row["planned_node"] or ""),
        printable(", ".join(row["loaded_nodes"])),
        printable(", ".join(row["listed_nodes"])),
        NOT_KNOWN if row["since"] is None else moment(row["since"]),
    ]
