"""What Redis's replies mean: values, keys of the wrong type, refusals, and who answered."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis import RedisError
from redis.exceptions import BusyLoadingError

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.source.connection import plain_error
from exporter.source.reading import Server

NO_FIELDS: Final = [None] * len(FIELDS)
"""What HMGET answers for a hash that is missing, or has none of the fields."""


def checked(reply: Any, kind: type) -> Any:
    """Return a reply of the kind that was asked for; refuse any other."""
    return reply if type(reply) is kind else refuse(reply)


def columns_of(rows: Iterable[Sequence[bytes | None]]) -> tuple[tuple[bytes | None, ...], ...]:
    """Return the values of each field in turn, given what HMGET answered for each node.

    Raises:
        SourceError: Some have fewer than others.
    """
    try:
        return tuple(zip(*rows, strict=True)) or ((),) * len(FIELDS)
    except ValueError:
        raise SourceError("Redis left out some of the fields that it was asked for") from None


def refuse(reply: Any) -> Any:
    """Raise what an unexpected reply means: no rights, loading, a master out of reach.

    Raises:
        SourceError: Always.
    """
    if isinstance(reply, RedisError):
        raise plain_error(reply)
    raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")


def is_wrong_type(reply: Any) -> bool:
    """Return whether a reply says that the key holds another type: it costs that key only."""
    return isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE")


def server_of(replies: Sequence[Any]) -> Server:
    """Return who answered, from some sections of INFO.

    Raises:
        SourceError: It is loading its data, or a replica that has lost its master, whose data are old; or what
            it says was garbled on the way.
    """
    info = dict(
        line.split(":", 1)
        for reply in replies
        for line in checked(reply, bytes).decode("utf-8", "replace").splitlines()
        if ":" in line
    )
    if info.get("loading", "0") != "0":  # INFO is answered all the same
        raise plain_error(BusyLoadingError())
    if info.get("master_link_status", "up") != "up":
        raise SourceError("Redis is a replica whose link to its master is down")
    try:
        return Server(
            run_id=info.get("run_id", ""),
            role=info.get("role", ""),
            uptime=float(info.get("uptime_in_seconds", "inf")),
            # What was loaded from an append-only file is told nowhere, so that any may have held nodes.
            restored=info.get("rdb_last_load_keys_loaded", "0") != "0" or info.get("aof_enabled") == "1",
            evicted=int(info.get("evicted_keys", "0")),
        )
    except ValueError as error:
        raise SourceError(f"Redis gave an INFO that cannot be read: {error}") from None
