"""Accounts of portfolios for the tests, without a Redis."""

from collections.abc import Mapping, Sequence

from exporter.liveness import State
from exporter.portfolios.account import Account, History
from exporter.portfolios.ledger import NodeReport, ledger_of
from portfolio_example import LISTS, PLAN, STATES

SINCE = 1_767_702_000.0


def account_of(
    plan: Mapping[bytes, bytes], nodes: Sequence[NodeReport], positions: Mapping[bytes, float] | None = None
) -> Account:
    """Return what is known of this plan and these nodes; each fault lasts since ``SINCE``."""
    return (
        History(100, {})
        .note(ledger_of(plan, nodes), SINCE)
        ._replace(
            idle=12.0,
            workers={"task_timer": 1, "data_worker": 0, "backtest_worker": 0},
            queues={b"alpha": 9.0},
            node_positions={b"alpha": 2.0, b"beta": 0.0},
            positions=positions or {},
        )
    )


def example() -> Account:
    """Return the account of the contract's example."""
    nodes = [NodeReport(name, state, LISTS[name]) for name, state in STATES.items()]
    return account_of(PLAN, nodes, {b"p03": 3.0, b"p09": 4.0})


def traded(count: int) -> Account:
    """Return an account with that many portfolios, all traded by one node."""
    ids = [b"p%05d" % number for number in range(count)]
    return account_of(dict.fromkeys(ids, b"n"), [NodeReport(b"n", State.ONLINE, ids)])
