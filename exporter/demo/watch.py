"""Prints each change of the nodes that the exporter sees."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from exporter.demo.clock import Clock
from exporter.demo.terminal import Terminal
from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.snapshot.rows import Row, rows_of

_CHANGES: Final[Mapping[tuple[State | None, State | None], str]] = {
    (State.ONLINE, State.OFFLINE): "offline: its ginkgo_node_up went from 1 to 0",
    (State.OFFLINE, State.ONLINE): "online: its ginkgo_node_up went from 0 to 1",
    (None, State.ONLINE): "online: its ginkgo_node_up is 1",
    (None, State.OFFLINE): "offline: its ginkgo_node_up is 0",
    (State.ONLINE, None): "gone: it has no series any more",
    (State.OFFLINE, None): "gone: it has no series any more",
}


async def watch(fleet: Fleet, clock: Clock, terminal: Terminal) -> None:
    """Read the fleet again and again, and print the changes."""
    before: dict[str, Row] | None = None
    while True:
        try:
            snapshot = await asyncio.wrap_future(fleet.request())
        except SourceError:
            pass  # the log says so once
        else:
            now = {row["node_id"]: row for row in rows_of(snapshot)}
            if before is None:
                count = sum(row["state"] == State.ONLINE for row in now.values())
                terminal.log(f"the exporter sees {count} of {len(now)} nodes online")
            else:
                for change in _changes(before, now):
                    terminal.log(f"the exporter sees {change}")
            before = now
        await clock.pause()


def _changes(before: Mapping[str, Row], now: Mapping[str, Row]) -> Iterator[str]:
    for node_id in sorted(before.keys() | now.keys()):
        old, new = before.get(node_id, {}), now.get(node_id, {})
        if change := _CHANGES.get((old.get("state"), new.get("state"))):
            yield f"{node_id} {change}"
        if (new.get("dropped_events") or 0) > (old.get("dropped_events") or 0):
            yield f"{node_id} drop events: its ginkgo_node_dropped_events_total is {new['dropped_events']}"
