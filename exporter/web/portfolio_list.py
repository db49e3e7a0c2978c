"""All portfolios as JSON: ``/api/v1/portfolios`` with its filters and its pages."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from exporter.portfolios.ledger import Portfolio, PortfolioState
from exporter.snapshot.portfolio_rows import portfolio_row
from exporter.snapshot.snapshot import Snapshot
from exporter.source.names import shown_id
from exporter.web.precedence import Pause

MOST_PORTFOLIOS: Final = 25_000
"""Portfolios in one answer. A longer ledger is given in pages."""

_STATES: Final = tuple(state.value for state in PortfolioState)
_BETWEEN_PAUSES: Final = 1000
_LONGEST_CURSOR: Final = 4096


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
    def of(cls, arguments: Mapping[str, Sequence[bytes]]) -> "PortfolioQuery":
        """Return what the arguments of a URL ask for; arguments that are not known are ignored.

        Raises:
            ValueError: An argument is invalid; the text says which, and holds nothing of its value.
        """
        given = {name: values[-1].decode("utf-8", "replace") for name, values in arguments.items()}
        state = given.get("state") or None
        if state is not None and state not in _STATES:
            raise ValueError(f"state: must be one of {', '.join(_STATES)}")
        limit = given.get("limit") or None
        if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit)):  # noqa: PLR2004
            raise ValueError("limit: must be a number of portfolios from 1 on")
        cursor = given.get("cursor") or None
        return cls(
            state=state,
            node_id=given.get("node_id") or None,
            limit=None if limit is None else min(int(limit), MOST_PORTFOLIOS),
            after=None if cursor is None else _decoded(cursor),
        )

    def wants(self, portfolio: Portfolio) -> bool:
        """Return whether a portfolio is asked for, on this page or on a later one."""
        if self.state is not None and portfolio.state != self.state:
            return False
        if self.after is not None and portfolio.id <= self.after:
            return False
        nodes = (portfolio.planned, *portfolio.loaded, *portfolio.listed)
        return self.node_id is None or any(name is not None and shown_id(name) == self.node_id for name in nodes)


def portfolios_json(snapshot: Snapshot | None, query: PortfolioQuery, pause: Pause) -> list[bytes]:
    """Return the pieces of ``{"redis_up": …, "portfolios": […]}``, sorted by id.

    With a limit, and if there are more than ``MOST_PORTFOLIOS``, ``next`` follows: the cursor of the next
    page, or null.

    Args:
        snapshot: The nodes and portfolios; None if Redis could not be read. The answer is the same if only the
            portfolios could not be read.
        query: What is asked for.
        pause: See ``Pause``.
    """
    snapshot = None if snapshot and snapshot.portfolios_error else snapshot
    limit = query.limit or MOST_PORTFOLIOS
    page = list(islice(_page(snapshot, query, pause), limit + 1)) if snapshot else []
    more, page = len(page) > limit, page[:limit]
    cursor = base64.urlsafe_b64encode(page[-1][0]).decode() if more else None
    ending = b"]" if query.limit is None and not more else b'],"next":' + json.dumps(cursor).encode()
    head = b'{"redis_up":%b,"portfolios":[' % (b"true" if snapshot else b"false")
    return [head + b",".join(text for _, text in page) + ending + b"}"]


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


def _decoded(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor[:_LONGEST_CURSOR], b"-_", validate=True)
    except ValueError:
        raise ValueError("cursor: must be the `next` of the page before") from None
