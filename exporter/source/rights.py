"""Rights that the Redis user lacks: noted as Redis refuses a command, logged once."""

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
    """The commands that Redis refuses to the exporter's user. Its state has one lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._refused: dict[str, set[str]] = {}

    def missing(self) -> frozenset[str]:
        """Return the commands, in lower case, that at least one server refused when it was last asked."""
        with self._lock:
            return frozenset(self._refused)

    def granted(self, command: str, server: str = "") -> None:
        """Note that a server ran a command.

        Args:
            command: The command in lower case.
            server: The address of the server; empty for the only one.
        """
        if command not in self._refused:  # the usual case needs no lock
            return
        with self._lock:
            servers = self._refused.get(command, set())
            servers.discard(server)
            if servers:
                return
            self._refused.pop(command, None)
        log.info("the Redis user has got a right that it lacked", command=command)

    def refused(self, command: str, server: str = "") -> SourceError:
        """Note that a server refused a command, and return an error for callers that cannot go on without it."""
        with self._lock:
            first = command not in self._refused
            self._refused.setdefault(command, set()).add(server)
        if first:
            log.error("the Redis user lacks a right", command=command, effect=_EFFECTS[command], grant=f"+{command}")
        return SourceError(
            f"Redis refuses {command.upper()} to the exporter's user, so {_EFFECTS[command]}: grant +{command}"
            " to the user of --redis.username (the README lists all rights)"
        )
