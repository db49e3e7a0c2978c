"""Reads and deletes the keys of nodes on one Redis server.

A node's hash is deleted in one transaction with the check that the node has no heartbeat. Both keys
are watched, so a beat between the check and the deletion cancels the deletion
(https://redis.io/docs/latest/develop/using-commands/transactions/).

redis-py's own transactions are not used. They send MULTI, UNLINK and EXEC in one write. If the Redis user has
no right to MULTI, Redis then executes UNLINK at once and unguarded. Here UNLINK is sent only after Redis has
accepted MULTI.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import RedisError, ResponseError
from redis.exceptions import NoPermissionError

from exporter.errors import ExporterError, SourceError
from exporter.settings import Settings
from exporter.snapshot.rows import duration
from exporter.source import open_source
from exporter.source.connection import Link, Pool, linked, options_of
from exporter.source.protocol import KeyNames, pack, plain_error, pttl
from exporter.source.reading import MISSING, NO_EXPIRY

ONLINE: Final = "kept: it is online"
NEVER_EXPIRES: Final = "kept: its heartbeat never expires; delete that key first if the node is dead"
NO_HASH: Final = "kept: it left nothing"
WROTE: Final = "kept: a node wrote to its keys at this moment"


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys of one node at one moment.

    Attributes:
        name: The node's id in Redis.
        ttl_ms: The heartbeat's PTTL in milliseconds, or one of ``MISSING`` and ``NO_EXPIRY``.
        has_hash: Whether the hash exists.
        idle: Seconds since a client last read or wrote the hash; None if unknown.
    """

    name: bytes
    ttl_ms: int
    has_hash: bool
    idle: int | None = None

    @property
    def refusal(self) -> str | None:
        """The reason why the hash must not be deleted; None if it may be deleted."""
        if self.ttl_ms == NO_EXPIRY:
            return NEVER_EXPIRES
        if self.ttl_ms != MISSING:
            return ONLINE
        return None if self.has_hash else NO_HASH


