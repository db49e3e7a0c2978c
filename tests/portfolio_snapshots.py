"""Snapshots with portfolios for the tests, without a Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from exporter.liveness.states import State
from exporter.portfolios.history import History
from exporter.portfolios.ledger import NodeReport, ledger_of
from exporter.portfolios.reads import PortfolioReading
from exporter.snapshot.portfolio_series import PortfolioSeries
from exporter.snapshot.snapshot import Snapshot
from fleets import snapshot_of
from portfolio_example import LISTS, PLAN, STATES

SINCE = 1_767_702_000.0


def reading_of(plan: Mapping[bytes, bytes], nodes: Sequence[NodeReport]) -> PortfolioReading:
    """Return what a read finds of this plan and these nodes; each fault lasts since ``SINCE``."""
    return PortfolioReading(History(100).note(ledger_of(plan, nodes), SINCE), {})


def with_portfolios(plan: Mapping[bytes, bytes], nodes: Sequence[NodeReport]) -> Snapshot:
    """Return a snapshot with this ledger."""
    return replace(snapshot_of({}), portfolios=PortfolioSeries(reading_of(plan, nodes), {}, {}))


def example() -> Snapshot:
    """Return a snapshot with the contract's example."""
    return with_portfolios(PLAN, [NodeReport(name, state, LISTS[name]) for name, state in STATES.items()])


def traded(count: int) -> Snapshot:
    """Return a snapshot with that many portfolios, all traded by one node."""
    ids = [b"p%05d" % number for number in range(count)]
    return with_portfolios(dict.fromkeys(ids, b"n"), [NodeReport(b"n", State.ONLINE, ids)])
