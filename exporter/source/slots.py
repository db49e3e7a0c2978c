"""Parses the reply to CLUSTER SLOTS: which primary serves which slot."""

from collections.abc import Iterator
from typing import Any

from redis import RedisError
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from exporter.errors import SourceError
from exporter.source.plain_error import plain_error


def owners_of(reply: Any, asked: str) -> Iterator[tuple[range, str]]:
    """Yield slots and the address of their primary, from the reply to CLUSTER SLOTS.

    Args:
        reply: The reply.
        asked: The host of the server that gave it. A missing host in the reply means this host
            (https://redis.io/docs/latest/commands/cluster-slots/).

    Raises:
        SourceError: The reply has another form.
    """
    if isinstance(reply, RedisError):
        raise plain_error(reply)
    for entry in reply if isinstance(reply, list) else [reply]:
        match entry:
            case [int(first), int(last), [host, int(port), *_], *_] if (
                0 <= first <= last < REDIS_CLUSTER_HASH_SLOTS and 0 < port < 65536  # noqa: PLR2004
            ):
                name = host.decode("utf-8", "replace") if isinstance(host, bytes) else ""
                if name != "?":  # a primary whose host is not known yet
                    yield range(first, last + 1), f"{name or asked}:{port}"
            case _:
                raise SourceError("Redis gave an unexpected answer to CLUSTER SLOTS")