class Deleter:
    """Finds nodes on one Redis server, reads their keys, and deletes their hashes.

    Args:
        settings: The address of Redis, and the names of its keys.
        clock: Returns monotonic seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._source = open_source(settings)
        self._pool = Pool(options_of(settings.redis, settings.redis.url[0].get_secret_value()))
        self._keys = KeyNames.of(settings.keys)
        self._timeout = settings.redis.timeout
        self._grace = settings.heartbeat.ttl + settings.heartbeat.beat

    def close(self) -> None:
        """Close all connections."""
        self._source.close()
        self._pool.close()

    def found(self) -> Collection[bytes]:
        """Return the ids of all nodes that have keys.

        Raises:
            ExporterError: Redis cannot be read. Or Redis has just started from saved data: then a living
                node may have no heartbeat yet.
        """
        server = self._source.reader().read((), self._deadline()).server
        if not server.info_allowed:
            raise ExporterError("forget: Redis refuses INFO to this user; grant +info, which tells old data from new")
        if server.restored and server.uptime < self._grace:
            raise ExporterError(
                f"Redis started {duration(server.uptime)} ago from saved data, so that living nodes may look dead:"
                f" try again in {duration(self._grace - server.uptime + 1)}"
            )
        return self._source.discover(self._timeout).names

    def look(self, names: Sequence[bytes], *, idle: bool = False) -> list[NodeKeys]:
        """Return the keys of some nodes. PTTL, EXISTS and OBJECT do not change the idle time.

        Args:
            names: The nodes.
            idle: Whether to read the idle time too.
        """
        request = b"".join(
            pttl(self._keys.heartbeat + name)
            + pack(b"EXISTS", self._keys.metrics + name)
            + (pack(b"OBJECT", b"IDLETIME", self._keys.metrics + name) if idle else b"")
            for name in names
        )
        each = 3 if idle else 2
        with linked(self._pool, self._deadline()) as link:
            replies = link.ask(request, each * len(names))
        return [
            NodeKeys(name, _number(ttl), bool(_number(exists)), _idle(rest[0]) if rest else None)
            for name, (ttl, exists, *rest) in zip(names, zip(*[iter(replies)] * each, strict=True), strict=True)
        ]

    def delete(self, name: bytes) -> str | None:
        """Delete a node's hash if the node has no heartbeat.

        Returns:
            None if the hash is deleted, else why it is kept.

        Raises:
            SourceError: Redis did not answer, or refused a command.
        """
        with linked(self._pool, self._deadline()) as link:
            return delete(link, self._keys, name)

    def refused(self, name: bytes) -> dict[str, str]:
        """Return the error of each command that ``delete`` needs and that Redis refuses. Nothing is changed.

        Args:
            name: A node that may be deleted. The rights may depend on its keys.

        Raises:
            SourceError: Redis did not answer.
        """
        pool = Pool(self._pool.options)
        try:
            with linked(pool, self._deadline()) as link:
                return refused_commands(link, self._keys, name)
        finally:
            pool.close()  # Redis discards the open transaction of a closed connection

    def _deadline(self) -> float:
        return self._clock() + self._timeout


def delete(link: Link, keys: KeyNames, name: bytes) -> str | None:
    """Delete a node's hash in one transaction with the check that the node has no heartbeat.

    Returns:
        None if the hash is deleted, else why it is kept.

    Raises:
        SourceError: Redis refused a command; then the hash is kept.
    """
    heartbeat, metrics = keys.heartbeat + name, keys.metrics + name
    watched, ttl, exists = link.ask(pack(b"WATCH", heartbeat, metrics) + pttl(heartbeat) + pack(b"EXISTS", metrics), 3)
    _raise_errors(watched)
    if refusal := NodeKeys(name, _number(ttl), bool(_number(exists))).refusal:
        _raise_errors(*link.ask(pack(b"UNWATCH"), 1))
        return refusal
    # Without the right to MULTI, Redis would execute UNLINK at once, even if the node has beaten meanwhile.
    _raise_errors(*link.ask(pack(b"MULTI"), 1))
    queued, done = link.ask(pack(b"UNLINK", metrics) + pack(b"EXEC"), 2)
    _raise_errors(queued, done)
    return None if done is not None else WROTE


def refused_commands(link: Link, keys: KeyNames, name: bytes) -> dict[str, str]:
    """Return the error of each command of ``delete`` that Redis refuses.

    EXEC is tried on an empty transaction. UNLINK is tried inside a transaction that is never executed, and only
    if MULTI is allowed. The caller must close the connection.
    """
    heartbeat, metrics = keys.heartbeat + name, keys.metrics + name
    start = pack(b"WATCH", heartbeat, metrics) + pack(b"UNWATCH") + pack(b"MULTI")
    replies = dict(zip(("WATCH", "UNWATCH", "MULTI"), link.ask(start, 3), strict=True))
    if not isinstance(replies["MULTI"], Exception):
        replies["EXEC"], replies["MULTI"] = link.ask(pack(b"EXEC") + pack(b"MULTI"), 2)
    if not isinstance(replies["MULTI"], Exception):
        (replies["UNLINK"],) = link.ask(pack(b"UNLINK", metrics), 1)
    return {command: str(plain_error(reply)) for command, reply in replies.items() if isinstance(reply, Exception)}


def _number(reply: Any) -> int:
    _raise_errors(reply)
    return int(reply)


def _idle(reply: Any) -> int | None:
    """Return the idle time; None if the server does not keep it (an LFU policy) or the key is missing."""
    if isinstance(reply, ResponseError) and not isinstance(reply, NoPermissionError):
        return None
    return None if reply is None else _number(reply)


def _raise_errors(*replies: Any) -> None:
    for reply in replies:
        if isinstance(reply, RedisError):
            raise plain_error(reply)
        if isinstance(reply, Exception):
            raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")
