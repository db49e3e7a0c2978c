"""The rights that the Redis user lacks: recorded when Redis refuses a command, and logged once."""

from threading import Lock
from typing import Final

import structlog

from exporter.errors import SourceError

_EFFECTS: Final = {
    "info": "restarts, failovers and refused writes of Redis cannot be seen, so that living nodes may be called dead",
    "scan": "no node can be found",
}

log = structlog.get_logger(__name__)


class Rights:
    """The commands that Redis refuses to the exporter's user. One lock guards the state."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._refused: dict[str, set[str]] = {}

    def missing(self) -> frozenset[str]:
        """Return the commands, in lower case, that at least one server refused when it was last asked."""
        with self._lock:
            return frozenset(self._refused)

    def granted(self, command: str, server: str = "") -> None:
        """Record that a server ran a command.

        Args:
            command: The command in lower case.
            server: The address of the server; empty if there is only one server.
        """
        if command not in self._refused:  # usual, and needs no lock
            return
        with self._lock:
            servers = self._refused.get(command, set())
            servers.discard(server)
            if servers:
                return
            self._refused.pop(command, None)
        log.info("the Redis user has got a right that it lacked", command=command)

    def refused(self, command: str, server: str = "") -> SourceError:
        """Record that a server refused a command; return an error that callers may raise if they need the command."""
        with self._lock:
            first = command not in self._refused
            self._refused.setdefault(command, set()).add(server)
        if first:
            log.error("the Redis user lacks a right", command=command, effect=_EFFECTS[command], grant=f"+{command}")
        return SourceError(missing_right(command))


def missing_right(command: str) -> str:
    """Return what follows from a right that Redis refuses, and how to give it; the command is in lower case."""
    return (
        f"Redis refuses {command.upper()} to the exporter's user, so {_EFFECTS[command]}: grant +{command}"
        " to the user of --redis.username (docs/how-to/redis.md lists all rights)"
    )
