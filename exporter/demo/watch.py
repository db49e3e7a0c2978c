"""Prints each change of the nodes and portfolios that the exporter sees."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from exporter.demo.clock import Clock
from exporter.demo.scheduler import shortened
from exporter.demo.terminal import Terminal
from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.rows import Row, rows_of
from exporter.snapshot.snapshot import Snapshot
from exporter.source.names import shown_id

_CHANGES: Final[Mapping[tuple[State | None, State | None], str]] = {
    (State.ONLINE, State.OFFLINE): "offline: its ginkgo_node_up went from 1 to 0",
    (State.OFFLINE, State.ONLINE): "online: its ginkgo_node_up went from 0 to 1",
    (None, State.ONLINE): "online: its ginkgo_node_up is 1",
    (None, State.OFFLINE): "offline: its ginkgo_node_up is 0",
    (State.ONLINE, None): "gone: it has no series any more",
    (State.OFFLINE, None): "gone: it has no series any more",
    (State.ONLINE, State.UNDECIDED): "undecided: it has no ginkgo_node_up, and no alert",
    (State.UNDECIDED, State.ONLINE): "online: its ginkgo_node_up is 1 again",
    (State.UNDECIDED, State.OFFLINE): "offline: its ginkgo_node_up is 0",
}
_TRADED: Final = PortfolioState.TRADED.value

Portfolios = Mapping[str, str]
"""The state of each portfolio, with the reason if it is untraded."""


async def watch(fleet: Fleet, clock: Clock, terminal: Terminal) -> None:
    """Read the fleet again and again, and print the changes."""
    before: dict[str, Row] | None = None
    portfolios: Portfolios = {}
    refused = False
    while True:
        try:
            snapshot = await asyncio.wrap_future(fleet.request())
        except SourceError:
            pass  # the log says so once
        else:
            now = {row["node_id"]: row for row in rows_of(snapshot)}
            states = portfolios_of(snapshot)
            if before is None:
                online = sum(row["state"] == State.ONLINE for row in now.values())
                traded = sum(state == _TRADED for state in states.values())
                terminal.log(f"the exporter sees {online} of {len(now)} nodes online")
                terminal.log(f"the exporter sees {traded} of {len(states)} portfolios traded")
            else:
                for change in (*_changes(before, now), *changed_portfolios(portfolios, states)):
                    terminal.log(f"the exporter sees {change}")
            if refused != (refused := fleet.info.writes_refused):
                terminal.log(f"the exporter sees ginkgo_redis_writes_refused {int(refused)}")
            before, portfolios = now, states
        await clock.pause()


def portfolios_of(snapshot: Snapshot) -> Portfolios:
    """Return the state of each portfolio that a snapshot shows."""
    if snapshot.portfolios is None:
        return {}
    portfolios = snapshot.portfolios.reading.account.ledger.portfolios()
    return {
        shown_id(each.id): f"{each.state.value} ({each.reason.value})" if each.reason else each.state.value
        for each in portfolios
    }


def changed_portfolios(before: Portfolios, now: Portfolios) -> Iterator[str]:
    """Yield a text for each state that portfolios have come into, with their names."""
    changed: dict[str, list[str]] = {}
    for portfolio, state in now.items():
        if before.get(portfolio) != state:
            changed.setdefault(f"{state} again" if state == _TRADED and portfolio in before else state, []).append(
                portfolio
            )
    for state, names in changed.items():
        yield f"{state}: {shortened(names)}"


def _changes(before: Mapping[str, Row], now: Mapping[str, Row]) -> Iterator[str]:
    for node_id in sorted(before.keys() | now.keys()):
        old, new = before.get(node_id, {}), now.get(node_id, {})
        if change := _CHANGES.get((old.get("state"), new.get("state"))):
            yield f"{node_id} {change}"
        if (new.get("dropped_events") or 0) > (old.get("dropped_events") or 0):
            yield f"{node_id} drop events: its ginkgo_node_dropped_events_total is {new['dropped_events']}"
