"""All portfolios as JSON: ``/api/v1/portfolios`` with its filters and its pages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from exporter.journal.sentences import shown
from exporter.portfolios.ledger import Portfolio, PortfolioState
from exporter.snapshot.portfolio_rows import portfolio_row
from exporter.snapshot.snapshot import Snapshot
from exporter.source.names import shown_id
from exporter.web.json_list import (
    Arguments,
    decode_cursor,
    encode_cursor,
    last_values,
    limit_in,
    list_body,
    state_in,
)
from exporter.web.precedence import Pause

MOST_PORTFOLIOS: Final = 25_000
"""Portfolios in one answer. A longer ledger is given in pages."""

_STATES: Final = tuple(state.value for state in PortfolioState)
_BETWEEN_PAUSES: Final = 1000


@dataclass(frozen=True, slots=True)
class PortfolioQuery:
    """What a request asks for.

    Attributes:
        state: Portfolios in this state only; all if it is None.
        node_id: Portfolios that the plan or a list gives to this node only; all if it is None.
        limit: Portfolios on one page; None for all, ``MOST_PORTFOLIOS`` at most.
        after: The portfolio after which the page begins, as Redis holds its id; None for the first page.
    """

    state: str | None = None
    node_id: str | None = None
    limit: int | None = None
    after: bytes | None = None

    @classmethod
    def of(cls, arguments: Arguments) -> "PortfolioQuery":
        """Return what the arguments of a URL ask for; arguments that are not known are ignored.

        Raises:
            ValueError: An argument is invalid; the text says which, and holds nothing of its value.
        """
        given = last_values(arguments)
        cursor = given.get("cursor") or None
        return cls(
            state=state_in(given, _STATES),
            node_id=given.get("node_id") or None,
            limit=limit_in(given, MOST_PORTFOLIOS, "portfolios"),
            after=None if cursor is None else decode_cursor(cursor),
        )

    def wants(self, portfolio: Portfolio) -> bool:
        """Return whether a portfolio is asked for, on this page or on a later one."""
        if self.state is not None and portfolio.state != self.state:
            return False
        if self.after is not None and portfolio.id <= self.after:
            return False
        nodes = (portfolio.planned, *portfolio.loaded, *portfolio.listed)
        return self.node_id is None or any(name is not None and shown_id(name) == self.node_id for name in nodes)


def portfolios_json(snapshot: Snapshot | None, query: PortfolioQuery, pause: Pause, trouble: str = "") -> list[bytes]:
    """Return the pieces of ``{"redis_up": …, "portfolios": […]}``, sorted by id.

    With a limit, and if there are more than ``MOST_PORTFOLIOS``, ``next`` follows: the cursor of the next
    page, or null.

    Args:
        snapshot: The nodes and portfolios; None if Redis could not be read. The answer is the same if only the
            portfolios could not be read.
        query: What is asked for.
        pause: See ``Pause``.
        trouble: Why Redis could not be read, in sentences; used without a snapshot.
    """
    if snapshot and snapshot.portfolios_error:
        trouble = f"The portfolios cannot be read: {shown(snapshot.portfolios_error)}."
    snapshot = None if snapshot and snapshot.portfolios_error else snapshot
    limit = query.limit or MOST_PORTFOLIOS
    page = list(islice(_page(snapshot, query, pause), limit + 1)) if snapshot else []
    more, page = len(page) > limit, page[:limit]
    texts, cursor = (text for _, text in page), encode_cursor(page[-1][0]) if more else None
    return list_body("portfolios", texts, cursor, trouble=None if snapshot else trouble, paged=query.limit is not None)


def _page(snapshot: Snapshot, query: PortfolioQuery, pause: Pause) -> Iterator[tuple[bytes, bytes]]:
    """Yield the id and the text of each portfolio from the page's first on."""
    if snapshot.portfolios is None:
        return
    account = snapshot.portfolios.reading.account
    for number, portfolio in enumerate(account.ledger.portfolios()):
        if number % _BETWEEN_PAUSES == 0:
            pause()
        if query.wants(portfolio):
            text = json.dumps(portfolio_row(portfolio, account), ensure_ascii=False, separators=(",", ":"))
            yield portfolio.id, text.encode()
