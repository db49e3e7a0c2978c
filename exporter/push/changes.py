"""Logs the changes of nodes' states that people want to know."""

from collections.abc import Sequence
from typing import Final

import structlog

from exporter.liveness.judge import Change, State
from exporter.source.names import shown_id

_LOGGED: Final = 10
"""Largest number of nodes that are logged by name at one time."""

log = structlog.get_logger(__name__)


def log_changes(changes: Sequence[Change]) -> None:
    """Log the nodes that went offline or came back: the first ten by name, and the number of the others."""
    for nodes, one, many in (
        (
            [change for change in changes if change.after is State.OFFLINE],
            "a node is offline",
            "more nodes are offline",
        ),
        ([change for change in changes if _is_back(change)], "a node is back", "more nodes are back"),
    ):
        for change in nodes[:_LOGGED]:
            log.warning(one, node_id=shown_id(change.name))
        if len(nodes) > _LOGGED:
            log.warning(many, nodes=len(nodes) - _LOGGED)


def _is_back(change: Change) -> bool:
    return change.before in (State.OFFLINE, State.FORGOTTEN) and change.after is State.ONLINE
